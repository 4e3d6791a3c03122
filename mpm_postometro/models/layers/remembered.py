# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Results that are computed once while nothing that they depend on changes."""
from typing import Any, Callable, Sequence

import torch
from torch import Tensor

__all__ = ['Remembered']


class Remembered:
    """The last result of a function of tensors.

    It is given again while the tensors hold the same numbers, which are
    compared one by one with a copy: a version counter would miss what is
    written through ``tensor.data``, as MMEngine's moving averages do. Only on
    CPUs and in inference; in training, under autocast, tracing, export and
    compilation the function is called every time.

    An instance is no part of a state dict, and its copies, also pickled ones,
    are empty.
    """

    def __init__(self) -> None:
        self._last = None

    def __call__(self, function: Callable[[], Any], tensors: Sequence[Tensor],
                 *others: Any) -> Any:
        """Give the result.

        Args:
            function (Callable[[], Any]): Computes it, of nothing but what
                follows.
            tensors (Sequence[Tensor]): What the result depends on.
            *others (Any): Further objects, which must be the same ones.

        Returns:
            Any: What the function gave; not to be written into.
        """
        if (torch.is_grad_enabled() or torch.compiler.is_compiling()
                or torch.jit.is_tracing() or any(t.device.type != 'cpu'
                                                 for t in tensors)
                or torch.is_autocast_enabled('cpu')):
            return function()
        last = self._last
        if last is None or not _same(last[:2], (tensors, others)):
            result = function()
            copies = [tensor.clone() for tensor in tensors]
            last = self._last = copies, others, result
        return last[2]

    def __reduce__(self) -> tuple:
        return Remembered, ()


def _same(one: tuple, other: tuple) -> bool:
    (tensors, others), (new_tensors, new_others) = one, other
    return all(a is b for a, b in zip(others, new_others)) and all(
        a.dtype == b.dtype and torch.equal(a, b)
        for a, b in zip(tensors, new_tensors))
