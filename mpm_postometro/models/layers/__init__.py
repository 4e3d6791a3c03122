# Copyright (c) The mpm_postometro authors. All rights reserved.
from .dropout import Dropout, attention_with_dropout
from .frame_mlp import FrameBlock, NormedLinear
from .linear_layer import Linear, linear
from .mesh_attention import MeshAttention
from .mesh_upsampler import MeshUpsampler, SparseMatrix
from .mixer import FCBlock, MixerLayer, MixerMLP
from .pose_modulator import PoseModulator
from .positional_encoding import sine_position_code
from .remembered import Remembered
from .strided_transformer import (PUBLISHED_STRIDES, StridedEncoderLayer,
                                  StridedTransformer)
from .token_mixing import mix_tokens, normed_channel_mlp, normed_token_mlp
from .transformer import (Attention, DecoderLayer, EncoderDecoder,
                          EncoderLayer, TransformerDecoder, TransformerEncoder)
from .unbiased_layer_norm import UnbiasedLayerNorm
from .vector_quantizer import QuantizerOutput, VectorQuantizer

__all__ = [
    'PUBLISHED_STRIDES', 'Attention', 'DecoderLayer', 'Dropout',
    'EncoderDecoder', 'EncoderLayer', 'FCBlock', 'FrameBlock', 'MeshAttention',
    'Linear', 'MeshUpsampler', 'MixerLayer', 'MixerMLP', 'NormedLinear',
    'PoseModulator', 'QuantizerOutput', 'Remembered', 'SparseMatrix',
    'StridedEncoderLayer', 'StridedTransformer', 'TransformerDecoder',
    'TransformerEncoder', 'UnbiasedLayerNorm', 'VectorQuantizer',
    'attention_with_dropout', 'linear', 'mix_tokens', 'normed_channel_mlp',
    'normed_token_mlp', 'sine_position_code'
]
