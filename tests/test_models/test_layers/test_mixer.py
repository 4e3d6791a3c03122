# Copyright (c) The mpm_postometro authors. All rights reserved.
import torch
import torch.nn.functional as F

from mpm_postometro.models.layers import FCBlock, MixerLayer


def test_fc_block():
    torch.manual_seed(0)
    block = FCBlock(5, 4)
    x = torch.randn(2, 3, 5)
    linear, norm, _ = block.ff
    expected = F.relu(
        F.layer_norm(x @ linear.weight.t() + linear.bias, (4, ), norm.weight,
                     norm.bias))
    torch.testing.assert_close(block(x), expected)


def test_mixer_layer_formula():
    torch.manual_seed(0)
    layer = MixerLayer(3, 6, token_hidden=4, channel_hidden=5)
    assert layer.layernorm1.eps == layer.layernorm2.eps == 1e-5
    for parameter in layer.parameters():  # no ones or zeros that hide a swap
        torch.nn.init.normal_(parameter)
    x = torch.randn(2, 3, 6)

    def mlp(module, x):
        first, last = module.ff[0], module.ff[3]
        return last(F.gelu(first(x)))

    y = mlp(layer.MLP_token, layer.layernorm1(x).mT).mT
    z = mlp(layer.MLP_channel, layer.layernorm2(x + y))
    torch.testing.assert_close(layer(x), x + y + z)
