# Copyright (c) The mpm_postometro authors. All rights reserved.
from .layer_decay import SwinLayerDecayOptimWrapperConstructor
from .swin_v2 import TimmSwinV2

__all__ = ['SwinLayerDecayOptimWrapperConstructor', 'TimmSwinV2']
