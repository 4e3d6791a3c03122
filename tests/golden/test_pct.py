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
from mmengine.structures import InstanceData
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample
from two_ranks import in_group_of_two

from mpm_postometro.models.heads import PCTHead
from mpm_postometro.models.losses import smooth_l1_keypoint_loss
from mpm_postometro.models.pose_estimators import (from_official_pct_key,
                                                   from_official_pct_state,
                                                   to_official_pct_state)
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
    """Published name of a parameter of tokenizer or head -> ours."""
    name = key.removeprefix('tokenizer.')
    ours = from_official_pct_key(f'keypoint_head.tokenizer.{name}')
    return key[:len(key) - len(name)] + ours.removeprefix('head.tokenizer.')


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
    return smooth_l1_keypoint_loss(pred, joints[..., :2], joints[..., 2], beta)


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


@in_group_of_two
def _ddp_step(rank, folder, path):
    """One training step of one of two processes."""
    golden = Golden(path)
    tokenizer = build_tokenizer(golden).train()
    joints = golden[f'in/rank{rank}/joints']
    output = run(tokenizer, joints)
    torch.save(
        dict(
            recovered_joints=output.joints.detach(),
            indices=output.codes.flatten(),
            e_latent_raw=output.latent_loss.detach(),
            joint_loss=joint_loss(output.joints, joints,
                                  golden.cfg['beta']).detach(),
            quantizer=tokenizer.quantizer.state_dict()),
        osp.join(folder, f'{rank}.pth'))


@pytest.mark.parametrize('path', golden_files('pct_tokenizer_ddp*.npz'))
def test_tokenizer_two_processes(path, tmp_path):
    golden = Golden(path)
    mp.spawn(_ddp_step, (str(tmp_path), path), nprocs=2)
    results = [torch.load(tmp_path / f'{rank}.pth') for rank in range(2)]
    for rank, result in enumerate(results):
        expected = golden.group(f'out/rank{rank}/')
        assert result['indices'].equal(expected.pop('indices'))
        for name, value in expected.items():
            assert_close(result[name], value, name)
        for name, value in golden.group('out/after/').items():
            for row, row_expected in zip(result['quantizer'][name], value):
                assert_close(row, row_expected, name)
            assert result['quantizer'][name].equal(
                results[0]['quantizer'][name])

    # One process that is fed both batches.
    tokenizer = build_tokenizer(golden).train()
    run(tokenizer, torch.cat([golden[f'in/rank{r}/joints'] for r in (0, 1)]))
    assert_codebook(tokenizer.quantizer, golden.group('out/after/'))


def build_head(golden):
    cfg = golden.cfg
    size = golden['in/feat'].shape[-2:]
    assert cfg['dilation'] == 1
    head = PCTHead(
        in_channels=cfg['in_channels'],
        tokenizer=dict(type='PCTTokenizer', **tokenizer_cfg(cfg)),
        feat_size=(size[1], size[0]),
        conv_channels=cfg['conv_channels'],
        conv_num_blocks=cfg['conv_num_blocks'],
        num_mixers=cfg['cls_blocks'],
        hidden_channels=cfg['cls_hidden'],
        token_hidden=cfg['cls_token_inter'],
        channel_hidden=cfg['cls_inter'],
        loss_kpt=dict(type='SmoothL1KeypointLoss', beta=cfg['beta']))
    head.load_state_dict(renamed(golden.group('state/')), strict=True)
    return head


COCO_FLIP = [0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15]


def samples_of(golden):
    samples = []
    for joints in golden['in/joints']:
        sample = PoseDataSample(
            metainfo=dict(
                flip_indices=COCO_FLIP,
                input_size=(golden.cfg['image_size'], ) * 2))
        sample.gt_instance_labels = InstanceData(
            keypoint_labels=joints[None, :, :2],
            keypoint_weights=joints[None, :, 2])
        samples.append(sample)
    return samples


def guide_features(golden):
    if not golden.cfg['guide_ratio']:
        return None
    features = sample_joint_features(golden['in/guide_feat'],
                                     golden['in/joints'],
                                     (golden.cfg['image_size'], ) * 2)
    assert features.equal(golden['out/joints_feat'])
    return features


