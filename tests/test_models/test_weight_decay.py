# Copyright (c) The mpm_postometro authors. All rights reserved.
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from torch import nn


def build(model, **kwargs):
    init_default_scope('mmpose')
    return build_optim_wrapper(
        model,
        ConfigDict(
            optimizer=dict(type='SGD', lr=0.1, weight_decay=0.5),
            constructor='MatrixDecayOptimWrapperConstructor',
            **kwargs))


def test_only_matrices_decay_and_frozen_ones_stay_out():
    model = nn.Sequential(
        nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Linear(4, 2),
        nn.LayerNorm(2),
        nn.Linear(2, 2).requires_grad_(False))
    wrapper = build(model)
    decay = {
        id(p): group['weight_decay']
        for group in wrapper.optimizer.param_groups
        for p in group['params']
    }
    expected = {
        id(p): 0.5 * (name in ('0.weight', '2.weight'))
        for name, p in model.named_parameters() if not name.startswith('4.')
    }
    assert decay == expected
    # One step without gradients from the loss is all decay.
    before = [p.clone() for p in model.parameters()]
    for p in model[:4].parameters():
        p.grad = torch.zeros_like(p)
    wrapper.step()
    for (name, p), old in zip(model.named_parameters(), before):
        factor = 0.95 if name in ('0.weight', '2.weight') else 1.
        torch.testing.assert_close(p, factor * old)


def test_there_is_nothing_to_choose():
    with pytest.raises(ValueError, match='norm_decay_mult'):
        build(nn.Linear(2, 2), paramwise_cfg=dict(norm_decay_mult=0.))
