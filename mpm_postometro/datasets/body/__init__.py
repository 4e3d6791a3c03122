# Copyright (c) The mpm_postometro authors. All rights reserved.
from .synthetic_dataset import SyntheticBodyDataset

__all__ = ['SyntheticBodyDataset']
