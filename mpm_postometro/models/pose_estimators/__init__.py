# Copyright (c) The mpm_postometro authors. All rights reserved.
from .mesh_estimator import MeshEstimator
from .tokenizer_estimator import TokenizerEstimator

__all__ = ['MeshEstimator', 'TokenizerEstimator']
