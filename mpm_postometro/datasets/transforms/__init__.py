# Copyright (c) The mpm_postometro authors. All rights reserved.
from .detection_noise import DetectionNoise
from .formatting import PackKeypointInputs, PackMeshInputs
from .masking import (ConfidenceMask, GivenMask, RandomSpatioTemporalMask,
                      TubeMask)
from .mesh_transforms import MeshAffine, MeshFlip
from .photometric_transforms import (ChannelGain, ColorJitter, GridDropout,
                                     SyntheticOcclusion)
from .pixel_label import PixelLabel
from .sequence_formatting import PackPoseSequence, collate_sequences
from .sequence_transforms import FlipSequence, NormalizeScreen, RootRelative

__all__ = [
    'ChannelGain', 'ColorJitter', 'ConfidenceMask', 'DetectionNoise',
    'FlipSequence', 'GivenMask', 'GridDropout', 'MeshAffine', 'MeshFlip',
    'NormalizeScreen', 'PackKeypointInputs', 'PackMeshInputs',
    'PackPoseSequence', 'PixelLabel', 'RandomSpatioTemporalMask',
    'RootRelative', 'SyntheticOcclusion', 'TubeMask', 'collate_sequences'
]
