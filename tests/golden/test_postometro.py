# Copyright (c) The mpm_postometro authors. All rights reserved.
"""The released PostoMETRO network, forward and gradients, against its own
numbers."""
import pytest
from mesh_networks import (Golden, assert_close, assert_prediction,
                           golden_files, head_args, record_outputs)

from mpm_postometro.models.heads import (PostoMETROHead,
                                         head_state_from_official)


@pytest.fixture(params=golden_files('postometro_*.npz'), scope='module')
def golden(request):
    return Golden(request.param)


def build(golden, patch_size=32, **kwargs):
    cfg = golden.cfg
    args = dict(
        head_args(golden),
        token_dim=cfg['token_dim'],
        num_tokens=cfg['token_num'],
        official_compat=True,
        patch_size=patch_size,
        pose_modulator=dict(
            order='code',
            num_blocks=4,
            token_hidden_dim=cfg['mod_token_inter'],
            channel_hidden_dim=cfg['mod_hidden_inter']))
    head = PostoMETROHead(**dict(args, **kwargs))
    head.load_state_dict(head_state_from_official(golden.group('state/')))
    return head


def inputs(golden):
    return (golden['in/feat'], (golden['in/pose_tokens'],
                                golden['in/pose_confidence']))


@pytest.mark.parametrize('patch_size', [None, 32])
def test_outputs(golden, patch_size):
    head = build(golden, patch_size).eval()
    modulator = head.pose_modulator
    kept = record_outputs(
        mod_start=modulator.start_embed,
        mod_mixers=modulator.mixers,
        mod_norm=modulator.norm,
        mod_token_mlp=modulator.token_mlp,
        modulated_pose_tokens=modulator,
        t1_encoder_output=head.transformers[0].encoder,
        t2_encoder_output=head.transformers[1].encoder,
        t1_jv_features=head.transformers[0].decoder,
        t2_jv_features=head.transformers[1].decoder)
    assert_prediction(head(*inputs(golden)), golden)
    for name, actual in kept.items():
        if name == 'mod_token_mlp' or not name.startswith('mod_'):
            actual = actual.transpose(0, 1)
        if name == 'mod_token_mlp':  # a linear layer over the token axis
            actual = actual.permute(1, 2, 0)
        assert_close(actual, golden[f'out/{name}'], name)


def test_single_copy_of_pose_tokens_differs(golden):
    """The default is another network than the released one."""
    head = build(golden, official_compat=False).eval()
    prediction = head(*inputs(golden))
    expected = golden['out/pred_3d_joints']
    error = (prediction.joints_3d - expected).abs().max()
    assert error > 2e-2 * expected.abs().max()


@pytest.mark.parametrize('with_cp', [False, True])
def test_gradients(golden, with_cp):
    if not golden.cfg['has_grad']:
        pytest.skip('this golden file has no gradients')
    # dropout 0: gradients were recorded in evaluation mode, but recomputing
    # layers is a matter of training
    head = build(golden, with_cp=with_cp, dropout=0.).train(with_cp)
    feat, (tokens, confidence) = inputs(golden)
    feat.requires_grad_()
    confidence.requires_grad_()
    prediction = head(feat, (tokens, confidence))
    weights = golden.group('in/loss_w_pred_')
    outputs = (prediction.camera, prediction.joints_3d, *prediction.vertices)
    names = ('cam', '3d_joints', '3d_vertices_coarse',
             '3d_vertices_intermediate', '3d_vertices_fine')
    loss = sum(
        (output * weights[name]).sum() for name, output in zip(names, outputs))
    # a sum of many terms of both signs: noise scales with their size
    assert_close(loss, golden['out/loss'], 'loss', 1e-4)
    loss.backward()

    expected = head_state_from_official(golden.group('grad/'))
    actual = {name: p.grad for name, p in head.named_parameters()}
    assert actual.keys() == expected.keys()
    expected['feat'] = golden['grad/in.feat']
    expected['confidence'] = golden['grad/in.pose_confidence']
    actual.update(feat=feat.grad, confidence=confidence.grad)
    for name in expected:
        error = (actual[name] - expected[name]).abs().max()
        bound = 3e-5 * expected[name].abs().max() + 1e-6
        assert error <= bound, f'{name}: off by {error:.3g} of {bound:.3g}'
