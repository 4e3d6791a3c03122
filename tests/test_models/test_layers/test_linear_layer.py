# Copyright (c) The mpm_postometro authors. All rights reserved.
import copy

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mpm_postometro.models.layers import Linear, linear, linear_layer

needs_onednn = pytest.mark.skipif(
    not (torch.backends.mkldnn.is_available()
         and hasattr(torch.ops.mkldnn, '_linear_pointwise')),
    reason='this torch has no oneDNN')


@pytest.fixture
def calls(monkeypatch):
    """oneDNN whatever the processor and however small; how often it ran."""
    found = []
    original = linear_layer._onednn_linear

    def count(*args):
        found.append(args[1].shape)
        return original(*args)

    monkeypatch.setattr(linear_layer, '_onednn_is_quicker', lambda: True)
    monkeypatch.setattr(linear_layer, '_onednn_linear', count)
    monkeypatch.setattr(linear_layer, '_SMALL', 0)
    monkeypatch.setattr(linear_layer, '_NARROW', 0)
    return found


def draw(shape):
    return torch.randn(shape, requires_grad=True)


@needs_onednn
@pytest.mark.parametrize('relu', [False, True])
@pytest.mark.parametrize('bias', [False, True])
@pytest.mark.parametrize('shape', [(7, 12), (3, 5, 12), (2, 3, 5, 12)])
def test_equals_torch_forward_and_backward(calls, shape, bias, relu):
    x, weight = draw(shape), draw((6, 12))
    inputs = (x, weight) + (draw((6, )), ) * bias
    out = linear(*inputs, relu=relu)
    expected = F.linear(*inputs)
    expected = F.relu(expected) if relu else expected
    torch.testing.assert_close(out, expected)
    grad = torch.randn_like(out)
    for actual, wanted in zip(
            torch.autograd.grad(out, inputs, grad),
            torch.autograd.grad(expected, inputs, grad)):
        torch.testing.assert_close(actual, wanted)
    assert len(calls) == 3  # forward, and the gradients of both factors


@needs_onednn
@pytest.mark.parametrize('change', [
    lambda x: x.transpose(0, 1),
    lambda x: x[..., ::2].repeat(1, 1, 2),
    lambda x: x[:1].expand(4, -1, -1),
    lambda x: x[:, 1:],
])
def test_views(calls, change):
    x, weight = change(torch.randn(3, 5, 12)), torch.randn(9, 12)
    torch.testing.assert_close(
        linear(x, weight[2:8]), F.linear(x, weight[2:8]))
    assert calls
    # the gradient of a sum has strides of zero
    grads = []
    for function in (linear, F.linear):
        leaf = weight.clone().requires_grad_()
        function(x, leaf).sum().backward()
        grads.append(leaf.grad)
    torch.testing.assert_close(*grads)


@pytest.mark.parametrize('onednn', [
    pytest.param(True, marks=needs_onednn),
    False,
])
def test_dropout(onednn, request, monkeypatch):
    calls = request.getfixturevalue('calls') if onednn else None
    monkeypatch.setattr(linear_layer, '_ROWS', 100)
    x, weight, bias = draw((40, 10, 12)), draw((16, 12)), draw((16, ))
    out = linear(x, weight, bias, relu=True, dropout=.25)
    full = F.relu(F.linear(x, weight, bias))
    kept = out != 0
    share = (kept.sum() / (full > 0).sum()).item()
    assert share == pytest.approx(.75, abs=.05)
    expected = full * kept / .75
    torch.testing.assert_close(out, expected)
    grad = torch.randn_like(out)
    inputs = x, weight, bias
    for actual, wanted in zip(
            torch.autograd.grad(out, inputs, grad),
            torch.autograd.grad(expected, inputs, grad)):
        torch.testing.assert_close(actual, wanted, rtol=1e-4, atol=1e-4)
    assert calls is None or len(calls) == 3
    with torch.no_grad():  # all rows draw their own numbers
        rows = linear(torch.ones(400, 12), weight, bias, True, .25) > 0
    assert len(rows.unique(dim=0)) > 20
    with pytest.raises(ValueError, match='without relu'):
        linear(x, weight, bias, dropout=.25)


@needs_onednn
def test_second_derivatives_and_torch_func(calls):
    x, weight = draw((5, 12)), draw((6, 12))

    def penalty(function):
        out = function(x, weight).tanh().sum()
        grad, = torch.autograd.grad(out, x, create_graph=True)
        return torch.autograd.grad(grad.square().sum(), (x, weight))

    for actual, wanted in zip(penalty(linear), penalty(F.linear)):
        torch.testing.assert_close(actual, wanted, rtol=1e-4, atol=1e-4)

    def loss(weight):
        return linear(x.detach(), weight, None, True).square().sum()

    calls.clear()
    found = torch.func.grad(loss)(weight.detach())
    assert calls
    loss(weight).backward()
    torch.testing.assert_close(found, weight.grad)


@needs_onednn
def test_frozen_parts_get_no_gradient(calls):
    layer = Linear(12, 6)
    layer.weight.requires_grad_(False)
    x = draw((5, 12))
    layer(x).sum().backward()
    assert layer.weight.grad is None and layer.bias.grad is not None
    assert len(calls) == 2
    assert not layer.requires_grad_(False)(x.detach()).requires_grad


@pytest.mark.filterwarnings('ignore:TF32')
def test_torch_is_left_to_itself(calls):
    x = torch.randn(5, 12)
    layer = Linear(12, 6)
    double = copy.deepcopy(layer).double()
    torch.testing.assert_close(
        double(x.double()), F.linear(x.double(), double.weight, double.bias))
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
    with torch.backends.mkldnn.flags(enabled=False):
        layer(x)
    torch.jit.trace(layer, x, check_trace=False)
    assert not calls


def test_export_holds_torchs_operators_only(calls):
    layer = Linear(12, 6).eval()
    program = torch.export.export(layer, (torch.randn(5, 12), ))
    names = {
        str(node.target)
        for node in program.graph.nodes if node.op == 'call_function'
    }
    assert names == {'aten.linear.default'}
    assert not calls


def test_small_products_are_torchs(monkeypatch):
    monkeypatch.setattr(linear_layer, '_onednn_is_quicker', lambda: True)
    weight = torch.randn(64, 64)
    assert not linear_layer._use_onednn(torch.randn(64, 64), weight)
    assert linear_layer._use_onednn(torch.randn(2048, 64), weight)
    assert not linear_layer._use_onednn(torch.randn(2**20, 64), weight[:3])


def test_the_processor_decides(monkeypatch):
    linear_layer._onednn_is_quicker.cache_clear()
    try:
        monkeypatch.setattr(torch.backends.cpu, 'get_cpu_capability',
                            lambda: 'AVX2')
        assert not linear_layer._onednn_is_quicker()
    finally:
        linear_layer._onednn_is_quicker.cache_clear()


def test_is_a_linear_layer_with_the_same_state():
    layer, official = Linear(4, 3), nn.Linear(4, 3)
    assert isinstance(layer, nn.Linear)
    layer.load_state_dict(official.state_dict())
    x = torch.randn(2, 4)
    torch.testing.assert_close(layer(x), official(x))
