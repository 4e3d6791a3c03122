# Copyright (c) The mpm_postometro authors. All rights reserved.
import copy

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample

from mpm_postometro.models.heads import PCTHead

NUM_JOINTS = 5
FLIP = [0, 2, 1, 4, 3]
IMAGE_SIZE = (96, 128)  # width, height

TOKENIZER = dict(
    type='PCTTokenizer',
    num_joints=NUM_JOINTS,
    num_tokens=6,
    num_codes=16,
    token_dim=8,
    encoder=dict(num_blocks=1, channels=12, channel_hidden=10),
    decoder=dict(channels=10),
    joint_drop=0.5,
    coord_scale=64.,
    coord_offset=64.)

HEAD = dict(
    in_channels=7,
    tokenizer=TOKENIZER,
    feat_size=(3, 4),
    conv_channels=6,
    conv_num_blocks=1,
    num_mixers=1,
    hidden_channels=9,
    token_hidden=5,
    channel_hidden=11)


def build(**kwargs):
    torch.manual_seed(0)
    head = PCTHead(**{**copy.deepcopy(HEAD), **kwargs})
    # Fresh code counts are 0; a step of training would show in them.
    head.tokenizer.quantizer.ema_cluster_size.fill_(1)
    return head


def features(batch=4):
    return (torch.randn(
        batch, 7, 4, 3, generator=torch.Generator().manual_seed(1)), )


def samples(batch=4):
    generator = torch.Generator().manual_seed(2)
    result = []
    for _ in range(batch):
        sample = PoseDataSample(
            metainfo=dict(
                flip_indices=FLIP,
                input_size=IMAGE_SIZE,
                input_center=np.array([100., 50.]),
                input_scale=np.array([48., 64.])))
        sample.gt_instance_labels = InstanceData(
            keypoint_labels=torch.rand(1, NUM_JOINTS, 2, generator=generator) *
            96,
            keypoint_weights=torch.tensor([[1., 1, 0, 1, 1]]))
        sample.gt_instances = InstanceData(
            bboxes=np.array([[76., 18, 124, 82]]), bbox_scores=np.ones(1))
        result.append(sample)
    return result


def test_frozen_tokenizer():
    head = build().requires_grad_(True).train()
    assert head.training and head.conv_trans.training
    assert not any(m.training for m in head.tokenizer.modules())
    before = {k: v.clone() for k, v in head.tokenizer.state_dict().items()}
    optimizer = torch.optim.SGD(head.parameters(), 0.1, weight_decay=0.1)
    losses = head.loss(features(), samples())
    (losses['loss_token'] + losses['loss_kpt']).backward()
    optimizer.step()
    for key, value in head.tokenizer.state_dict().items():
        assert value.equal(before[key]), key
    for name, parameter in head.named_parameters():
        assert (parameter.grad is None) == name.startswith('tokenizer.'), name


def test_loss_by_hand():
    head = build(
        loss_token_weight=3.,
        loss_kpt=dict(type='SmoothL1KeypointLoss', loss_weight=2.)).eval()
    feats, batch = features(), samples()
    losses = head.loss(feats, batch)
    joints = torch.cat([s.gt_instance_labels.keypoint_labels for s in batch])
    visible = torch.cat([s.gt_instance_labels.keypoint_weights for s in batch])
    labels = head.tokenizer.encode(joints, visible).codes
    pred = head.pose_tokens(feats)
    torch.testing.assert_close(
        losses['loss_token'],
        -3 * pred.logits.log_softmax(-1).gather(2, labels[..., None]).mean())
    assert losses['acc_token'] == (
        pred.logits.argmax(-1) == labels).float().mean()
    errors = head.tokenizer.decode(pred.tokens) - joints
    assert errors.abs().min() > 0.05  # all in the linear part
    expected = ((errors.abs() - 0.025) * visible[..., None]).mean()
    torch.testing.assert_close(losses['loss_kpt'], 2 * expected)


def test_pose_tokens():
    head = build().eval()
    pred = head.pose_tokens(features())
    torch.testing.assert_close(
        pred.tokens,
        torch.einsum('bnv,vd->bnd', pred.logits.softmax(-1),
                     head.tokenizer.codebook))
    assert pred.confidence.shape == (4, 6, 1)
    assert pred.confidence.squeeze(-1).equal(pred.logits.amax(-1))
    assert pred.tokens.requires_grad and pred.confidence.requires_grad


