# Copyright (c) The mpm_postometro authors. All rights reserved.
from .mixer import FCBlock, MixerLayer, MixerMLP

__all__ = ['FCBlock', 'MixerLayer', 'MixerMLP']
