# Copyright (c) The mpm_postometro authors. All rights reserved.
import re

import pytest
import torch
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS
from torch import nn

from mpm_postometro.models.pose_estimators import (check_fits,
                                                   from_official_pct_key,
                                                   from_official_pct_state,
                                                   to_official_pct_key,
                                                   to_official_pct_state)

pytest.importorskip('timm', reason='TimmSwinV2 builds on timm')

WINDOWS = dict(window_size=(4, 4, 4, 2), pretrained_window_sizes=(3, 3, 3, 2))
BACKBONE = dict(
    type='TimmSwinV2',
    embed_dim=8,
    depths=(1, 2, 1, 1),
    num_heads=(1, 2, 2, 4),
    img_size=64,
    **WINDOWS)
TOKENIZER = dict(
    type='PCTTokenizer',
    num_joints=5,
    num_tokens=6,
    num_codes=16,
    token_dim=8,
    encoder=dict(num_blocks=2, channels=8, token_hidden=4, channel_hidden=12),
    decoder=dict(num_blocks=1, channels=4, token_hidden=4, channel_hidden=12))
GUIDED = dict(TOKENIZER, guide_ratio=0.5, guide_channels=64)
HEAD = dict(
    type='PCTHead',
    in_channels=64,
    tokenizer=TOKENIZER,
    feat_size=(2, 2),
    conv_channels=8,
    conv_num_blocks=1,
    num_mixers=2,
    hidden_channels=4,
    token_hidden=6,
    channel_hidden=10)
MODEL_CFGS = dict(
    classifier=dict(type='TopdownPoseEstimator', backbone=BACKBONE, head=HEAD),
    guided_classifier=dict(
        type='GuidedTopdownPoseEstimator',
        backbone=BACKBONE,
        guide_backbone=BACKBONE,
        head=dict(HEAD, tokenizer=GUIDED)),
    tokenizer=dict(type='TokenizerEstimator', tokenizer=TOKENIZER),
    guided_tokenizer=dict(
        type='TokenizerEstimator', tokenizer=GUIDED, guide_backbone=BACKBONE),
    heatmap=dict(
        type='TopdownPoseEstimator',
        backbone=BACKBONE,
        head=dict(
            type='HeatmapHead',
            in_channels=64,
            out_channels=5,
            deconv_out_channels=(8, 4),
            deconv_kernel_sizes=(4, 4))))


def build(name):
    """An estimator of which no two parameters are equal."""
    init_default_scope('mmpose')
    model = MODELS.build(MODEL_CFGS[name])
    for value in model.state_dict().values():
        if value.is_floating_point():
            nn.init.uniform_(value, 0.1, 1.)
    return model.eval()


def official(name):
    return to_official_pct_state(build(name).state_dict(), **WINDOWS)[1]


def assert_equal(actual, expected):
    assert actual.keys() == expected.keys()
    for key, value in expected.items():
        assert actual[key].dtype == value.dtype, key
        assert actual[key].equal(value), key


# --------------------------------- names ---------------------------------
@pytest.mark.parametrize('published, ours', [
    ('keypoint_head.tokenizer.codebook', 'head.tokenizer.quantizer.codebook'),
    ('keypoint_head.tokenizer.ema_cluster_size',
     'head.tokenizer.quantizer.ema_cluster_size'),
    ('keypoint_head.mixer_head.0.MLP_token.ff.3.bias',
     'head.mixer_head.0.MLP_token.ff.3.bias'),
    ('keypoint_head.final_layer.weight', 'head.final_layer.weight'),
    ('backbone.layers.0.downsample.norm.bias',
     'backbone.layers.1.downsample.norm.bias'),
    ('backbone.layers.2.blocks.11.attn.rpe_mlp.0.bias',
     'backbone.layers.2.blocks.11.attn.cpb_mlp.0.bias'),
    ('backbone.layers.2.blocks.11.norm1.bias',
     'backbone.layers.2.blocks.11.norm1.bias'),
    ('backbone.patch_embed.norm.weight', 'backbone.patch_embed.norm.weight'),
    ('extra_backbone.norm3.weight', 'guide_backbone.norm.weight'),
])
def test_names(published, ours):
    assert from_official_pct_key(published) == ours
    assert to_official_pct_key(ours) == published


