# Copyright (c) The mpm_postometro authors. All rights reserved.
"""The strided transformer of MPM and P-STMO: many frames to one."""
from math import prod
from typing import Optional, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .linear_layer import Linear, linear
from .transformer import EncoderLayer
from .unbiased_layer_norm import UnbiasedLayerNorm

__all__ = ['PUBLISHED_STRIDES', 'StridedEncoderLayer', 'StridedTransformer']

#: dict[int, tuple[int, ...]]: Strides that take so many frames to one.
PUBLISHED_STRIDES = {
    9: (1, 3, 3),
    27: (3, 3, 3),
    81: (3, 3, 3, 3),
    243: (3, 3, 3, 3, 3),
    351: (3, 9, 13)
}


class StridedEncoderLayer(EncoderLayer):
    """Encoder layer whose second feed-forward layer sees three frames and
    steps by a stride.

    The window of output frame ``i`` is centred at ``i * stride``; beyond the
    ends are zeros. The skip connection takes frames ``i * stride``.

    Args:
        dim (int): Width ``D``.
        num_heads (int): Number of heads.
        feedforward_dim (int): Hidden width of the feed-forward network.
        dropout (float): Dropout rate.
        attention_dropout (float): Dropout rate of the attention weights.
        stride (int): Frames from one output to the next.
    """

    window = 3

    def __init__(self, dim: int, num_heads: int, feedforward_dim: int,
                 dropout: float, attention_dropout: float,
                 stride: int) -> None:
        super().__init__(
            dim,
            num_heads,
            feedforward_dim,
            dropout,
            attention_dropout,
            norm_layer=UnbiasedLayerNorm)
        self.stride = stride
        # a convolution, written as a product with windows of frames
        self.linear2 = Linear(self.window * feedforward_dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T / stride, D)."""
        x = x + self.dropout(self.self_attn(self.norm1(x)))
        return x[:, ::self.stride] + self.feedforward(self.norm2(x))

    def feedforward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, T / stride, D)."""
        rate = self.dropout.p if self.training else 0.
        x = linear(x, self.linear1.weight, self.linear1.bias, True, rate)
        x = F.pad(x, (0, 0, 1, 1))
        x = x.unfold(1, self.window, self.stride)  # (B, T / stride, D, 3)
        x = x.transpose(2, 3).flatten(2)
        return self.dropout(self.linear2(x))


class StridedTransformer(nn.Module):
    """Strided layers, the first three of which add a position embedding.

    Args:
        num_frames (int): Number of frames ``T``, the product of ``strides``.
        strides (Sequence[int]): Stride of each layer.
        dim (int): Width ``D``.
        num_heads (int): Number of heads.
        feedforward_dim (int): Hidden width of the feed-forward networks.
        dropout (float): Dropout rate. Defaults to 0.1.
        attention_dropout (float, optional): Dropout rate of the attention
            weights; None means ``dropout``.

    Raises:
        ValueError: If the strides do not reduce ``num_frames`` to 1.
    """

    num_positions = 3

    def __init__(self,
                 num_frames: int,
                 strides: Sequence[int],
                 dim: int,
                 num_heads: int,
                 feedforward_dim: int,
                 dropout: float = 0.1,
                 attention_dropout: Optional[float] = None) -> None:
        super().__init__()
        if prod(strides) != num_frames:
            raise ValueError(f'strides {tuple(strides)} should multiply to '
                             f'num_frames={num_frames}')
        if attention_dropout is None:
            attention_dropout = dropout
        # Each as long as the clip, as in published checkpoints; later layers
        # see fewer frames and use the start.
        self.positions = nn.ParameterList(
            nn.Parameter(torch.randn(1, num_frames, dim))
            for _ in strides[:self.num_positions])
        self.layers = nn.ModuleList(
            StridedEncoderLayer(dim, num_heads, feedforward_dim, dropout,
                                attention_dropout, stride)
            for stride in strides)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, D) -> (B, D)."""
        for i, layer in enumerate(self.layers):
            if i < len(self.positions):
                x = x + self.positions[i][:, :x.shape[1]]
            x = layer(x)
        return x[:, 0]
