# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Files with published names and numbers, through the converter and into the
whole estimator, against the published code's outputs."""
import os.path as osp
import runpy
import sys

import pytest
import torch
from mesh_networks import (GOLDEN, Golden, GoldenBody, assert_close,
                           assert_prediction, golden_files)
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint
from mmpose.registry import MODELS

from mpm_postometro.models.heads import head_state_from_official
from mpm_postometro.models.pose_estimators import (from_official_mesh_state,
                                                   to_official_pct_key)

ROOT = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))
TOOL = osp.join(ROOT, 'tools', 'model_converters', 'convert_postometro.py')
SEQUENTIAL = dict(
    conv1='0', bn1='1', layer1='4', layer2='5', layer3='6', layer4='7')
WINDOWS = dict(window_size=(4, 4, 4, 2), pretrained_window_sizes=(3, 3, 3, 2))


def published(golden):
    """The golden weights, with the backbones that they lack: random ones
    whose maps nobody looks at."""
    init_default_scope('mmpose')
    state = golden.group('state/')
    if golden.cfg.get('pct') == 'stub':
        return state
    resnet = MODELS.build(
        dict(type='ResNet', depth=50, stem_channels=4, base_channels=2))
    for key, value in resnet.state_dict().items():
        module, _, rest = key.partition('.')
        if golden.cfg['case'] == 'fastmetro':
            module = SEQUENTIAL[module]
        state[f'backbone.{module}.{rest}'] = value
    if golden.cfg.get('pct') == 'real':
        pytest.importorskip('timm', reason='TimmSwinV2 builds on timm')
        swin = MODELS.build(
            dict(
                type='TimmSwinV2',
                embed_dim=8,
                depths=(1, 1, 1, 1),
                num_heads=(1, 1, 2, 2),
                img_size=64,
                **WINDOWS))
        for key, value in swin.state_dict().items():
            key = to_official_pct_key(f'backbone.{key}')
            state[f'pct.{key}'] = state[f'pct.extra_{key}'] = value
    return state


def convert(*args):
    """Run the converter."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, 'argv', [TOOL, *map(str, args)])
        runpy.run_path(TOOL, run_name='__main__')


def build(golden, path, state, head_only):
    """The estimator, or head, of the sizes in a file, with the weights in the
    converted one."""
    weights = from_official_mesh_state(state, head_only)
    cfg = dict(type='MeshEstimator', **weights.parts)
    cfg['head'] = dict(cfg['head'], num_heads=golden.cfg['nhead'])
    if weights.pose_branch is not None:
        parts = weights.pose_branch.parts
        cfg['pose_branch'] = dict(
            type='TopdownPoseEstimator',
            head=parts['head'],
            backbone=dict(parts['backbone'], img_size=64, **WINDOWS))
    body = GoldenBody(golden)
    if head_only:
        head = MODELS.build(dict(cfg['head'], body=body))
        load_checkpoint(
            head, str(path), strict=True, revise_keys=[(r'^head\.', '')])
        return head.eval()
    model = MODELS.build(dict(cfg, body=body))
    load_checkpoint(model, str(path), strict=True)
    model.eval()
    # From here on as the published code was run: from maps of its backbones.
    for name, part in (('feat', model), ('pct_feat', model.pose_branch)):
        if part is not None:
            part.extract_feat = lambda _, name=name: (golden.maps[name], )
    return model


@pytest.fixture(
    params=golden_files('fastmetro_*.npz') + golden_files('postometro_*.npz'),
    scope='module')
def case(request, tmp_path_factory):
    """Golden numbers and the model in a converted file."""
    golden = Golden(request.param)
    head_only = golden.cfg.get('pct') == 'stub'
    folder = tmp_path_factory.mktemp('checkpoints')
    state = published(golden)
    torch.save(state, folder / 'published.bin')
    flag = ['--head-only'] * head_only
    convert(*flag, folder / 'published.bin', folder / 'ours.pth')
    return golden, build(golden, folder / 'ours.pth', state, head_only)


def test_outputs_of_a_converted_file(case):
    golden, model = case
    if golden.cfg['case'] == 'fastmetro':
        for size in ('7x7', '8x8'):
            golden.maps = dict(feat=golden[f'in/feat_{size}'])
            assert_prediction(
                model(golden.maps['feat'], None), golden, f'{size}/')
    elif golden.cfg['pct'] == 'stub':
        tokens = golden['in/pose_tokens'], golden['in/pose_confidence']
        assert_prediction(model((golden['in/feat'], ), tokens), golden)
    else:
        golden.maps = {k: golden[f'in/{k}'] for k in ('feat', 'pct_feat')}
        tokens = model.extract_pose_tokens(golden['in/pct_feat'])
        assert_close(tokens.logits, golden['out/pct_logits'], 'logits')
        assert_close(tokens.tokens, golden['out/pct_pose_tokens'], 'tokens')
        assert_close(tokens.confidence, golden['out/pct_pose_confidence'],
                     'confidence')
        assert_prediction(model(golden['in/feat'], None), golden)


@pytest.mark.skipif(
    not GOLDEN, reason='set MPM_POSTOMETRO_GOLDEN to the golden folder')
def test_gradients_through_the_pose_branch():
    """In the published code they pass the confidence, and nothing else."""
    golden = Golden(osp.join(GOLDEN, 'postometro_s.npz'))
    state = published(golden)
    weights = from_official_mesh_state(state)
    cfg = dict(weights.parts['head'], num_heads=golden.cfg['nhead'])
    head = MODELS.build(dict(cfg, body=GoldenBody(golden))).eval()
    head.load_state_dict(head_state_from_official(state))
    branch = MODELS.build(weights.pose_branch.parts['head']).eval()
    branch.load_state_dict({
        key[len('pose_branch.head.'):]: value
        for key, value in weights.state_dict.items()
        if key.startswith('pose_branch.head.')
    })
    feat = golden['in/feat'].requires_grad_()
    pct_feat = golden['in/pct_feat'].requires_grad_()
    tokens = branch.pose_tokens((pct_feat, ))
    prediction = head((feat, ), (tokens.tokens.detach(), tokens.confidence))
    outputs = dict(
        zip(('cam', '3d_joints', '3d_vertices_coarse',
             '3d_vertices_intermediate', '3d_vertices_fine'),
            (prediction.camera, prediction.joints_3d, *prediction.vertices)))
    sum((output * golden[f'in/loss_w_pred_{name}']).sum()
        for name, output in outputs.items()).backward()
    expected = golden.group('grad/pct.')
    actual = {
        to_official_pct_key(f'head.{name}'): parameter.grad
        for name, parameter in branch.named_parameters()
        if parameter.grad is not None
    }
    assert actual.keys() == expected.keys()
    assert not any('tokenizer' in name for name in expected)
    actual.update(feat=feat.grad, pct_feat=pct_feat.grad)
    expected.update(
        feat=golden['grad/in.feat'], pct_feat=golden['grad/in.pct_feat'])
    for name in expected:
        assert_close(actual[name], expected[name], name, rel=3e-5, floor=1e-6)
