# Copyright (c) The mpm_postometro authors. All rights reserved.
import numpy as np
import pytest
import torch
from scipy import sparse
from torch import nn

from mpm_postometro.models.layers import MeshUpsampler, SparseMatrix


@pytest.fixture
def matrices():
    rng = np.random.default_rng(0)
    dense = [
        rng.normal(size=shape) * (rng.random(shape) < 0.4)
        for shape in ((9, 5), (14, 9))
    ]
    dense[0][3] = 0  # a vertex that nothing contributes to
    return [sparse.csr_matrix(m.astype(np.float32)) for m in dense]


def test_product_and_gradient(matrices):
    matrix = SparseMatrix(matrices[0]).double()
    x = torch.randn(3, 5, 2, dtype=torch.float64, requires_grad=True)
    expected = torch.tensor(matrices[0].toarray()).double() @ x
    torch.testing.assert_close(matrix(x), expected)
    assert torch.autograd.gradcheck(matrix, (x, ))


def test_fixed_levels_hold_no_state(matrices):
    upsampler = MeshUpsampler(matrices)
    x = torch.randn(2, 5, 3)
    coarse, intermediate, fine = upsampler(x)
    dense = [torch.tensor(m.toarray()) for m in matrices]
    assert coarse is x
    torch.testing.assert_close(intermediate, dense[0] @ x)
    torch.testing.assert_close(fine, dense[1] @ (dense[0] @ x))
    assert not upsampler.state_dict() and not list(upsampler.parameters())


def test_learned_first_step(matrices):
    upsampler = MeshUpsampler(matrices, learned_first=True)
    linear = upsampler.steps[0]
    assert isinstance(linear, nn.Linear) and len(upsampler.state_dict()) == 2
    x = torch.randn(2, 5, 3)
    _, intermediate, fine = upsampler(x)
    torch.testing.assert_close(intermediate,
                               linear.weight @ x + linear.bias[:, None])
    fine.square().sum().backward()
    assert linear.weight.grad.abs().sum() > 0


@pytest.mark.parametrize('learned', [False, True])
def test_full_precision_under_autocast(matrices, learned):
    upsampler = MeshUpsampler(matrices, learned_first=learned)
    x = torch.randn(2, 5, 3, requires_grad=True)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        levels = upsampler(x)
    for actual, expected in zip(levels, upsampler(x)):
        assert actual.dtype == torch.float32
        torch.testing.assert_close(actual, expected)
    levels[-1].sum().backward()
    assert torch.isfinite(x.grad).all()
