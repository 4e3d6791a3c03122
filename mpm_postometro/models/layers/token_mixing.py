# Copyright (c) The mpm_postometro authors. All rights reserved.
"""The two halves of a mixer layer, in little time and memory.

Linear layers over the token axis leave the axes where they are: turning ``(B,
N, D)`` to ``(B, D, N)`` and back would copy the largest tensors of the layer.
What is cheap to compute is computed again in the backward pass.
"""
from typing import Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

from .linear_layer import linear

__all__ = ['mix_tokens', 'normed_channel_mlp', 'normed_token_mlp']

# Entries of the hidden layer that are worked on at once: they stay in the
# processor's cache.
_PIECE = 2**18


def mix_tokens(x: Tensor,
               weight: Tensor,
               bias: Tensor,
               out: Optional[Tensor] = None) -> Tensor:
    """Linear layer over the token axis.

    Args:
        x (Tensor): Tokens ``(B, N, D)``.
        weight (Tensor): ``(M, N)``.
        bias (Tensor): ``(M, )``, or ``(M, D)``.
        out (Tensor, optional): Gets the result. Defaults to None.

    Returns:
        Tensor: Tokens ``(B, M, D)``.
    """
    if bias.ndim == 1:
        bias = bias[:, None]
    weight = weight.expand(len(x), -1, -1)
    return torch.baddbmm(bias, weight, x, out=out)


def normed_token_mlp(x: Tensor, norm_weight: Tensor, norm_bias: Tensor,
                     eps: float, up_weight: Tensor, up_bias: Tensor,
                     down_weight: Tensor, down_bias: Tensor) -> Tensor:
    """Layer normalisation, then two linear layers over the token axis with
    an exact GELU between them.

    The hidden layer ``(B, H, D)`` is by far the largest tensor of a mixer
    layer and the cheapest to compute: it is not kept, but computed again in
    the backward pass, on a processor in pieces of the batch that fit its
    cache. Always in the precision of ``x``; derivatives of first order only.

    Args:
        x (Tensor): Tokens ``(B, N, D)``.
        norm_weight (Tensor): ``(D, )``.
        norm_bias (Tensor): ``(D, )``.
        eps (float): Of the normalisation.
        up_weight (Tensor): ``(H, N)``.
        up_bias (Tensor): ``(H, )``.
        down_weight (Tensor): ``(N, H)``.
        down_bias (Tensor): ``(N, )``.

    Returns:
        Tensor: Tokens ``(B, N, D)``.
    """
    with torch.autocast(x.device.type, enabled=False):
        return _NormedTokenMLP.apply(x, norm_weight, norm_bias, eps, up_weight,
                                     up_bias, down_weight, down_bias)


def normed_channel_mlp(x: Tensor, norm_weight: Tensor, norm_bias: Tensor,
                       eps: float, up_weight: Tensor, up_bias: Tensor,
                       down_weight: Tensor, down_bias: Tensor) -> Tensor:
    """As :func:`normed_token_mlp`, but over the channels: of the hidden layer
    ``(B, N, H)`` what enters the GELU is kept.

    Args:
        x (Tensor): Tokens ``(B, N, D)``.
        norm_weight (Tensor): ``(D, )``.
        norm_bias (Tensor): ``(D, )``.
        eps (float): Of the normalisation.
        up_weight (Tensor): ``(H, D)``.
        up_bias (Tensor): ``(H, )``.
        down_weight (Tensor): ``(D, H)``.
        down_bias (Tensor): ``(D, )``.

    Returns:
        Tensor: Tokens ``(B, N, D)``.
    """
    with torch.autocast(x.device.type, enabled=False):
        return _NormedChannelMLP.apply(x, norm_weight, norm_bias, eps,
                                       up_weight, up_bias, down_weight,
                                       down_bias)


