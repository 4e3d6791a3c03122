# Copyright (c) The mpm_postometro authors. All rights reserved.
import os.path as osp

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS
from torch import nn

from mpm_postometro.models.heads import to_official_key
from mpm_postometro.models.pose_estimators import (check_mesh_fits,
                                                   from_official_mesh_state,
                                                   to_official_mesh_state)

ROOT = osp.dirname(
    osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__)))))
WINDOWS = dict(window_size=(4, 4, 4, 2), pretrained_window_sizes=(3, 3, 3, 2))
HEAD = dict(
    type='PostoMETROHead',
    in_channels=64,
    num_joints=14,
    hidden_dims=(16, 8),
    feedforward_dims=(12, 10),
    num_layers=1,
    num_heads=2,
    use_pose_tokens=False,
    learned_upsample=True)
RESNET = dict(type='ResNet', depth=50, stem_channels=4, base_channels=2)
HRNET = dict(
    type='HRNet',
    extra=dict(
        stage1=dict(
            num_modules=1,
            num_branches=1,
            block='BOTTLENECK',
            num_blocks=(1, ),
            num_channels=(4, )),
        stage2=dict(
            num_modules=1,
            num_branches=2,
            block='BASIC',
            num_blocks=(1, 1),
            num_channels=(4, 8)),
        stage3=dict(
            num_modules=2,
            num_branches=3,
            block='BASIC',
            num_blocks=(1, 1, 1),
            num_channels=(4, 8, 12)),
        stage4=dict(
            num_modules=1,
            num_branches=4,
            block='BASIC',
            num_blocks=(1, 1, 1, 1),
            num_channels=(4, 8, 12, 16),
            multiscale_output=True)))
NECK = dict(
    type='HRNetClassificationNeck',
    in_channels=(4, 8, 12, 16),
    channels=(8, 12, 16, 20),
    out_channels=64)
POSE_BRANCH = dict(
    type='TopdownPoseEstimator',
    backbone=dict(
        type='TimmSwinV2',
        embed_dim=8,
        depths=(1, 1, 2, 1),
        num_heads=(1, 2, 2, 4),
        img_size=64,
        **WINDOWS),
    head=dict(
        type='PCTHead',
        in_channels=64,
        feat_size=(2, 2),
        conv_channels=4,
        hidden_channels=6,
        tokenizer=dict(
            type='PCTTokenizer',
            num_tokens=5,
            num_codes=7,
            token_dim=9,
            guide_ratio=0.5,
            guide_channels=64)))
POSE_HEAD = dict(
    HEAD,
    use_pose_tokens=True,
    official_compat=True,
    token_dim=9,
    num_tokens=5,
    pose_modulator=dict(num_blocks=2, token_hidden_dim=3))
MODEL_CFGS = dict(
    r50=dict(backbone=RESNET, head=HEAD),
    h64=dict(backbone=HRNET, neck=NECK, head=HEAD),
    pose_r50=dict(backbone=RESNET, head=POSE_HEAD, pose_branch=POSE_BRANCH),
    pose_w48=dict(
        backbone=HRNET,
        head=dict(POSE_HEAD, in_channels=16),
        pose_branch=POSE_BRANCH))
SMALL = ('r50', 'h64', 'pose_r50', 'pose_w48')


def model_cfg(name):
    if name.startswith('pose'):
        pytest.importorskip('timm', reason='TimmSwinV2 builds on timm')
    return dict(type='MeshEstimator', **MODEL_CFGS[name])


def build(name):
    """An estimator of which no two parameters are equal."""
    init_default_scope('mmpose')
    model = MODELS.build(model_cfg(name))
    for value in model.state_dict().values():
        if value.is_floating_point():
            nn.init.uniform_(value, 0.1, 1.)
    return model.eval()


@pytest.fixture(scope='module')
def official():
    """Function: a small published state dict, by name."""
    made = {}

    def make(name):
        if name not in made:
            model_cfg(name)  # skips without timm
            state = build(name).state_dict()
            made[name] = to_official_mesh_state(state, **WINDOWS)[1]
        return dict(made[name])

    return make


