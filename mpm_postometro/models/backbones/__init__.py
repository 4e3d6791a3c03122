# Copyright (c) The mpm_postometro authors. All rights reserved.
from .swin_v2 import TimmSwinV2

__all__ = ['TimmSwinV2']
