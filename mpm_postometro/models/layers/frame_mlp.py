# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Layers that see one frame at a time, on frames stacked to (N, C).

Statistics of BatchNorm are over all frames of all clips. In evaluation it is
folded into the linear layer beside it, which spares a pass over memory.
"""
from typing import Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dropout import Dropout
from .linear_layer import Linear, linear

__all__ = ['FrameBlock', 'NormedLinear']


def _scale_and_shift(norm: nn.BatchNorm1d) -> Tuple[Tensor, Tensor]:
    """What BatchNorm does in evaluation, ``x * scale + shift``."""
    scale = norm.weight * torch.rsqrt(norm.running_var + norm.eps)
    return scale, norm.bias - norm.running_mean * scale


class FrameBlock(nn.Module):
    """Linear layer, BatchNorm, LeakyReLU and dropout.

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output.
        dropout (float): Dropout rate.
        slope (float): Slope of the LeakyReLU below zero. Defaults to 0.2.
    """

    def __init__(self,
                 in_channels: int,
                 out_channels: int,
                 dropout: float,
                 slope: float = 0.2) -> None:
        super().__init__()
        self.linear = Linear(in_channels, out_channels)
        self.norm = nn.BatchNorm1d(out_channels)
        self.dropout = Dropout(dropout)
        self.slope = slope

    def forward(self, x: Tensor) -> Tensor:
        """(N, in_channels) -> (N, out_channels)."""
        if self.training:
            x = self.norm(self.linear(x))
        else:
            scale, shift = _scale_and_shift(self.norm)
            x = linear(x, self.linear.weight * scale[:, None],
                       self.linear.bias * scale + shift)
        return self.dropout(F.leaky_relu(x, self.slope, inplace=True))


class NormedLinear(nn.Module):
    """BatchNorm and linear layer: from features to coordinates, which stay
    in float32 under autocast.

    Args:
        in_channels (int): Channels of the input.
        out_channels (int): Channels of the output.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(in_channels)
        self.linear = nn.Linear(in_channels, out_channels)

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_channels) -> (..., out_channels)."""
        with torch.autocast(x.device.type, enabled=False):
            weight, bias = self.linear.weight, self.linear.bias
            rows = x.flatten(0, -2).to(weight.dtype)
            if self.training:
                rows = self.linear(self.norm(rows))
            else:
                scale, shift = _scale_and_shift(self.norm)
                rows = F.linear(rows, weight * scale,
                                torch.addmv(bias, weight, shift))
        return rows.unflatten(0, x.shape[:-1])
