# Copyright (c) The mpm_postometro authors. All rights reserved.
from .tokenizer_estimator import TokenizerEstimator

__all__ = ['TokenizerEstimator']