@pytest.mark.parametrize('name', SMALL)
def test_there_and_back(name):
    model = build(name)
    state = model.state_dict()
    kind, official = to_official_mesh_state(state, **WINDOWS)
    assert kind == ('postometro' if 'pose' in name else 'fastmetro')
    weights = from_official_mesh_state({
        f'module.{key}': value
        for key, value in official.items()
    })
    assert weights.kind == kind
    assert weights.state_dict.keys() == state.keys()
    assert all(weights.state_dict[k].equal(v) for k, v in state.items())
    build(name).load_state_dict(weights.state_dict, strict=True)
    check_mesh_fits(weights, model_cfg(name))
    _, again = to_official_mesh_state(weights.state_dict, **WINDOWS)
    assert again.keys() == official.keys()
    assert all(again[key].equal(value) for key, value in official.items())


def test_published_names(official):
    state = official('r50')
    assert 'backbone.7.2.conv3.weight' in state
    assert not any(key.startswith('backbone.layer') for key in state)
    state = official('h64')
    for name in ('incre_modules.3.0.downsample.1.running_var',
                 'downsamp_modules.2.0.bias', 'final_layer.1.weight',
                 'stage4.0.fuse_layers.3.0.2.0.weight', 'layer1.0.bn3.bias'):
        assert f'backbone.{name}' in state
    state = official('pose_r50')
    assert 'backbone.layer4.2.conv3.weight' in state
    # The authors' code has one backbone under two names.
    one, other = ({
        key[len(prefix):]: value
        for key, value in state.items() if key.startswith(prefix)
    } for prefix in ('pct.backbone.', 'pct.extra_backbone.'))
    assert one and one.keys() == other.keys()
    assert all(other[key].equal(value) for key, value in one.items())
    assert to_official_key('template') is None


def test_sizes_are_read(official):
    parts = from_official_mesh_state(official('h64')).parts
    assert parts['neck'] == NECK
    for stage, cfg in HRNET['extra'].items():
        assert parts['backbone']['extra'][stage] == cfg
    parts = from_official_mesh_state(official('r50')).parts
    assert parts['backbone'] == RESNET
    assert parts['head'] == {k: HEAD[k] for k in parts['head']}
    weights = from_official_mesh_state(official('pose_r50'))
    head = weights.parts['head']
    assert head['pose_modulator'] == dict(
        order='code',
        num_blocks=2,
        hidden_dim=9,
        token_hidden_dim=3,
        channel_hidden_dim=9)
    assert (head['token_dim'], head['num_tokens']) == (9, 5)
    assert weights.pose_branch.windows['backbone'] == tuple(WINDOWS.values())


def test_resnet_is_torchvisions():
    """FastMETRO's backbone is torchvision's without its last two layers."""
    from torchvision.models import resnet50
    torch.manual_seed(0)
    network = nn.Sequential(*list(resnet50().children())[:-2]).eval()
    official = to_official_mesh_state(build('r50').state_dict())[1]
    official = {k: v for k, v in official.items() if k[:8] != 'backbone'}
    official.update({
        f'backbone.{key}': value
        for key, value in network.state_dict().items()
    })
    weights = from_official_mesh_state(official)
    assert weights.parts['backbone'] == dict(type='ResNet', depth=50)
    backbone = MODELS.build(weights.parts['backbone'])
    load(backbone, 'backbone', weights)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(backbone(images)[-1], network(images))


def load(module, name, weights):
    module.load_state_dict(
        {
            key[len(name) + 1:]: value
            for key, value in weights.state_dict.items()
            if key.startswith(f'{name}.')
        },
        strict=True)
    module.eval()


def test_hrnet_and_neck_are_those_of_the_classifier():
    """timm's HRNet has the published names and layers."""
    timm = pytest.importorskip('timm')
    torch.manual_seed(0)
    network = timm.create_model('hrnet_w18_small')
    for name, buffer in network.named_buffers():
        if name.endswith('running_mean'):
            nn.init.normal_(buffer, std=0.1)
    network.eval()
    official = to_official_mesh_state(build('r50').state_dict())[1]
    official = {k: v for k, v in official.items() if k[:8] != 'backbone'}
    official.update({
        f'backbone.{key}': value
        for key, value in network.state_dict().items()
    })
    weights = from_official_mesh_state(official)
    assert weights.dropped == [
        'backbone.classifier.weight', 'backbone.classifier.bias'
    ]
    backbone = MODELS.build(weights.parts['backbone'])
    neck = MODELS.build(weights.parts['neck'])
    load(backbone, 'backbone', weights)
    load(neck, 'neck', weights)
    images = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        expected = network.forward_features(images)
        actual, = neck(backbone(images))
    assert expected.shape == (1, 2048, 2, 2) and expected.abs().max() > 0
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)


