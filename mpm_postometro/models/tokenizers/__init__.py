# Copyright (c) The mpm_postometro authors. All rights reserved.
from .pct_tokenizer import PCTTokenizer, TokenizerOutput, sample_joint_features

__all__ = ['PCTTokenizer', 'TokenizerOutput', 'sample_joint_features']
