# Copyright (c) The mpm_postometro authors. All rights reserved.
import pytest
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS
from torch import nn

# Layer 0 is the embedding, 1 a block, 2 a down-sampling, 3 and 4 blocks, 5 a
# down-sampling, 6 a block, 7 a down-sampling, 8 a block, 9 the rest.
DEPTHS = (1, 2, 1, 1)


@pytest.fixture(scope='module')
def model():
    pytest.importorskip('timm', reason='TimmSwinV2 builds on timm')
    init_default_scope('mmpose')
    return MODELS.build(
        dict(
            type='TopdownPoseEstimator',
            backbone=dict(
                type='TimmSwinV2',
                embed_dim=8,
                depths=DEPTHS,
                num_heads=(1, 1, 2, 2),
                img_size=64,
                window_size=(4, 4, 4, 2),
                pretrained_window_sizes=(4, 4, 4, 2)),
            head=dict(
                type='HeatmapHead',
                in_channels=64,
                out_channels=17,
                deconv_out_channels=(8, ),
                deconv_kernel_sizes=(4, ),
                decoder=dict(
                    type='MSRAHeatmap',
                    input_size=(64, 64),
                    heatmap_size=(16, 16),
                    sigma=1))))


def build(model, paramwise_cfg=None, **optimizer):
    init_default_scope('mmpose')
    cfg = dict(
        optimizer=dict(**dict(type='AdamW', lr=5e-4, weight_decay=0.05),
                       **optimizer),
        constructor='SwinLayerDecayOptimWrapperConstructor',
        paramwise_cfg=paramwise_cfg or dict(layer_decay_rate=0.9))
    return build_optim_wrapper(model, Config(dict(o=cfg)).o).optimizer


def test_groups_of_a_small_swin(model):
    optimizer = build(model)
    found = {}
    for group in optimizer.param_groups:
        for name, parameter in zip(group['param_names'], group['params']):
            assert parameter is model.get_parameter(name)
            found[name] = group['lr'], group['weight_decay']
    # Every parameter has one group.
    assert len(found) == sum(len(g['params']) for g in optimizer.param_groups)
    assert found.keys() == dict(model.named_parameters()).keys()

    def lr(power):
        return pytest.approx(5e-4 * 0.9**power, rel=1e-12)

    b = 'backbone.'
    assert found[b + 'patch_embed.proj.weight'] == (lr(9), 0.05)
    assert found[b + 'patch_embed.norm.weight'] == (lr(9), 0.)
    assert found[b + 'layers.0.blocks.0.attn.qkv.weight'] == (lr(8), 0.05)
    assert found[b + 'layers.0.blocks.0.attn.q_bias'] == (lr(8), 0.)
    # A layer of its own between the stages.
    assert found[b + 'layers.1.downsample.reduction.weight'] == (lr(7), 0.05)
    assert found[b + 'layers.1.downsample.norm.bias'] == (lr(7), 0.)
    assert found[b + 'layers.1.blocks.0.mlp.fc1.weight'] == (lr(6), 0.05)
    assert found[b + 'layers.1.blocks.1.mlp.fc1.bias'] == (lr(5), 0.)
    assert found[b + 'layers.2.downsample.reduction.weight'] == (lr(4), 0.05)
    assert found[b + 'layers.2.blocks.0.attn.logit_scale'] == (lr(3), 0.)
    assert found[b + 'layers.3.blocks.0.attn.cpb_mlp.0.weight'] == (lr(1), 0.)
    assert found[b + 'norm.weight'] == (lr(0), 0.)
    assert found['head.final_layer.weight'] == (lr(0), 0.05)
    assert found['head.final_layer.bias'] == (lr(0), 0.)


def test_frozen_parameters_are_left_out(model):
    model.backbone.patch_embed.requires_grad_(False)
    try:
        names = [
            n for g in build(model).param_groups for n in g['param_names']
        ]
    finally:
        model.backbone.patch_embed.requires_grad_(True)
    assert names and not [n for n in names if 'patch_embed' in n]


@pytest.mark.parametrize('paramwise', [
    dict(layer_decay_rate=1.5),
    dict(layer_decay_rate=0),
    dict(num_layers=12),
    dict(layer_decay_rate=0.9, norm_decay_mult=0.),
])
def test_other_options_are_refused(model, paramwise):
    with pytest.raises(ValueError, match='layer_decay_rate'):
        build(model, paramwise)


def test_other_models_are_refused():
    with pytest.raises(ValueError, match='TimmSwinV2 as backbone'):
        build(nn.Linear(2, 2))