def test_the_published_hrnet_w64_fits_its_config():
    timm = pytest.importorskip('timm')
    init_default_scope('mmpose')
    model = Config.fromfile(
        osp.join(ROOT, 'configs', 'postometro',
                 'fastmetro-l_hrnet-w64_224x224.py')).model
    head = dict(
        HEAD,
        in_channels=2048,
        hidden_dims=(512, 128),
        feedforward_dims=(2048, 512),
        num_layers=3)
    with torch.device('meta'):
        network = timm.create_model('hrnet_w64')
    head = MODELS.build(head)
    state = {f'backbone.{k}': v for k, v in network.state_dict().items()}
    state.update({to_official_key(k): v for k, v in head.state_dict().items()})
    # As published: 153.0M, without the step of upsampling that is learned.
    parameters = sum(p.numel() for module in (network, head)
                     for name, p in module.named_parameters()
                     if 'upsampler' not in name)
    assert round(parameters / 1e6, 1) == 153.0
    check_mesh_fits(from_official_mesh_state(state), model)


def test_pose_hrnet_without_its_last_layer(official):
    state = official('pose_w48')
    state['backbone.final_layer.weight'] = torch.zeros(17, 4, 1, 1)
    state['backbone.final_layer.bias'] = torch.zeros(17)
    weights = from_official_mesh_state(state)
    assert 'neck' not in weights.parts
    assert weights.dropped[:2] == [
        'backbone.final_layer.weight', 'backbone.final_layer.bias'
    ]
    assert {name.split('.')[1]
            for name in weights.dropped[2:]} == {'extra_backbone'}


def test_what_is_not_used_is_named(official):
    state = official('r50')
    state['smpl_parameter_regressor.layers.0.weight'] = torch.zeros(1)
    weights = from_official_mesh_state(state)
    assert weights.dropped == ['smpl_parameter_regressor.layers.0.weight']
    assert len(weights.state_dict) == len(state) - 1


def test_the_head_alone(official):
    """Whatever the backbone is."""
    state = official('pose_r50')
    state = {k.replace('backbone.', 'backbone.odd.'): v
             for k, v in state.items()}  # yapf: disable
    with pytest.raises(ValueError, match='head can be converted alone'):
        from_official_mesh_state(state)
    weights = from_official_mesh_state(state, head_only=True)
    assert list(weights.parts) == ['head']
    assert all(key.startswith('head.') for key in weights.state_dict)
    assert len(weights.dropped) + len(weights.state_dict) == len(state)
    check_mesh_fits(weights, model_cfg('pose_w48') | dict(head=POSE_HEAD))
    _, again = to_official_mesh_state(
        build('pose_r50').state_dict(), head_only=True)
    assert again.keys() == state.keys() - set(weights.dropped)


# What is changed in a file, and what the error names: published names.
BROKEN = dict(
    missing=('backbone.5.1.bn2.running_var', None,
             r'missing: backbone\.5\.1\.bn2\.running_var$'),
    missing_size=('conv_1x1.weight', None,
                  'missing or of another shape: conv_1x1.weight'),
    missing_upsample=('coarse2intermediate_upsample.weight', None,
                      'another shape: coarse2intermediate_upsample.weight'),
    shape=('transformer_2.decoder.layers.0.multihead_attn.in_proj_weight',
           torch.zeros(24, 9),
           r'transformer_2\.decoder\.layers\.0\.multihead_attn\.in_proj_weight'
           r' \(24, 9\), expected \(24, 8\)'),
    unknown=('dim_reduce_what.weight', torch.zeros(1),
             'unknown: dim_reduce_what.weight'),
    learned_to_the_end=('intermediate2fine_upsample.weight',
                        torch.zeros(6890, 1723),
                        'unknown: intermediate2fine_upsample.weight'),
    further_block=('backbone.4.3.conv1.weight', torch.zeros(2, 8, 1, 1),
                   r'unknown: backbone\.4\.3\.conv1\.weight'),
    twice=('backbone.layer1.0.bn1.bias', torch.zeros(2),
           r'unknown: backbone\.layer1\.0\.bn1\.bias'),
    pose_branch=('pct.keypoint_head.x', torch.zeros(1),
                 r'unknown: pct\.keypoint_head\.x'))