def test_tables_have_no_name_here():
    for name in ('attn.relative_coords_table', 'attn_mask',
                 'attn.relative_position_index'):
        key = f'extra_backbone.layers.0.blocks.1.{name}'
        assert from_official_pct_key(key) is None


def test_other_prefixes_are_refused():
    with pytest.raises(ValueError, match='neck.conv.weight: expected'):
        from_official_pct_key('neck.conv.weight')
    with pytest.raises(ValueError, match='neck.conv.weight: expected'):
        to_official_pct_key('neck.conv.weight')


# ------------------------------ whole states ------------------------------
@pytest.mark.parametrize('prefix', ['', 'module.'])
@pytest.mark.parametrize('name', MODEL_CFGS)
def test_there_and_back(name, prefix):
    model = build(name)
    kind, published = to_official_pct_state(model.state_dict(), **WINDOWS)
    assert kind == name.replace('guided_', '')
    prefixes = {key.split('.')[0] for key in published}
    assert prefixes <= {'backbone', 'extra_backbone', 'keypoint_head'}
    assert ('extra_backbone' in prefixes) == ('guided' in name)
    weights = from_official_pct_state({
        prefix + key: value
        for key, value in published.items()
    })
    assert weights.kind == kind and not weights.dropped
    for windows in weights.windows.values():
        assert windows == tuple(WINDOWS.values())
    assert_equal(weights.state_dict, model.state_dict())
    assert_equal(
        to_official_pct_state(weights.state_dict, **WINDOWS)[1], published)
    check_fits(weights, MODEL_CFGS[name])
    # Sizes are read from the file.
    for part, cfg in weights.parts.items():
        expected = MODEL_CFGS[name][part]
        for key, value in cfg.items():
            if key not in ('final_layer', 'tokenizer', 'coord_dims'):
                assert value == expected[key], key


def test_converted_classifier_predicts_the_same():
    model, copy = build('classifier'), build('classifier')
    images = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        expected = model(images, None)
        assert not copy(images, None).equal(expected)
        _, published = to_official_pct_state(model.state_dict(), **WINDOWS)
        copy.load_state_dict(from_official_pct_state(published).state_dict)
        assert copy(images, None).equal(expected)


def test_tokenizers_file_loses_its_backbone_by_rule():
    published = official('tokenizer')
    backbone = {
        key: value
        for key, value in official('heatmap').items()
        if key.startswith('backbone.')
    }
    weights = from_official_pct_state({**published, **backbone})
    assert weights.kind == 'tokenizer'
    assert sorted(weights.dropped) == sorted(backbone)
    assert all(key.startswith('tokenizer.') for key in weights.state_dict)


def test_parts_of_a_classifier():
    published = official('guided_classifier')
    tokenizer = from_official_pct_state(published, 'tokenizer')
    check_fits(tokenizer, MODEL_CFGS['guided_tokenizer'])
    assert {key.split('.')[0]
            for key in tokenizer.state_dict
            } == {'tokenizer', 'guide_backbone'}
    assert 'keypoint_head.cls_pred_layer.weight' in tokenizer.dropped
    backbone = from_official_pct_state(published, 'backbone')
    check_fits(backbone, MODEL_CFGS['heatmap'])
    assert all(key.startswith('backbone.') for key in backbone.state_dict)
    # What is in no such file is not dropped in silence.
    with pytest.raises(ValueError, match='unknown: neck.weight'):
        from_official_pct_state({
            **published, 'neck.weight': torch.zeros(1)
        }, 'backbone')