@torch.no_grad()
def test_predict_shapes_and_batch_order():
    head, feats = build().eval(), features()
    preds = head.predict(feats, samples())
    assert len(preds) == 4
    assert preds[0].keypoints.shape == (1, NUM_JOINTS, 2)
    assert preds[0].keypoint_scores.shape == (1, NUM_JOINTS)
    order = [2, 0, 3, 1]
    shuffled = head.predict((feats[0][order], ), samples())
    for pred, i in zip(shuffled, order):
        np.testing.assert_allclose(
            pred.keypoints, preds[i].keypoints, rtol=1e-5, atol=1e-3)
    assert not np.allclose(preds[0].keypoints, preds[1].keypoints)


@torch.no_grad()
def test_flip_test():
    """The two views may be swapped, if the result is mirrored as well."""
    head = build(score_per_joint=True).eval()
    one, two = features(), (features()[0].flip(0), )
    cfg = dict(flip_test=True)
    pred = head.predict([one, two], samples(), cfg)
    swapped = head.predict([two, one], samples(), cfg)
    for a, b in zip(pred, swapped):
        mirrored = b.keypoints[:, FLIP]
        mirrored[..., 0] = IMAGE_SIZE[0] - 1 - mirrored[..., 0]
        np.testing.assert_allclose(a.keypoints, mirrored, rtol=1e-5, atol=1e-3)
        np.testing.assert_allclose(
            a.keypoint_scores, b.keypoint_scores[:, FLIP], rtol=1e-5)
    plain = head.predict(one, samples(), dict(flip_test=False))
    assert not np.allclose(plain[0].keypoints, pred[0].keypoints)


@torch.no_grad()
def test_codes_of_a_prediction():
    """Those of the picture as it is, whatever the flip test averages."""
    head, one = build().eval(), features()
    two = (one[0].flip(0), )
    tokens = head.pose_tokens(one)
    probs = tokens.logits.softmax(-1)
    for preds in (head.predict(one, samples()),
                  head.predict([one, two], samples(), dict(flip_test=True))):
        codes = np.concatenate([p.codes for p in preds])
        np.testing.assert_array_equal(codes, tokens.logits.argmax(-1))
        np.testing.assert_allclose(
            np.concatenate([p.code_confidence for p in preds]),
            tokens.confidence[..., 0],
            rtol=1e-6)
        np.testing.assert_allclose(
            np.concatenate([p.code_probs for p in preds])[..., None],
            probs.gather(-1,
                         torch.from_numpy(codes)[..., None]),
            rtol=1e-6)


@torch.no_grad()
def test_scores():
    feats = features()
    head = build().eval()
    logits = head(feats)
    scores = np.concatenate(
        [p.keypoint_scores for p in head.predict(feats, samples())])
    expected = logits.amax(-1).mean(-1, keepdim=True).expand(-1, NUM_JOINTS)
    np.testing.assert_allclose(scores, expected, rtol=1e-5)

    head = build(score='prob', score_per_joint=True).eval()
    weight = head.tokenizer.decoder_token_mlp.weight
    weight.zero_()
    weight[:, 0] = 1.
    weight[2] = torch.tensor([0, -1., 0, 3, 0, 0])
    scores = np.concatenate(
        [p.keypoint_scores for p in head.predict(feats, samples())])
    prob = logits.softmax(-1).amax(-1)
    np.testing.assert_allclose(scores[:, 0], prob[:, 0], rtol=1e-5)
    np.testing.assert_allclose(
        scores[:, 2], (prob[:, 1] + 3 * prob[:, 3]) / 4, rtol=1e-5)
    with pytest.raises(ValueError, match='score'):
        build(score='none')


def test_wrong_feature_map():
    head = build()
    with pytest.raises(ValueError, match=r'\(B, 7, 4, 3\).*\(2, 7, 3, 4\)'):
        head((torch.zeros(2, 7, 3, 4), ))


def test_labels_of_a_guided_tokenizer_need_features():
    tokenizer = dict(TOKENIZER, guide_ratio=0.5, guide_channels=4)
    head = build(tokenizer=tokenizer).train()
    with pytest.raises(ValueError, match='TopdownPoseEstimator does not'):
        head.loss(features(), samples())
    losses = head.loss(
        features(), samples(), guide_feats=torch.randn(4, NUM_JOINTS, 4))
    assert losses['loss_token'].isfinite()


