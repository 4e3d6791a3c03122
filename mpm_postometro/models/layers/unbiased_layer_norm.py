# Copyright (c) The mpm_postometro authors. All rights reserved.
"""The layer norm of MPM."""
import torch
from torch import Tensor, nn

__all__ = ['UnbiasedLayerNorm']

# Keeps rows of equal numbers finite, and is nothing beside any other row's
# variance in float32.
_TINY = 1e-30


class UnbiasedLayerNorm(nn.Module):
    """``weight * (x - mean) / (std + eps) + bias`` with the unbiased standard
    deviation (over ``C - 1``), as in the published MPM.

    Torch's fused kernel does the work. It divides by the biased deviation,
    which is a constant factor, and what ``eps`` changes is one number a row,
    mended afterwards. That number counts as a constant in the backward pass:
    gradients differ from the exact ones by the share ``eps / std``.

    Args:
        dim (int): Width ``C``.
        eps (float): Added to the standard deviation. Defaults to 1e-6.
    """

    def __init__(self, dim: int, eps: float = 1e-6) -> None:
        super().__init__()
        self.eps = eps
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))

    def forward(self, x: Tensor) -> Tensor:
        """(..., C) -> (..., C), float32 where ``x`` has half precision."""
        if x.dtype in (torch.float16, torch.bfloat16):
            x = x.float()
        dim = x.shape[-1]
        factor = (dim / (dim - 1))**0.5
        out, _, inverse_std = torch.native_layer_norm(x, (dim, ),
                                                      self.weight / factor,
                                                      self.bias, _TINY)
        share = self.eps * inverse_std
        return out.lerp_(self.bias, share / (factor + share))
