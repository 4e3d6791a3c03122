# Copyright (c) The mpm_postometro authors. All rights reserved.
import copy

import numpy as np
import pytest
import torch
from mmengine.optim import OptimWrapper
from mmengine.structures import InstanceData
from mmpose.evaluation.metrics import EPE
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample

NUM_JOINTS = 5

CFG = dict(
    type='TokenizerEstimator',
    tokenizer=dict(
        type='PCTTokenizer',
        num_joints=NUM_JOINTS,
        num_tokens=6,
        num_codes=16,
        token_dim=8,
        encoder=dict(num_blocks=1, channels=12, channel_hidden=10),
        decoder=dict(channels=10),
        coord_scale=64.,
        coord_offset=64.,
        quantizer=dict(kmeans_iters=2)))


def build(**tokenizer):
    torch.manual_seed(0)
    cfg = copy.deepcopy(CFG)
    cfg['tokenizer'].update(tokenizer)
    return MODELS.build(cfg)


def inputs(batch=4):
    generator = torch.Generator().manual_seed(1)
    joints = torch.rand(batch, NUM_JOINTS, 2, generator=generator) * 128
    visible = torch.rand(batch, NUM_JOINTS, 1, generator=generator).round()
    return torch.cat([joints, visible], -1)


def samples(joints, **metainfo):
    result = []
    for pose in joints.numpy():
        sample = PoseDataSample(metainfo=metainfo)
        sample.gt_instances = InstanceData(
            keypoints=pose[None, :, :2],
            keypoints_visible=pose[None, :, 2],
            bboxes=np.array([[0., 0, 128, 128]]),
            bbox_scores=np.ones(1, np.float32))
        result.append(sample)
    return result


def test_loss():
    model = build(joint_drop=0., quantizer=None).train()
    joints = inputs()
    twin = copy.deepcopy(model)
    losses = model(list(joints), mode='loss')  # as pseudo_collate gives it
    output = twin.tokenizer(joints[..., :2], joints[..., 2])
    torch.testing.assert_close(losses['loss_latent'], 15 * output.latent_loss)
    error = (output.joints - joints[..., :2]).abs()
    assert error.min() > 0.05
    torch.testing.assert_close(losses['loss_joint'],
                               ((error - 0.025) * joints[..., 2:]).mean())
    assert 0 < losses['codebook_usage'] <= 1
    assert 1 <= losses['codebook_perplexity'] <= 16

    total, log = model.parse_losses(losses)
    assert total == losses['loss_joint'] + losses['loss_latent']
    assert {'codebook_usage', 'codebook_perplexity'} <= set(log)
    total.backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name


def test_train_step_learns():
    model = build(joint_drop=0.).train()
    optimizer = OptimWrapper(torch.optim.AdamW(model.parameters(), 3e-3))
    data = dict(inputs=list(inputs(8)), data_samples=None)
    values = [
        float(model.train_step(data, optimizer)['loss_joint'])
        for _ in range(150)
    ]
    assert np.mean(values[-10:]) < 0.5 * np.mean(values[:10])


@torch.no_grad()
def test_predict_with_epe_metric():
    model = build().eval()
    joints = inputs()
    output = model(joints)
    metric = EPE()
    results = model.test_step(
        dict(inputs=list(joints), data_samples=samples(joints)))
    for sample, pose, codes in zip(results, output.joints, output.codes):
        pred = sample.pred_instances
        np.testing.assert_array_equal(pred.keypoints[0], pose)
        np.testing.assert_array_equal(pred.codes[0], codes)
        assert pred.keypoint_scores.shape == (1, NUM_JOINTS)
        assert pred.bboxes.shape == (1, 4)
    metric.process({}, [sample.to_dict() for sample in results])
    errors = (output.joints - joints[..., :2]).norm(dim=-1)
    expected = errors[joints[..., 2] > 0].mean()
    assert metric.evaluate(4)['EPE'] == pytest.approx(float(expected), 1e-4)


@torch.no_grad()
def test_predict_in_the_original_image():
    model = build().eval()
    joints = inputs()
    plain = model(joints, samples(joints), mode='predict')
    meta = dict(
        input_size=(128, 128),
        input_center=np.array([100., 50.]),
        input_scale=np.array([64., 64.]))
    moved = model(joints, samples(joints, **meta), mode='predict')
    for a, b in zip(plain, moved):
        np.testing.assert_allclose(
            b.pred_instances.keypoints,
            a.pred_instances.keypoints / 2 + [[[68, 18]]],
            rtol=1e-5,
            atol=1e-3)


def test_guided_by_a_frozen_backbone():
    cfg = copy.deepcopy(CFG)
    cfg['tokenizer'].update(guide_ratio=0.5, guide_channels=512)
    with pytest.raises(ValueError, match='guide_backbone'):
        MODELS.build(cfg)
    cfg['guide_backbone'] = dict(type='ResNet', depth=18)
    model = MODELS.build(cfg).train()
    assert model.training and not model.guide_backbone.training
    joints = inputs(2)
    batch = samples(joints)
    for sample, pose in zip(batch, joints):
        sample.gt_instance_labels = InstanceData(
            keypoint_labels=pose[None, :, :2],
            keypoint_weights=pose[None, :, 2])
    image = torch.randn(2, 3, 128, 128)
    losses = model(image, batch, mode='loss')
    (losses['loss_joint'] + losses['loss_latent']).backward()
    assert model.tokenizer.start_img_embed.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in model.guide_backbone.parameters())
    model.eval()
    with torch.no_grad():
        one = model(image, batch, mode='predict')[0].pred_instances.codes
        two = model(-image, batch, mode='predict')[0].pred_instances.codes
    assert one.shape == two.shape == (1, 6)


def test_broken_input():
    model = build()
    with pytest.raises(ValueError, match=r'\(B, 5, 3\)'):
        model(torch.zeros(2, NUM_JOINTS, 2), mode='loss')
    with pytest.raises(ValueError, match=r'joints \(B, 5, 2\)'):
        model(torch.zeros(2, 4, 3), mode='loss')
    with pytest.raises(RuntimeError, match='mode'):
        model(inputs(), mode='none')
