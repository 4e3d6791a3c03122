# Copyright (c) The mpm_postometro authors. All rights reserved.
from .detection_noise import DetectionNoise
from .formatting import PackKeypointInputs, PackMeshInputs
from .masking import (ConfidenceMask, GivenMask, RandomSpatioTemporalMask,
                      TubeMask)
from .mesh_transforms import MeshAffine, MeshFlip, RandomScaleRotation
from .occlusion_transforms import (PasteObjects, RandomTruncation,
                                   SyntheticOcclusion)
from .photometric_transforms import ChannelGain, ColorJitter, GridDropout
from .pixel_label import PixelLabel
from .sequence_formatting import PackPoseSequence, collate_sequences
from .sequence_transforms import FlipSequence, NormalizeScreen, RootRelative

__all__ = [
    'ChannelGain', 'ColorJitter', 'ConfidenceMask', 'DetectionNoise',
    'FlipSequence', 'GivenMask', 'GridDropout', 'MeshAffine', 'MeshFlip',
    'NormalizeScreen', 'PackKeypointInputs', 'PackMeshInputs',
    'PackPoseSequence', 'PasteObjects', 'PixelLabel', 'RandomScaleRotation',
    'RandomSpatioTemporalMask', 'RandomTruncation', 'RootRelative',
    'SyntheticOcclusion', 'TubeMask', 'collate_sequences'
]
