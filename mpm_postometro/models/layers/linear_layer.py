# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Linear layers by the quicker of torch's two matrix libraries.

On CPUs torch multiplies float32 matrices with MKL, which on processors that
are not Intel's leaves half of their vector units idle: on an AMD EPYC with
AVX-512 it reaches 95 GFLOP/s a core where oneDNN, the other library that torch
ships, reaches 200. There the layers here call oneDNN. Everywhere else, and
under autocast, tracing, export and compilation, they are torch's own.
"""
import platform
from functools import lru_cache
from typing import Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dropout import keep_factor, quick_dropout, random_keep

__all__ = ['Linear', 'linear']

# Products of fewer multiplications, or of so few columns, are not worth the
# call.
_SMALL, _NARROW = 2**22, 16
# Rows of the result that get their dropout at once: they stay in the cache.
_ROWS = 512


@lru_cache(maxsize=1)
def _onednn_is_quicker() -> bool:
    """Whether this is an AMD processor with AVX-512 and torch has both."""
    if not (torch.backends.mkldnn.is_available()
            and torch.backends.mkl.is_available()
            and hasattr(torch.ops.mkldnn, '_linear_pointwise')
            and torch.backends.cpu.get_cpu_capability() == 'AVX512'):
        return False
    try:
        with open('/proc/cpuinfo') as file:
            return 'AuthenticAMD' in file.read(4096)
    except OSError:
        return 'AuthenticAMD' in platform.processor()


def _use_onednn(x: Tensor, weight: Tensor) -> bool:
    # Compilers look no further than the first.
    return (not torch.compiler.is_compiling() and x.device.type == 'cpu'
            and _onednn_is_quicker() and not torch.jit.is_tracing()
            and not torch.is_autocast_enabled('cpu')
            and torch.backends.mkldnn.enabled
            and x.dtype == weight.dtype == torch.float32
            and x.numel() * len(weight) >= _SMALL
            and min(weight.shape) >= _NARROW)


def linear(x: Tensor,
           weight: Tensor,
           bias: Optional[Tensor] = None,
           relu: bool = False,
           dropout: float = 0.) -> Tensor:
    """``F.linear``, and ``F.relu`` and dropout behind it if wanted.

    Args:
        x (Tensor): (..., D_in).
        weight (Tensor): (D_out, D_in).
        bias (Tensor, optional): (D_out, ).
        relu (bool): Defaults to False.
        dropout (float): Rate of the dropout behind the ReLU. All three
            together keep one tensor for the backward pass, the result.
            Defaults to 0.

    Returns:
        Tensor: (..., D_out).

    Raises:
        ValueError: If there is dropout and no ReLU.
    """
    if dropout and not relu:
        raise ValueError('linear has no dropout without relu')
    if not _use_onednn(x, weight):
        out = F.linear(x, weight, bias)
        out = F.relu(out, inplace=True) if relu else out
        return quick_dropout(out, dropout) if dropout else out
    if torch.is_grad_enabled() or dropout:
        return _Linear.apply(x, weight, bias, relu, dropout)
    return _onednn_linear(x, weight, bias, relu)


def _onednn_linear(x: Tensor, weight: Tensor, bias: Optional[Tensor],
                   relu: bool) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias,
                                              'relu' if relu else 'none', [],
                                              '')


class _Linear(torch.autograd.Function):
    """See :func:`linear`."""

    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Optional[Tensor], relu: bool,
                dropout: float) -> Tensor:
        out = _onednn_linear(x, weight, bias, relu)
        if dropout:
            for rows in out.flatten(0, -2).split(_ROWS):
                keep, factor = random_keep(rows.shape, dropout)
                rows *= keep.to(rows.dtype).mul_(factor)
        return out

    @staticmethod
    def setup_context(ctx, inputs: tuple, output: Tensor) -> None:
        x, weight, _, relu, ctx.dropout = inputs
        ctx.save_for_backward(x, weight, output if relu else None)

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tuple[Optional[Tensor], ...]:
        x, weight, out = ctx.saved_tensors
        if out is not None:  # what was dropped is zero too
            grad = torch.ops.aten.threshold_backward(grad, out, 0)
        grad_x = grad_weight = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = linear(grad, weight.t())
        rows = grad.flatten(0, -2)
        if ctx.needs_input_grad[1]:
            grad_weight = linear(rows.t(), x.flatten(0, -2).t())
        if ctx.needs_input_grad[2]:
            grad_bias = rows.sum(0)
        if ctx.dropout:  # not grad, which is the largest
            for each in (grad_x, grad_weight, grad_bias):
                if each is not None:
                    each *= keep_factor(ctx.dropout)
        return grad_x, grad_weight, grad_bias, None, None


class Linear(nn.Linear):
    """``nn.Linear`` by :func:`linear`."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., D_in) -> (..., D_out)."""
        return linear(x, self.weight, self.bias)
