# Copyright (c) The mpm_postometro authors. All rights reserved.
"""The human body as geometry: plain numpy and torch."""
from .body_io import BodyData
from .body_loading import load_body
from .body_model import BodyModel, BodyOutput
from .identity import body_identity, check_same_body
from .mesh_levels import MeshLevels
from .skeletons import SKELETONS, Skeleton, joint_mapping, metainfo

__all__ = [
    'BodyData', 'BodyModel', 'BodyOutput', 'MeshLevels', 'SKELETONS',
    'Skeleton', 'body_identity', 'check_same_body', 'joint_mapping',
    'load_body', 'metainfo'
]
