# Copyright (c) The mpm_postometro authors. All rights reserved.
from .clip_tcn import ClipTCN
from .layer_decay import SwinLayerDecayOptimWrapperConstructor
from .mpm import MPM, visible_frames
from .swin_v2 import TimmSwinV2

__all__ = [
    'ClipTCN', 'MPM', 'SwinLayerDecayOptimWrapperConstructor', 'TimmSwinV2',
    'visible_frames'
]
