# Copyright (c) The mpm_postometro authors. All rights reserved.
from .guided_topdown import GuidedTopdownPoseEstimator
from .mesh_estimator import MeshEstimator
from .tokenizer_estimator import TokenizerEstimator

__all__ = ['GuidedTopdownPoseEstimator', 'MeshEstimator', 'TokenizerEstimator']
