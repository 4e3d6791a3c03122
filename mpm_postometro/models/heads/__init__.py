# Copyright (c) The mpm_postometro authors. All rights reserved.
from .pct_head import PCTHead, PoseTokens

__all__ = ['PCTHead', 'PoseTokens']
