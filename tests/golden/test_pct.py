# Copyright (c) The mpm_postometro authors. All rights reserved.
"""PCT tokenizer and classifier against the published code's numbers."""
import glob
import json
import os
import os.path as osp

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp

from mpm_postometro.models.tokenizers import (PCTTokenizer,
                                              sample_joint_features)

GOLDEN = os.environ.get('MPM_POSTOMETRO_GOLDEN')


def golden_files(pattern):
    """Parameters for every golden file of a family."""
    if not GOLDEN:
        return [
            pytest.param(
                None,
                marks=pytest.mark.skip(
                    reason='set MPM_POSTOMETRO_GOLDEN to the golden folder'))
        ]
    files = sorted(glob.glob(osp.join(GOLDEN, pattern)))
    assert files, f'no {pattern} in {GOLDEN}'
    return [pytest.param(f, id=osp.basename(f)) for f in files]


class Golden:
    """One golden file."""

    def __init__(self, path):
        with np.load(path, allow_pickle=False) as data:
            self.arrays = {key: data[key] for key in data.files}
        self.cfg = json.loads(str(self.arrays.pop('cfg')))

    def __getitem__(self, key):
        return torch.from_numpy(self.arrays[key].copy())

    def __contains__(self, key):
        return key in self.arrays

    def get(self, key):
        return self[key] if key in self else None

    def group(self, prefix):
        return {
            key[len(prefix):]: self[key]
            for key in self.arrays if key.startswith(prefix)
        }


def rename(key):
    """Published name of a parameter -> ours."""
    for name in ('codebook', 'ema_w', 'ema_cluster_size'):
        if key.split('.')[-1] == name:
            return key[:-len(name)] + 'quantizer.' + name
    return key


def renamed(state):
    return {rename(key): value for key, value in state.items()}


def assert_close(actual, expected, name='', rel=1e-5, floor=0.):
    actual, expected = actual.detach(), expected.view_as(actual)
    bound = rel * expected.abs().max() + rel * expected.abs() + floor
    error = (actual - expected).abs()
    assert (error <= bound).all(), (
        f'{name}: off by {error.max():.3g}, allowed {bound.min():.3g}')


def assert_codebook(quantizer, expected):
    """Compare row by row: codes that were never used are huge."""
    for name, value in expected.items():
        actual = getattr(quantizer, name)
        assert actual.shape == value.shape
        for i, (row, row_expected) in enumerate(zip(actual, value)):
            assert_close(row, row_expected, f'{name}[{i}]')


def assert_gradients(module, golden):
    expected = renamed(golden.group('grad/'))
    names = [n for n, p in module.named_parameters() if p.requires_grad]
    assert sorted(names) == sorted(expected)
    parameters = dict(module.named_parameters())
    for name, grad in expected.items():
        # The true gradient of these biases is zero: a LayerNorm follows.
        floor = 1e-4 if name.endswith('MLP_token.ff.3.bias') else 1e-6
        error = (parameters[name].grad - grad).abs().max()
        bound = 3e-5 * grad.abs().max() + floor
        assert error <= bound, f'{name}: off by {error:.3g}, {bound:.3g}'


def tokenizer_cfg(cfg):
    """Arguments of PCTTokenizer from a golden file's sizes."""
    return dict(
        num_joints=cfg['num_joints'],
        num_tokens=cfg['token_num'],
        num_codes=cfg['token_class_num'],
        token_dim=cfg['token_dim'],
        encoder=dict(
            num_blocks=cfg['enc_blocks'],
            channels=cfg['enc_hidden'],
            token_hidden=cfg['token_inter'],
            channel_hidden=cfg['enc_inter']),
        decoder=dict(
            num_blocks=cfg['dec_blocks'],
            channels=cfg['dec_hidden'],
            token_hidden=cfg['token_inter'],
            channel_hidden=cfg['dec_inter']),
        quantizer=dict(decay=cfg['ema_decay']),
        guide_ratio=cfg['guide_ratio'],
        guide_channels=cfg['guide_channels'] if cfg['guide_ratio'] else 0,
        joint_drop=cfg['drop_rate'])


def build_tokenizer(golden):
    tokenizer = PCTTokenizer(**tokenizer_cfg(golden.cfg))
    tokenizer.load_state_dict(renamed(golden.group('state/')), strict=True)
    return tokenizer


def joint_loss(pred, joints, beta):
    loss = torch.nn.functional.smooth_l1_loss(
        pred, joints[..., :2], beta=beta, reduction='none')
    return (loss * joints[..., 2:]).mean()


def run(tokenizer, joints, feature=None):
    return tokenizer(joints[..., :2], joints[..., 2], feature)


@pytest.mark.parametrize('path', golden_files('pct_tokenizer_g*.npz'))
def test_tokenizer_eval(path):
    golden = Golden(path)
    tokenizer = build_tokenizer(golden).eval()
    joints, feature = golden['in/joints'], golden.get('in/joints_feature')

    output = run(tokenizer, joints, feature)
    assert_close(output.joints, golden['out/eval_recovered_joints'])
    assert output.codes.flatten().equal(golden['out/eval_indices'])
    latents = tokenizer.encode_latents(joints[..., :2], joints[..., 2],
                                       feature)
    assert_close(latents.flatten(0, 1), golden['out/eval_encode_feat'])
    assert_close(
        tokenizer.quantizer.distances(latents).flatten(0, 1),
        golden['out/eval_distances'])
    # Codes alone carry the pose; an evaluation moves no codebook.
    assert_close(tokenizer.decode(output.codes), output.joints)
    for key, value in renamed(golden.group('state/')).items():
        assert tokenizer.state_dict()[key].equal(value), key


@pytest.mark.parametrize('path', golden_files('pct_tokenizer_g*.npz'))
def test_tokenizer_training_steps(path):
    golden = Golden(path)
    cfg = golden.cfg
    tokenizer = build_tokenizer(golden).train()
    joints = golden['in/joints']

    output = run(tokenizer, joints, golden.get('in/joints_feature'))
    assert_close(output.joints, golden['out/train_recovered_joints'])
    assert output.codes.flatten().equal(golden['out/train_indices'])
    assert_close(output.latent_loss, golden['out/train_e_latent_raw'])
    loss_joint = joint_loss(output.joints, joints, cfg['beta'])
    assert_close(loss_joint, golden['out/train_joint_loss'])
    total = loss_joint + cfg['e_loss_w'] * output.latent_loss
    assert_close(total, golden['out/train_total_loss'])
    total.backward()
    assert_gradients(tokenizer, golden)
    assert_codebook(tokenizer.quantizer, golden.group('out/after1/'))

    joints = golden['in/joints2']
    latents = tokenizer.encode_latents(joints[..., :2], joints[..., 2],
                                       golden.get('in/joints_feature2'))
    assert_close(
        tokenizer.quantizer.distances(latents).flatten(0, 1),
        golden['out/step2_distances'])
    output = run(tokenizer, joints, golden.get('in/joints_feature2'))
    assert output.codes.flatten().equal(golden['out/step2_indices'])
    assert_close(output.latent_loss, golden['out/step2_e_latent_raw'])
    assert_close(output.joints, golden['out/step2_recovered_joints'])
    assert_codebook(tokenizer.quantizer, golden.group('out/after2/'))


@pytest.mark.parametrize('path', golden_files('pct_tokenizer_g*.npz'))
def test_joint_loss(path):
    golden = Golden(path)
    loss = joint_loss(golden['in/loss_pred'], golden['in/loss_gt'],
                      golden.cfg['beta'])
    assert_close(loss, golden['out/loss_only_joint'])
