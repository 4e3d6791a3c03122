# Copyright (c) The mpm_postometro authors. All rights reserved.
from .formatting import PackKeypointInputs, PackMeshInputs
from .mesh_transforms import MeshAffine, MeshFlip
from .photometric_transforms import ChannelGain, SyntheticOcclusion

__all__ = [
    'ChannelGain', 'MeshAffine', 'MeshFlip', 'PackKeypointInputs',
    'PackMeshInputs', 'SyntheticOcclusion'
]
