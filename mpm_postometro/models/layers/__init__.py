# Copyright (c) The mpm_postometro authors. All rights reserved.
from .mixer import FCBlock, MixerLayer, MixerMLP
from .vector_quantizer import QuantizerOutput, VectorQuantizer

__all__ = [
    'FCBlock', 'MixerLayer', 'MixerMLP', 'QuantizerOutput', 'VectorQuantizer'
]
