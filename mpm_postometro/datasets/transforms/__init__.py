# Copyright (c) The mpm_postometro authors. All rights reserved.
from .formatting import PackKeypointInputs, PackMeshInputs
from .mesh_transforms import MeshAffine, MeshFlip
from .photometric_transforms import (ChannelGain, ColorJitter, GridDropout,
                                     SyntheticOcclusion)
from .pixel_label import PixelLabel

__all__ = [
    'ChannelGain', 'ColorJitter', 'GridDropout', 'MeshAffine', 'MeshFlip',
    'PackKeypointInputs', 'PackMeshInputs', 'PixelLabel', 'SyntheticOcclusion'
]
