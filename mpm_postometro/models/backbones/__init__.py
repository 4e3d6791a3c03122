# Copyright (c) The mpm_postometro authors. All rights reserved.
from .layer_decay import SwinLayerDecayOptimWrapperConstructor
from .mpm import MPM, visible_frames
from .swin_v2 import TimmSwinV2

__all__ = [
    'MPM', 'SwinLayerDecayOptimWrapperConstructor', 'TimmSwinV2',
    'visible_frames'
]