@pytest.mark.parametrize('case', sorted(BROKEN))
def test_broken_files_are_refused(official, case):
    key, value, message = BROKEN[case]
    state = official('r50')
    state[key] = value
    if value is None:
        del state[key]
    with pytest.raises(ValueError, match=message):
        from_official_mesh_state(state)


def test_only_a_resnet_is_sequential(official):
    state = official('h64')
    state['backbone.0.weight'] = state.pop('backbone.conv1.weight')
    with pytest.raises(
            ValueError,
            match=r'missing: backbone\.conv1\.weight; '
            r'unknown: backbone\.0\.weight'):
        from_official_mesh_state(state)


def test_broken_pose_branches_are_refused(official):
    state = official('pose_r50')
    del state['pct.keypoint_head.cls_pred_layer.bias']
    with pytest.raises(
            ValueError,
            match='pose branch: .*missing: keypoint_head.cls_pred_layer.bias'):
        from_official_mesh_state(state)
    state = official('pose_r50')
    del state['encoder.1.layernorm2.bias']
    with pytest.raises(ValueError, match=r'encoder\.1\.layernorm2\.bias'):
        from_official_mesh_state(state)


def test_the_other_direction_and_other_things_are_refused(official):
    state = build('r50').state_dict()
    with pytest.raises(ValueError, match='name of this project'):
        from_official_mesh_state(state)
    with pytest.raises(ValueError, match='published files already'):
        to_official_mesh_state(official('r50'))
    with pytest.raises(ValueError, match='no checkpoint of FastMETRO.*conv'):
        from_official_mesh_state({'conv.weight': torch.zeros(1)})
    for other in ({}, {'epoch': 3}):
        with pytest.raises(ValueError, match='expected a state dict'):
            from_official_mesh_state(other)
    state['loss_module.weight'] = torch.zeros(1)
    with pytest.raises(ValueError, match='unknown: loss_module.weight'):
        to_official_mesh_state(state)
    # A fixed step of upsampling is nothing that was published.
    del state['loss_module.weight']
    del state['head.upsampler.steps.0.weight']
    del state['head.upsampler.steps.0.bias']
    with pytest.raises(ValueError, match='head.upsampler.steps.0.weight'):
        to_official_mesh_state(state)


@pytest.mark.parametrize('change, message', [
    (dict(head=dict(template_init=True)), 'head.template_init must be False'),
    (dict(head=dict(official_compat=False)),
     'head.official_compat must be True'),
    (dict(token_source='ground_truth'), "token_source must be 'logits'"),
    (dict(backbone=dict(style='caffe')), "style must be 'pytorch'"),
    (dict(backbone=HRNET), 'but the config has .*HRNet'),
    (dict(head=dict(num_joints=15)),
     r'head.joint_tokens.weight \(14, 16\), expected \(15, 16\)'),
    (dict(head=dict(pose_modulator=dict(order='paper'))),
     'unknown: .*head.pose_modulator.norm.bias'),
    (dict(pose_branch=None), 'has no pose_branch'),
    (dict(pose_branch=dict(backbone=dict(window_size=(8, 8, 8, 4)))),
     'window_size'),
])
def test_configs_that_do_not_fit(official, change, message):
    weights = from_official_mesh_state(official('pose_r50'))
    cfg = Config(model_cfg('pose_r50'))
    cfg.merge_from_dict(change)
    if change.get('backbone') is HRNET:
        cfg.backbone = HRNET
    with pytest.raises(ValueError, match=message):
        check_mesh_fits(weights, cfg)


def test_another_mesh_does_not_fit(official):
    state = official('r50')
    state['vertex_token_embed.weight'] = torch.zeros(430, 16)
    state['coarse2intermediate_upsample.weight'] = torch.zeros(1723, 430)
    with pytest.raises(
            ValueError, match=r'vertex_tokens.weight \(430, 16\), expected'):
        check_mesh_fits(from_official_mesh_state(state), model_cfg('r50'))
