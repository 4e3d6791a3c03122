# Copyright (c) The mpm_postometro authors. All rights reserved.
from .mocap_keypoint_dataset import MocapKeypointDataset
from .mocap_sequence_dataset import MocapSequenceDataset
from .pose_sequence_dataset import PoseSequenceDataset
from .synthetic_dataset import SyntheticBodyDataset

__all__ = [
    'MocapKeypointDataset', 'MocapSequenceDataset', 'PoseSequenceDataset',
    'SyntheticBodyDataset'
]
