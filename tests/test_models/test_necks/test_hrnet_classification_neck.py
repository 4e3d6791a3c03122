# Copyright (c) The mpm_postometro authors. All rights reserved.
import torch
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS
from torch import nn


def build(in_channels=(4, 8, 16), channels=(8, 12, 16)):
    init_default_scope('mmpose')
    return MODELS.build(
        dict(
            type='HRNetClassificationNeck',
            in_channels=in_channels,
            channels=channels,
            out_channels=6))


def test_every_map_has_a_say():
    torch.manual_seed(0)
    neck = build().eval()
    feats = [
        torch.randn(2, width, size, size, requires_grad=True)
        for width, size in ((4, 16), (8, 8), (16, 4))
    ]
    out, = neck(feats)
    assert out.shape == (2, 6, 4, 4)
    assert (out >= 0).all()
    out.sum().backward()
    for tensor in (*feats, *neck.parameters()):
        assert tensor.grad.abs().max() > 0


def test_a_map_of_the_right_width_is_not_projected():
    neck = build()
    shortcuts = [module[0].downsample for module in neck.incre_modules]
    assert [isinstance(s, nn.Module) for s in shortcuts] == [True, True, False]