def test_tokenizer_checkpoint(tmp_path):
    torch.manual_seed(5)
    estimator = MODELS.build(
        dict(type='TokenizerEstimator', tokenizer=copy.deepcopy(TOKENIZER)))
    expected = estimator.tokenizer.state_dict()
    head_state = {
        f'head.tokenizer.{key}': value
        for key, value in expected.items()
    }
    files = dict(
        stage_one=dict(state_dict=estimator.state_dict(), meta=dict(epoch=1)),
        classifier=dict(state_dict={
            'backbone.conv1.weight': torch.zeros(1),
            **head_state
        }),
        bare=expected)
    for name, content in files.items():
        path = tmp_path / f'{name}.pth'
        torch.save(content, path)
        head = build(tokenizer_checkpoint=str(path))
        head.init_weights()
        for key, value in head.tokenizer.state_dict().items():
            assert value.equal(expected[key]), (name, key)

    # What does not fit is named, with the file.
    head = build(
        tokenizer=dict(
            TOKENIZER, num_codes=17, coord_scale=None, coord_offset=None),
        tokenizer_checkpoint=str(tmp_path / 'stage_one.pth'))
    with pytest.raises(
            ValueError,
            match='stage_one.pth.*unexpected coord_offset, coord_scale.*'
            r'quantizer.codebook: \(16, 8\) in the file, \(17, 8\)'):
        head.init_weights()
    with pytest.raises(FileNotFoundError, match='nothing.pth'):
        build(tokenizer_checkpoint='nothing.pth').init_weights()


def test_a_missing_tokenizer_checkpoint_is_said_once(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(MMLogger.get_current_instance(), 'warning',
                        lambda text, *args: said.append(text))
    head = build()
    path = str(tmp_path / 'tokenizer.pth')
    torch.save(head.tokenizer.state_dict(), path)
    build(tokenizer_checkpoint=path).init_weights()
    assert not said
    head.init_weights()
    assert len(said) == 1
    assert 'model.head.tokenizer_checkpoint' in said[0]


def test_in_topdown_pose_estimator():
    """A whole model: its weights hold the tokenizer, and it predicts in
    pixels of the original image."""
    cfg = dict(
        type='TopdownPoseEstimator',
        backbone=dict(type='ResNet', depth=18),
        head=dict(
            type='PCTHead', **{
                **copy.deepcopy(HEAD), 'in_channels': 512
            }),
        test_cfg=dict(flip_test=True))
    torch.manual_seed(0)
    model = MODELS.build(cfg)
    model.init_weights()
    assert model.head.conv_trans[0].weight.std() < 0.002
    assert model.train().head.tokenizer.training is False
    image = torch.randn(2, 3, IMAGE_SIZE[1], IMAGE_SIZE[0])
    losses = model(image, samples(2), mode='loss')
    loss, log = model.parse_losses(losses)
    assert loss == losses['loss_token'] + losses['loss_kpt']
    assert 'acc_token' in log
    loss.backward()
    assert model.backbone.conv1.weight.grad.abs().sum() > 0

    restored = MODELS.build(cfg)
    restored.load_state_dict(model.state_dict())
    model.eval(), restored.eval()
    with torch.no_grad():
        first = model(image, samples(2), mode='predict')
        second = restored(image, samples(2), mode='predict')
        crop = model.head.predict(
            [model.extract_feat(image),
             model.extract_feat(image.flip(-1))], samples(2), model.test_cfg)
    for a, b, c in zip(first, second, crop):
        np.testing.assert_array_equal(a.pred_instances.keypoints,
                                      b.pred_instances.keypoints)
        np.testing.assert_allclose(
            a.pred_instances.keypoints,
            c.keypoints / 2 + np.array([100 - 24, 50 - 32]),
            rtol=1e-5,
            atol=1e-3)


@pytest.mark.parametrize('dtype', [torch.bfloat16])
def test_mixed_precision(dtype):
    head = build().train()
    with torch.autocast('cpu', dtype=dtype):
        losses = head.loss(features(), samples())
        pred = head.pose_tokens(features())
    assert pred.tokens.dtype == torch.float32
    (losses['loss_token'] + losses['loss_kpt']).backward()
    assert head.conv_trans[0].weight.grad.isfinite().all()
