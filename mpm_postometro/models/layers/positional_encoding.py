# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Sine code of image positions (DETR, as FastMETRO uses it)."""
import math
from functools import lru_cache
from typing import Optional, Union

import torch
from torch import Tensor

__all__ = ['sine_position_code']


def sine_position_code(
        height: int,
        width: int,
        channels: int,
        device: Optional[Union[str, torch.device]] = None) -> Tensor:
    """Two-dimensional sine code, float32.

    The first half of the channels codes the row, the second the column.
    Positions count from 1 and are scaled so that the last one is ``2 pi``;
    sine and cosine alternate, wavelengths grow geometrically to ``2 pi *
    10000``.

    Args:
        height (int): Rows of the feature map.
        width (int): Columns of the feature map.
        channels (int): Width ``D`` of a token, a multiple of four.
        device (str | torch.device, optional): Where the result lives.

    Returns:
        Tensor: (D, height, width). The same tensor is handed out again for
        the same arguments: do not write into it.

    Raises:
        ValueError: If ``channels`` is not a multiple of four.
    """
    if channels % 4:
        raise ValueError('the sine code needs a width that is a multiple of '
                         f'four (sine and cosine of two axes), got {channels}')
    return _cached_code(height, width, channels, torch.device(device or 'cpu'))


@lru_cache(maxsize=32)
def _cached_code(height: int, width: int, channels: int,
                 device: torch.device) -> Tensor:
    # A tensor made under inference mode could not be used in training later.
    with torch.inference_mode(False), torch.no_grad():
        rows = _axis_code(height, channels // 2)[:, :, None]
        columns = _axis_code(width, channels // 2)[:, None, :]
        code = torch.cat([
            rows.expand(-1, -1, width),
            columns.expand(-1, height, -1),
        ])
        return code.to(device)


def _axis_code(size: int, channels: int, temperature: float = 1e4) -> Tensor:
    """(channels, size) code of the positions 1 ... size."""
    position = torch.arange(1, size + 1, dtype=torch.float32)
    position = position / (size + 1e-6) * (2 * math.pi)
    pair = torch.arange(channels // 2, dtype=torch.float32)
    angle = position / (temperature**(2 * pair / channels))[:, None]
    return torch.stack([angle.sin(), angle.cos()], 1).flatten(0, 1)