@pytest.mark.parametrize('path', golden_files('pct_classifier_*.npz'))
@torch.no_grad()
def test_classifier_predict(path):
    golden = Golden(path)
    head = build_head(golden).eval()
    feats, flipped = [golden['in/feat']], [golden['in/feat_flipped']]
    pred = head.pose_tokens(feats)
    assert_close(pred.logits, golden['out/test_logits'])
    assert_close(pred.confidence, golden['out/test_scores'])
    assert_close(
        head.pose_tokens(flipped).confidence, golden['out/test_flip_scores'])

    samples = samples_of(golden)
    for view, name in ((feats, 'test_joints'), (flipped, 'test_flip_joints')):
        instances = head.predict(view, samples)
        joints = np.concatenate([i.keypoints for i in instances])
        assert_close(torch.from_numpy(joints), golden[f'out/{name}'])
    instances = head.predict([feats, flipped], samples, dict(flip_test=True))
    both = np.concatenate([
        np.concatenate([i.keypoints, i.keypoint_scores[..., None]], -1)
        for i in instances
    ])
    expected = golden['out/test_flip_averaged_preds']
    assert_close(torch.from_numpy(both[..., :2]), expected[..., :2])
    assert_close(torch.from_numpy(both[..., 2]), expected[..., 2])


@pytest.mark.parametrize('path', golden_files('pct_classifier_*.npz'))
def test_classifier_loss(path):
    golden = Golden(path)
    head = build_head(golden)
    feats, samples = [golden['in/feat']], samples_of(golden)
    guide = guide_features(golden)
    joints = golden['in/joints']
    labels = head.tokenize(joints[..., :2], joints[..., 2], guide)
    assert labels.flatten().equal(golden['out/gt_labels'])

    head.eval()
    losses = head.loss(feats, samples, guide_feats=guide)
    assert_close(losses['loss_token'], golden['out/evalbn_token_loss'])
    assert_close(losses['loss_kpt'], golden['out/evalbn_kpt_loss'])
    accuracy = golden['out/evalbn_top125_acc'][0] / 100
    assert_close(losses['acc_token'], accuracy)
    assert_close(head(feats).flatten(0, 1), golden['out/evalbn_logits'])

    head = build_head(golden).train()
    losses = head.loss(feats, samples, guide_feats=guide)
    assert_close(losses['loss_token'], golden['out/train_token_loss'])
    assert_close(losses['loss_kpt'], golden['out/train_kpt_loss'])
    total = losses['loss_token'] + losses['loss_kpt']
    assert_close(total, golden['out/train_total_loss'])
    total.backward()
    assert_gradients(head, golden)
    # BatchNorm has moved, the tokenizer's codebook has not.
    for name, value in renamed(golden.group('out/after_train/')).items():
        assert_close(head.state_dict()[name], value, name)


# --------------------------------- SwinV2 ---------------------------------
def prefixed(prefix, state):
    return {prefix + key: value for key, value in state.items()}


def swin_cfg(cfg):
    """Arguments of TimmSwinV2 from the golden file's sizes."""
    height, width = cfg['img_size']
    assert height == width and cfg['layernorm_eps'] == 1e-6
    return dict(
        type='TimmSwinV2',
        embed_dim=cfg['embed_dim'],
        depths=cfg['depths'],
        num_heads=cfg['num_heads'],
        img_size=height,
        window_size=cfg['window_size'],
        pretrained_window_sizes=cfg['pretrain_window_size'],
        frozen_stages=cfg['flags']['frozen_stages'])


def build_swin(golden):
    pytest.importorskip('timm', reason='TimmSwinV2 builds on timm')
    weights = from_official_pct_state(
        prefixed('backbone.', golden.group('state/')))
    assert weights.windows == dict(
        backbone=(tuple(golden.cfg['window_size']),
                  tuple(golden.cfg['pretrain_window_size'])))
    model = MODELS.build(swin_cfg(golden.cfg))
    model.load_state_dict(
        {
            key.removeprefix('backbone.'): value
            for key, value in weights.state_dict.items()
        },
        strict=True)
    return model.train()  # frozen, so that it makes no difference