@pytest.mark.parametrize('prefix', ['', 'encoder.'])
def test_pretraining_of_swin(prefix):
    """Names of Microsoft's code, for which timm has the same map."""
    model = build('heatmap').backbone
    published = {}
    for key, value in official('heatmap').items():
        if key.startswith('backbone.'):
            key = key.replace('backbone.',
                              prefix).replace('norm3.', 'norm.').replace(
                                  'rpe_mlp', 'cpb_mlp')
            published[key] = value
    published[f'{prefix}layers.1.blocks.1.attn_mask'] = torch.zeros(4, 16, 16)
    published['head.weight' if prefix == '' else 'decoder.0.weight'] = (
        torch.zeros(10, 64))
    published[f'{prefix}mask_token'] = torch.zeros(1, 1, 8)
    weights = from_official_pct_state(published)
    assert weights.kind == 'backbone' and len(weights.dropped) == 2
    state = {
        key.removeprefix('backbone.'): value
        for key, value in weights.state_dict.items()
    }
    model.load_state_dict(state, strict=True)
    # Larger windows after the pre-training are what it is for.
    cfg = dict(BACKBONE, img_size=128, window_size=(8, 8, 8, 4))
    check_fits(weights, dict(MODEL_CFGS['heatmap'], backbone=cfg))


def test_simmim_without_tables_and_last_norm():
    """What PCT says of the pre-trained files that it offers."""
    published = {
        key.removeprefix('backbone.'): value
        for key, value in official('heatmap').items()
        if key.startswith('backbone.') and 'norm3' not in key
        and 'relative_' not in key
    }
    weights = from_official_pct_state(published)
    assert weights.kind == 'backbone' and not weights.windows
    check_fits(weights, MODEL_CFGS['heatmap'])
    model = build('heatmap')
    missing, unexpected = model.backbone.load_state_dict(
        {
            key.removeprefix('backbone.'): value
            for key, value in weights.state_dict.items()
        },
        strict=False)
    assert sorted(missing) == ['norm.bias', 'norm.weight'] and not unexpected
    # Half a norm is a broken file, and others need the whole.
    published['norm3.bias'] = torch.zeros(64)
    with pytest.raises(ValueError, match='missing: backbone.norm3.weight$'):
        from_official_pct_state(published)
    published = official('heatmap')
    for name in ('bias', 'weight'):
        del published[f'backbone.norm3.{name}']
    with pytest.raises(ValueError, match='missing: backbone.norm3.bias, .*'):
        from_official_pct_state(published)


# ------------------------------ broken input ------------------------------
def broken_missing(state):
    del state['keypoint_head.mixer_head.1.layernorm2.bias']


def broken_missing_size(state):
    del state['keypoint_head.tokenizer.codebook']


def broken_missing_block(state):
    for key in list(state):
        if key.startswith('backbone.layers.3.blocks.0.'):
            del state[key]


def broken_unknown(state):
    state['backbone.norm4.weight'] = torch.zeros(1)


def broken_prefix(state):
    state['neck.weight'] = torch.zeros(1)


def broken_shape(state):
    state['backbone.norm3.weight'] = torch.zeros(32)


def broken_twice(state):
    state['backbone.norm.weight'] = state['backbone.norm3.weight']


def broken_dims(state):
    state['keypoint_head.conv_trans.0.weight'] = torch.zeros(8, 64)


def broken_table(state):
    key = 'backbone.layers.1.blocks.1.attn.relative_coords_table'
    state[key] = state[key] * 1.1


def broken_window(state):
    key = 'backbone.layers.1.blocks.{}.attn.relative_coords_table'
    state[key.format(1)] = state['backbone.layers.3.blocks.0.attn.'
                                 'relative_coords_table']


def broken_stray_table(state):
    key = 'backbone.layers.{}.blocks.0.attn.relative_position_index'
    state[key.format(4)] = state[key.format(3)]


def broken_value(state):
    state['epoch'] = 3


