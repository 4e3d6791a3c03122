# Copyright (c) The mpm_postometro authors. All rights reserved.
import pytest
import torch

from mpm_postometro.models.layers import UnbiasedLayerNorm


def plain(norm, x):
    mean, std = x.mean(-1, keepdim=True), x.std(-1, keepdim=True)
    return norm.weight * (x - mean) / (std + norm.eps) + norm.bias


@pytest.fixture
def norm():
    norm = UnbiasedLayerNorm(16)
    torch.nn.init.normal_(norm.weight)
    torch.nn.init.normal_(norm.bias)
    return norm


@pytest.mark.parametrize('scale', [30., 1., 1e-3, 1e-6, 1e-8, 0.])
def test_equals_the_formula(norm, scale):
    x = scale * torch.randn(3, 5, 16)
    expected = plain(norm.double(), x.double()).float()
    torch.testing.assert_close(norm.float()(x), expected)


def test_gradients(norm):
    x = torch.randn(7, 16, requires_grad=True)
    weights = torch.randn(7, 16)
    tensors = [x, norm.weight, norm.bias]
    actual = torch.autograd.grad((norm(x) * weights).sum(), tensors)
    expected = torch.autograd.grad((plain(norm, x) * weights).sum(), tensors)
    for one, other in zip(actual, expected):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_half_precision_is_computed_in_float32(norm):
    x = torch.randn(4, 16).bfloat16()
    out = norm(x)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, plain(norm, x.float()))