# Logits of attention up to 100 magnify rounding, so that single precision
# leaves the published numbers 5e-5 of their maximum off, as those of any
# machine. In double precision ours are exact, and the distance is always the
# same. A layer norm's epsilon of 1e-5 would be five times as far off.
@pytest.mark.parametrize('path', golden_files('pct_swinv2*.npz'))
@torch.no_grad()
def test_swin(path):
    golden = Golden(path)
    model = build_swin(golden).double()
    image = golden['in/img'].double()
    assert_close(model(image)[0], golden['out/feat'], rel=7e-5)
    x = model.patch_embed(image)
    assert_close(x.permute(0, 3, 1, 2), golden['out/patch_embed'], rel=1e-6)
    for stage, rel in enumerate((5e-5, 1.5e-5, 4e-6, 1e-6)):
        # From the published input, so that errors do not add up.
        x = model.layers[stage](x)
        assert_close(x, golden[f'out/stage{stage}'], f'stage {stage}', rel)
        x = golden[f'out/stage{stage}'].double()
    x = model.norm(x).permute(0, 3, 1, 2)
    assert_close(x, golden['out/feat'], 'norm', 3e-7)

    x, = model.float()(golden['in/img'])
    assert_close(x, golden['out/feat'], 'single precision', 5e-4)


# -------------------------- released checkpoints --------------------------
@pytest.mark.parametrize('swin_path', golden_files('pct_swinv2.npz'))
@pytest.mark.parametrize('path', golden_files('pct_classifier_*.npz'))
@torch.no_grad()
def test_classifier_checkpoint(path, swin_path):
    """A file as PCT releases it: converted, loaded, run and turned back."""
    pytest.importorskip('timm', reason='TimmSwinV2 builds on timm')
    golden, swin = Golden(path), Golden(swin_path)
    guided = golden.cfg['guide_ratio'] > 0
    official = prefixed('backbone.', swin.group('state/'))
    official.update(prefixed('keypoint_head.', golden.group('state/')))
    if guided:
        official.update(prefixed('extra_backbone.', swin.group('state/')))
    weights = from_official_pct_state(prefixed('module.', official))
    assert weights.kind == 'classifier' and not weights.dropped

    # Sizes are read from the file, the windows too.
    window_size, pretrained = weights.windows['backbone']
    backbone = dict(
        weights.parts['backbone'],
        img_size=swin.cfg['img_size'][0],
        window_size=window_size,
        pretrained_window_sizes=pretrained)
    cfg = dict(
        type='TopdownPoseEstimator',
        backbone=backbone,
        head=weights.parts['head'])
    if guided:
        cfg.update(type='GuidedTopdownPoseEstimator', guide_backbone=backbone)
    model = MODELS.build(cfg)
    model.load_state_dict(weights.state_dict, strict=True)
    model.eval()
    feats, flipped = [golden['in/feat']], [golden['in/feat_flipped']]
    assert_close(model.head(feats), golden['out/test_logits'])
    instances = model.head.predict([feats, flipped], samples_of(golden),
                                   dict(flip_test=True))
    joints = np.concatenate([i.keypoints for i in instances])
    assert_close(
        torch.from_numpy(joints),
        golden['out/test_flip_averaged_preds'][..., :2])
    guide = guide_features(golden)
    joints = golden['in/joints']
    codes = model.head.tokenize(joints[..., :2], joints[..., 2], guide)
    assert codes.flatten().equal(golden['out/gt_labels'])
    feat, = model.extract_feat(swin['in/img'])
    assert_close(feat, swin['out/feat'], rel=5e-4)

    kind, again = to_official_pct_state(model.state_dict(), window_size,
                                        pretrained)
    assert kind == 'classifier' and again.keys() == official.keys()
    for key, value in official.items():
        assert again[key].dtype == value.dtype, key
        assert again[key].equal(value), key


@pytest.mark.parametrize('path', golden_files('pct_tokenizer_g*.npz'))
@torch.no_grad()
def test_tokenizer_checkpoint(path):
    golden = Golden(path)
    official = prefixed('keypoint_head.tokenizer.', golden.group('state/'))
    swin = {}
    if golden.cfg['guide_ratio']:
        swin = Golden(osp.join(GOLDEN, 'pct_swinv2.npz')).group('state/')
        pytest.importorskip('timm', reason='TimmSwinV2 builds on timm')
    official.update(prefixed('extra_backbone.', swin))
    weights = from_official_pct_state(official)
    assert weights.kind == 'tokenizer'
    tokenizer = MODELS.build(weights.parts['tokenizer']).eval()
    tokenizer.load_state_dict(
        {
            key.removeprefix('tokenizer.'): value
            for key, value in weights.state_dict.items()
            if key.startswith('tokenizer.')
        },
        strict=True)
    output = run(tokenizer, golden['in/joints'],
                 golden.get('in/joints_feature'))
    assert output.codes.flatten().equal(golden['out/eval_indices'])
    assert_close(output.joints, golden['out/eval_recovered_joints'])