@pytest.mark.parametrize('damage, message', [
    (broken_missing, 'missing: keypoint_head.mixer_head.1.layernorm2.bias$'),
    (broken_missing_size, 'missing .*keypoint_head.tokenizer.codebook'),
    (broken_missing_block, 'missing .*backbone.layers.3.blocks.0'),
    (broken_unknown, 'unknown: backbone.norm4.weight'),
    (broken_prefix, 'unknown: neck.weight'),
    (broken_shape, r'shape: backbone.norm3.weight \(32,\), expected \(64,\)'),
    (broken_twice, 'unknown: backbone.norm.weight'),
    (broken_dims, 'another shape: keypoint_head.conv_trans.0.weight'),
    (broken_table, 'layers.1.blocks.1.attn.relative_coords_table is not'),
    (broken_window, 'layers.1.blocks.1.attn.relative_coords_table is not'),
    (broken_stray_table, 'unknown: backbone.layers.4.blocks.0.attn.relative'),
    (broken_value, 'expected a state dict'),
])
def test_broken_files_are_refused(damage, message):
    published = official('classifier')
    from_official_pct_state(published)
    damage(published)
    with pytest.raises(ValueError, match=message):
        from_official_pct_state(published)


@pytest.mark.parametrize('name', ['classifier', 'tokenizer', 'heatmap'])
def test_the_wrong_direction_is_named(name):
    with pytest.raises(ValueError, match='is a name of this project'):
        from_official_pct_state(build(name).state_dict())
    with pytest.raises(ValueError, match='of the published files already'):
        to_official_pct_state(official(name))


def test_guided_file_without_its_image_backbone_is_refused():
    published = {
        key: value
        for key, value in official('guided_tokenizer').items()
        if not key.startswith('extra_backbone.')
    }
    with pytest.raises(ValueError, match='missing .*extra_backbone.patch'):
        from_official_pct_state(published)


def test_other_files_are_refused():
    with pytest.raises(ValueError, match='no checkpoint of PCT.*conv1.weight'):
        from_official_pct_state({'conv1.weight': torch.zeros(1)})
    with pytest.raises(ValueError, match='expected a state dict'):
        from_official_pct_state({})
    with pytest.raises(ValueError, match='no checkpoint of PCT'):
        to_official_pct_state({'conv1.weight': torch.zeros(1)})
    state = build('tokenizer').state_dict()
    state['tokenizer.coord_scale'] = torch.ones(2)
    with pytest.raises(ValueError, match='unknown: tokenizer.coord_scale'):
        to_official_pct_state(state)


@pytest.mark.parametrize('change, message', [
    (dict(backbone=dict(BACKBONE, depths=(1, 1, 1, 1))),
     'unknown: backbone.layers.1.blocks.1'),
    (dict(backbone=dict(BACKBONE, num_heads=(1, 2, 4, 4))),
     'shape: .*logit_scale'),
    (dict(backbone=dict(BACKBONE, pretrained_window_sizes=(4, 4, 4, 2))),
     re.escape('pretrained_window_sizes is (4, 4, 4, 2) in the config')),
    (dict(backbone=dict(BACKBONE, img_size=128, window_size=(8, 8, 8, 4))),
     re.escape('window_size is (8, 8, 8, 4) in the config')),
    (dict(backbone=dict(type='ResNet', depth=18)), "'backbone': 'ResNet'"),
    (dict(guide_backbone=BACKBONE), "'guide_backbone'"),
    (dict(head=dict(HEAD, tokenizer=dict(TOKENIZER, num_joints=6))),
     'shape: .*tokenizer'),
    (dict(head=dict(HEAD, tokenizer=dict(TOKENIZER, coord_scale=2.))),
     'coord_scale'),
])
def test_config_that_does_not_fit_is_refused(change, message):
    weights = from_official_pct_state(official('classifier'))
    check_fits(weights, MODEL_CFGS['classifier'])
    with pytest.raises(ValueError, match=message):
        check_fits(weights, {**MODEL_CFGS['classifier'], **change})