class _NormedTokenMLP(torch.autograd.Function):
    """See :func:`normed_token_mlp`."""

    @staticmethod
    def forward(ctx, x: Tensor, norm_weight: Tensor, norm_bias: Tensor,
                eps: float, up_weight: Tensor, up_bias: Tensor,
                down_weight: Tensor, down_bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, norm_weight, norm_bias, up_weight, up_bias,
                              down_weight)
        ctx.eps = eps
        y = torch.empty_like(x)
        size = _batch_piece(x, len(up_weight))
        for part, result in zip(x.split(size), y.split(size)):
            part = F.layer_norm(part, part.shape[-1:], norm_weight, norm_bias,
                                eps)
            hidden = F.gelu(mix_tokens(part, up_weight, up_bias))
            mix_tokens(hidden, down_weight, down_bias, out=result)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> Tuple[Optional[Tensor], ...]:
        (x, norm_weight, norm_bias, up_weight, up_bias,
         down_weight) = ctx.saved_tensors
        grad = grad.contiguous()
        grad_x = torch.empty_like(x)
        grads = [
            torch.zeros_like(p)
            for p in (norm_weight, norm_bias, up_weight, up_bias, down_weight)
        ]
        size = _batch_piece(x, len(up_weight))
        for part, g, result in zip(
                x.split(size), grad.split(size), grad_x.split(size)):
            normed, mean, rstd = torch.native_layer_norm(
                part, part.shape[-1:], norm_weight, norm_bias, ctx.eps)
            hidden = mix_tokens(normed, up_weight, up_bias)
            grads[4] += _weight_grad(g, F.gelu(hidden))
            g = torch.bmm(down_weight.t().expand(len(g), -1, -1), g)
            g = torch.ops.aten.gelu_backward(g, hidden)
            grads[3] += g.sum((0, 2))
            grads[2] += _weight_grad(g, normed)
            g = torch.bmm(up_weight.t().expand(len(g), -1, -1), g)
            g, *norm_grads = torch.ops.aten.native_layer_norm_backward(
                g, part, part.shape[-1:], mean, rstd, norm_weight, norm_bias,
                [True, True, True])
            result.copy_(g)
            grads[0] += norm_grads[0]
            grads[1] += norm_grads[1]
        return (grad_x, *grads[:2], None, *grads[2:], grad.sum((0, 2)))


class _NormedChannelMLP(torch.autograd.Function):
    """See :func:`normed_channel_mlp`."""

    @staticmethod
    def forward(ctx, x: Tensor, norm_weight: Tensor, norm_bias: Tensor,
                eps: float, up_weight: Tensor, up_bias: Tensor,
                down_weight: Tensor, down_bias: Tensor) -> Tensor:
        normed = F.layer_norm(x, x.shape[-1:], norm_weight, norm_bias, eps)
        hidden = linear(normed, up_weight, up_bias)
        ctx.save_for_backward(x, norm_weight, norm_bias, up_weight,
                              down_weight, hidden)
        ctx.eps = eps
        return linear(F.gelu(hidden), down_weight, down_bias)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad: Tensor) -> Tuple[Optional[Tensor], ...]:
        (x, norm_weight, norm_bias, up_weight, down_weight,
         hidden) = ctx.saved_tensors
        grad = grad.flatten(0, -2)
        hidden = hidden.flatten(0, -2)
        grad_down = linear(grad.t(), F.gelu(hidden).t())
        g = linear(grad, down_weight.t())
        g = torch.ops.aten.gelu_backward(g, hidden)
        normed, mean, rstd = torch.native_layer_norm(x, x.shape[-1:],
                                                     norm_weight, norm_bias,
                                                     ctx.eps)
        grad_up = linear(g.t(), normed.flatten(0, -2).t())
        grad_up_bias = g.sum(0)
        g = linear(g, up_weight.t()).view_as(x)
        grad_x, *norm_grads = torch.ops.aten.native_layer_norm_backward(
            g, x, x.shape[-1:], mean, rstd, norm_weight, norm_bias,
            [True, True, True])
        return (grad_x, *norm_grads, None, grad_up, grad_up_bias, grad_down,
                grad.sum(0))


def _weight_grad(grad: Tensor, x: Tensor) -> Tensor:
    """Gradient ``(M, N)`` of the weight in :func:`mix_tokens`."""
    return torch.bmm(grad, x.transpose(1, 2)).sum(0)


def _batch_piece(x: Tensor, hidden: int) -> int:
    """Samples that are worked on at once."""
    if x.device.type != 'cpu':
        return max(1, len(x))
    return max(1, _PIECE // (hidden * x.shape[-1]))
