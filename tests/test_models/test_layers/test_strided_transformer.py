# Copyright (c) The mpm_postometro authors. All rights reserved.
import pytest
import torch
import torch.nn.functional as F

from mpm_postometro.models.layers import (StridedEncoderLayer,
                                          StridedTransformer)


@pytest.mark.parametrize('frames, stride', [(27, 3), (27, 9), (9, 1),
                                            (13, 13)])
def test_feedforward_is_a_convolution(frames, stride):
    layer = StridedEncoderLayer(8, 2, 12, 0., 0., stride)
    x = torch.randn(2, frames, 8)
    hidden = F.relu(layer.linear1(x)).transpose(1, 2)
    weight = layer.linear2.weight.view(8, 3, 12).transpose(1, 2)
    expected = F.conv1d(
        hidden, weight, layer.linear2.bias, stride=stride, padding=1)
    actual = layer.feedforward(x)
    assert actual.shape == (2, frames // stride, 8)
    torch.testing.assert_close(actual, expected.transpose(1, 2))


def test_skip_takes_the_first_frame_of_each_window():
    layer = StridedEncoderLayer(8, 2, 12, 0., 0., 3)
    for module in (layer.self_attn.out_proj, layer.linear2):
        torch.nn.init.zeros_(module.weight)
        torch.nn.init.zeros_(module.bias)
    x = torch.randn(2, 9, 8)
    assert layer(x).equal(x[:, [0, 3, 6]])


@pytest.mark.parametrize('frames, strides', [(9, (1, 3, 3)), (27, (3, 3, 3)),
                                             (81, (3, ) * 4), (243, (3, ) * 5),
                                             (351, (3, 9, 13))])
def test_any_published_length_becomes_one_frame(frames, strides):
    net = StridedTransformer(frames, strides, 8, 2, 12)
    x = torch.randn(2, frames, 8)
    out = net(x)
    assert out.shape == (2, 8)
    out.sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    assert len(net.positions) == 3


def test_positions_are_added_before_the_first_three_layers():
    net = StridedTransformer(81, (3, ) * 4, 8, 2, 12, dropout=0.)
    x = torch.randn(2, 81, 8)
    expected = x
    for i, layer in enumerate(net.layers):
        if i < 3:
            length = 81 // 3**i
            expected = expected + net.positions[i][:, :length]
        expected = layer(expected)
    torch.testing.assert_close(net(x), expected[:, 0])


def test_strides_that_do_not_fit():
    with pytest.raises(ValueError, match=r'strides \(3, 3\) should .*=27'):
        StridedTransformer(27, (3, 3), 8, 2, 12)
