# Copyright (c) The mpm_postometro authors. All rights reserved.
import copy
import pickle

import pytest
import torch

from mpm_postometro.models.layers import Remembered


class Counter:
    """A function of two tensors that counts its calls."""

    def __init__(self):
        self.calls = 0
        self.remembered = Remembered()
        self.tensors = [torch.ones(3), torch.arange(3.)]

    def __call__(self, *others):

        def compute():
            self.calls += 1
            return self.tensors[0] + self.tensors[1]

        return self.remembered(compute, self.tensors, *others)


@pytest.mark.parametrize('mode', [torch.no_grad, torch.inference_mode])
def test_computes_once_while_nothing_changes(mode):
    counter = Counter()
    with mode():
        results = [counter() for _ in range(3)]
    assert counter.calls == 1
    assert all(r.tolist() == [1, 2, 3] for r in results)


@pytest.mark.parametrize('change', [
    lambda t: t.__setitem__(1, t[1] + 1),
    lambda t: t[1].add_(1),
    lambda t: t[1].data.add_(1),
    lambda t: t[1].numpy().__setitem__(2, 7.),
    lambda t: t[0].set_(torch.full((3, ), 2.)),
    lambda t: t.__setitem__(0, t[0].double()),
    lambda t: t.__setitem__(0, torch.ones(1)),
])
@torch.no_grad()
def test_sees_every_change(change):
    counter = Counter()
    counter()
    change(counter.tensors)
    for _ in range(2):
        expected = counter.tensors[0] + counter.tensors[1]
        found = counter()
        assert found.dtype == expected.dtype and torch.equal(found, expected)


@torch.no_grad()
def test_other_objects_must_be_the_same_ones():
    counter, other = Counter(), [1]
    counter(other), counter(other)
    assert counter.calls == 1
    counter([1])
    assert counter.calls == 2


def test_not_in_training_autocast_or_tracing():
    counter = Counter()
    counter.tensors[0].requires_grad_()
    assert counter().requires_grad and counter().requires_grad
    with torch.no_grad(), torch.autocast('cpu', torch.bfloat16):
        counter(), counter()
    assert counter.calls == 4
    counter.tensors[0] = torch.ones(3)
    with torch.no_grad():
        counter()
        traced = torch.jit.trace(
            lambda x: counter() + x, torch.ones(3), check_trace=False)
        counter.tensors[1].add_(1)
        assert counter.calls == 6
        assert traced(torch.zeros(3)).tolist() == [2, 3, 4]


@pytest.mark.parametrize(
    'copied',
    [copy.deepcopy, copy.copy, lambda x: pickle.loads(pickle.dumps(x))])
@torch.no_grad()
def test_copies_are_empty(copied):
    counter = Counter()
    counter()
    assert counter.remembered._last is not None
    assert copied(counter.remembered)._last is None
