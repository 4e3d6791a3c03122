# Copyright (c) The mpm_postometro authors. All rights reserved.
import pytest
import torch
import torch.nn.functional as F

from mpm_postometro.models.layers import FrameBlock, NormedLinear


def randomise(norm):
    for tensor in (norm.weight, norm.bias, norm.running_mean):
        torch.nn.init.normal_(tensor)
    torch.nn.init.uniform_(norm.running_var, .5, 2)


@pytest.mark.parametrize('training', [True, False])
def test_block_is_its_layers_one_by_one(training):
    block = FrameBlock(6, 8, dropout=0.).train(training)
    randomise(block.norm)
    x = torch.randn(20, 6)
    expected = F.leaky_relu(
        F.batch_norm(
            block.linear(x),
            block.norm.running_mean.clone(),
            block.norm.running_var.clone(),
            block.norm.weight,
            block.norm.bias,
            training=training), 0.2)
    torch.testing.assert_close(block(x), expected)


@pytest.mark.parametrize('training', [True, False])
def test_normed_linear_is_its_layers_one_by_one(training):
    layer = NormedLinear(8, 5).train(training)
    randomise(layer.norm)
    x = torch.randn(3, 7, 8)
    rows = F.batch_norm(
        x.flatten(0, 1),
        layer.norm.running_mean.clone(),
        layer.norm.running_var.clone(),
        layer.norm.weight,
        layer.norm.bias,
        training=training)
    torch.testing.assert_close(layer(x), layer.linear(rows).view(3, 7, 5))


@pytest.mark.parametrize('training', [True, False])
def test_coordinates_stay_in_float32(training):
    layer = NormedLinear(8, 5).train(training)
    x = torch.randn(3, 7, 8).bfloat16()
    expected = layer(x.float())
    with torch.autocast('cpu', torch.bfloat16):
        out = layer(x)
    assert out.dtype == torch.float32
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-4)


def test_dropout_only_in_training():
    block = FrameBlock(6, 8, dropout=0.5)
    x = torch.randn(50, 6)
    assert (block(x) == 0).float().mean() == pytest.approx(0.5, abs=0.1)
    assert not (block.eval()(x) == 0).any()
