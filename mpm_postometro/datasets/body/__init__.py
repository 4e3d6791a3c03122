# Copyright (c) The mpm_postometro authors. All rights reserved.
from .mocap_keypoint_dataset import MocapKeypointDataset
from .synthetic_dataset import SyntheticBodyDataset

__all__ = ['MocapKeypointDataset', 'SyntheticBodyDataset']
