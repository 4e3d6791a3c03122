# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Dropout that is quick on CPUs.

Torch draws its masks on CPUs number by number, which takes longer than a
linear layer on the same features. Here every number gets 16 of the bits of a
random integer, so that rates are whole multiples of 1/65536.
"""
import itertools
from typing import Iterator, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

__all__ = [
    'Dropout', 'attention_with_dropout', 'keep_factor', 'quick_dropout',
    'random_keep'
]

_LEVELS = 1 << 16
_PER_INTEGER = 4


def random_keep(shape: Sequence[int], rate: float) -> Tuple[Tensor, float]:
    """Which numbers to keep, drawn by torch's default generator of the CPU.

    Args:
        shape (Sequence[int]): Shape of the mask.
        rate (float): Probability of False, in [0, 1).

    Returns:
        tuple[Tensor, float]: Mask, bool, and the factor for what is kept, the
        inverse of the true probability of True.
    """
    size = torch.Size(shape)
    count = -(-size.numel() // _PER_INTEGER)
    bits = torch.empty(count, dtype=torch.int64)
    bits = bits.random_(torch.iinfo(torch.int64).min, None).view(torch.int16)
    keep = bits[:size.numel()] >= _dropped(rate) - _LEVELS // 2
    return keep.view(size), keep_factor(rate)


def keep_factor(rate: float) -> float:
    """The second result of :func:`random_keep`."""
    return _LEVELS / (_LEVELS - _dropped(rate))


def _dropped(rate: float) -> int:
    return min(round(rate * _LEVELS), _LEVELS - 1)


def quick_dropout(x: Tensor, rate: float) -> Tensor:
    """``F.dropout`` of training, quicker on CPUs.

    Args:
        x (Tensor): Any shape.
        rate (float): In [0, 1].

    Returns:
        Tensor: As ``x``, a new one.
    """
    if (x.device.type != 'cpu' or not 0 < rate < 1
            or torch.compiler.is_compiling()):
        return F.dropout(x, rate)
    keep, factor = random_keep(x.shape, rate)
    return x * keep.to(x.dtype).mul_(factor)


class Dropout(nn.Dropout):
    """``nn.Dropout`` by :func:`quick_dropout`, not in place."""

    def forward(self, x: Tensor) -> Tensor:
        """Zero numbers at random in training, and scale the others."""
        return quick_dropout(x, self.p) if self.training else x


class _AttentionWithDropout(torch.autograd.Function):
    """See :func:`attention_with_dropout`; here tensors are (N, L, D), and the
    mask is (B, 1, L, S) or (1, 1, L, S), numbers to add."""

    # Scores of so many numbers at a time stay in the cache.
    chunk_numbers = 1 << 19

    @staticmethod
    def forward(ctx, query, key, value, mask, rate):
        scores_each = query.shape[1] * key.shape[1]
        rows = max(1, _AttentionWithDropout.chunk_numbers // scores_each)
        if mask is not None and len(mask) > 1:  # whole samples
            heads = len(query) // len(mask)
            rows = max(1, rows // heads) * heads
        out, keeps = [], []
        for q, k, v, m in _split(rows, mask, query, key, value):
            weights = _attention_weights(q, k, m)
            keep, factor = random_keep(weights.shape, rate)
            weights *= keep.to(weights.dtype)
            out.append((weights @ v).mul_(factor))
            keeps.append(keep)
        ctx.save_for_backward(query, key, value, mask, *keeps)
        ctx.rows, ctx.factor = rows, factor
        return torch.cat(out)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        query, key, value, mask, *keeps = ctx.saved_tensors
        grads = [], [], []
        for keep, (q, k, v, g,
                   m) in zip(keeps,
                             _split(ctx.rows, mask, query, key, value, grad)):
            weights = _attention_weights(q, k, m)
            keep = keep.to(weights.dtype).mul_(ctx.factor)
            grads[2].append((weights * keep).transpose(1, 2) @ g)
            scores = (g @ v.transpose(1, 2)).mul_(keep)
            scores = torch._softmax_backward_data(scores, weights, -1,
                                                  weights.dtype)
            scores *= q.shape[-1]**-0.5
            grads[0].append(scores @ k)
            grads[1].append(scores.transpose(1, 2) @ q)
        return (*map(torch.cat, grads), None, None)


def _split(rows: int, mask: Optional[Tensor], *tensors:
           Tensor) -> Iterator[Tuple[Optional[Tensor], ...]]:
    """Some rows of all tensors at a time, and their part of the mask."""
    if mask is None or len(mask) == 1:
        masks = itertools.repeat(mask)
    else:
        masks = mask.split(rows * len(mask) // len(tensors[0]))
    return zip(*(tensor.split(rows) for tensor in tensors), masks)


def _attention_weights(query: Tensor, key: Tensor,
                       mask: Optional[Tensor]) -> Tensor:
    scores = query @ key.transpose(1, 2)
    scores *= query.shape[-1]**-0.5
    if mask is not None:
        scores.unflatten(0, (len(mask), -1)).add_(mask)
    return scores.softmax(-1)


def attention_with_dropout(query: Tensor,
                           key: Tensor,
                           value: Tensor,
                           rate: float,
                           mask: Optional[Tensor] = None) -> Tensor:
    """Scaled dot-product attention with dropout of its weights, on CPUs,
    where torch has no fused kernel for it.

    Scores are computed for a few clips at a time, and again in the backward
    pass, so that they never go to memory.

    Args:
        query (Tensor): (B, heads, L, D).
        key (Tensor): (B, heads, S, D).
        value (Tensor): (B, heads, S, D).
        rate (float): Dropout rate, in (0, 1).
        mask (Tensor, optional): (B, 1, L, S) or (1, 1, L, S), added to the
            scores: 0, or -inf for pairs that may not attend; every query must
            see something. Defaults to None: all may.

    Returns:
        Tensor: (B, heads, L, D).

    Raises:
        ValueError: If the mask is bool, as torch's own may be.
    """
    if mask is not None and mask.dtype == torch.bool:
        raise ValueError('attention_with_dropout adds its mask to the '
                         'scores: expected numbers, 0 or -inf, got bool')
    heads = query.shape[:2]
    out = _AttentionWithDropout.apply(
        query.flatten(0, 1), key.flatten(0, 1), value.flatten(0, 1), mask,
        rate)
    return out.unflatten(0, heads)
