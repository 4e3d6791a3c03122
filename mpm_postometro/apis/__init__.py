# Copyright (c) The mpm_postometro authors. All rights reserved.
from .inferencer import MeshInferencer
from .pose_lifter import PoseSequenceInferencer
from .pose_tokens import PoseTokenInferencer
from .pose_tracks import PoseTracks, read_pose_tracks

__all__ = [
    'MeshInferencer', 'PoseSequenceInferencer', 'PoseTokenInferencer',
    'PoseTracks', 'read_pose_tracks'
]
