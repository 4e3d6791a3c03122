# Copyright (c) The mpm_postometro authors. All rights reserved.
import copy

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample

from mpm_postometro.models.tokenizers import sample_joint_features

NUM_JOINTS = 5
BACKBONE = dict(type='ResNet', depth=18, stem_channels=4, base_channels=4)
CHANNELS = 32
TOKENIZER = dict(
    type='PCTTokenizer',
    num_joints=NUM_JOINTS,
    num_tokens=6,
    num_codes=16,
    token_dim=8,
    encoder=dict(num_blocks=1, channels=12, channel_hidden=10),
    decoder=dict(channels=10),
    coord_scale=32.,
    coord_offset=32.,
    guide_ratio=0.5,
    guide_channels=CHANNELS)
CFG = dict(
    type='GuidedTopdownPoseEstimator',
    backbone=dict(BACKBONE, frozen_stages=4),
    guide_backbone=BACKBONE,
    head=dict(
        type='PCTHead',
        in_channels=CHANNELS,
        feat_size=(2, 4),
        tokenizer=TOKENIZER,
        conv_channels=6,
        conv_num_blocks=1,
        num_mixers=1,
        hidden_channels=9,
        token_hidden=5,
        channel_hidden=11),
    test_cfg=dict(flip_test=True))


def build(seed=0, **head):
    torch.manual_seed(seed)
    cfg = copy.deepcopy(CFG)
    cfg['head'].update(head)
    model = MODELS.build(cfg)
    # Features of random backbones are small; codes are to depend on them.
    model.head.tokenizer.start_img_embed.weight.data.mul_(50)
    return model


def images(batch=3):
    return torch.randn(
        batch, 3, 128, 64, generator=torch.Generator().manual_seed(1))


def samples(batch=3):
    generator = torch.Generator().manual_seed(2)
    result = []
    for _ in range(batch):
        sample = PoseDataSample(
            metainfo=dict(
                flip_indices=[0, 2, 1, 4, 3],
                input_size=(64, 128),
                input_center=np.array([32., 32.]),
                input_scale=np.array([64., 64.])))
        sample.gt_instance_labels = InstanceData(
            keypoint_labels=torch.rand(1, NUM_JOINTS, 2, generator=generator) *
            torch.tensor([64., 128]),
            keypoint_weights=torch.ones(1, NUM_JOINTS))
        sample.gt_instances = InstanceData(
            bboxes=np.array([[0., 0, 64, 64]]), bbox_scores=np.ones(1))
        result.append(sample)
    return result


def test_loss_is_the_heads_with_features_at_the_true_joints():
    model = build().train()
    assert model.training and not model.guide_backbone.training
    inputs, batch = images(), samples()
    losses = model(inputs, batch, mode='loss')

    joints = torch.cat([s.gt_instance_labels.keypoint_labels for s in batch])
    with torch.no_grad():
        guide_feats = sample_joint_features(
            model.guide_backbone(inputs)[-1], joints, (64, 128))
    expected = build().train()
    expected = expected.head.loss(
        expected.extract_feat(inputs), batch, guide_feats=guide_feats)
    assert losses.keys() == expected.keys()
    for key, value in expected.items():
        torch.testing.assert_close(losses[key], value)
    # Other features make other labels.
    other = model.head.tokenize(joints, None, guide_feats.flip(0))
    assert not other.equal(model.head.tokenize(joints, None, guide_feats))


def test_what_is_frozen_stays_and_all_else_learns():
    model = build().train()
    before = copy.deepcopy(model.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    loss, _ = model.parse_losses(model(images(), samples(), mode='loss'))
    loss.backward()
    optimizer.step()
    for name, parameter in model.named_parameters():
        frozen = name.startswith(('backbone.', 'guide_', 'head.tokenizer.'))
        assert parameter.requires_grad != frozen, name
        # One that is trained without gradient would stop DDP.
        assert (parameter.grad is None) == frozen, name
    for name, value in model.state_dict().items():
        if name.startswith(('guide_backbone.', 'head.tokenizer.')):
            assert value.equal(before[name]), name


@torch.no_grad()
def test_prediction_is_topdown_without_the_guide_backbone(monkeypatch):
    model = build().eval()
    plain = copy.deepcopy(CFG)
    plain.pop('guide_backbone')
    plain['type'] = 'TopdownPoseEstimator'
    plain = MODELS.build(plain).eval()
    plain.load_state_dict({
        key: value
        for key, value in model.state_dict().items()
        if not key.startswith('guide_backbone.')
    })

    def forbidden(*args):
        raise AssertionError('the guide backbone has no part in predictions')

    monkeypatch.setattr(model.guide_backbone, 'forward', forbidden)
    for a, b in zip(
            model(images(), samples(), mode='predict'),
            plain(images(), samples(), mode='predict')):
        assert (a.pred_instances.keypoints == b.pred_instances.keypoints).all()


def test_mixed_precision():
    model = build().train()
    with torch.autocast('cpu', dtype=torch.bfloat16):
        loss, _ = model.parse_losses(model(images(), samples(), mode='loss'))
    loss.backward()
    assert model.head.conv_trans[0].weight.grad.isfinite().all()


def stage_one(tmp_path, name='tokenizer.pth', guided=True):
    """A checkpoint of the tokenizer's own training."""
    torch.manual_seed(9)
    estimator = MODELS.build(
        dict(
            type='TokenizerEstimator',
            tokenizer=copy.deepcopy(TOKENIZER),
            guide_backbone=copy.deepcopy(BACKBONE)))
    state = estimator.state_dict()
    if not guided:
        state = estimator.tokenizer.state_dict()
    torch.save(dict(state_dict=state), tmp_path / name)
    return estimator, str(tmp_path / name)


def same(module, other):
    state = other.state_dict()
    return all(v.equal(state[k]) for k, v in module.state_dict().items())


def test_weights_come_with_the_tokenizer(tmp_path):
    estimator, path = stage_one(tmp_path)
    model = build(tokenizer_checkpoint=path)
    other = build(seed=1).backbone
    torch.save(
        dict(state_dict=other.state_dict(prefix='backbone.')),
        tmp_path / 'backbone.pth')
    pretrained = dict(
        type='Pretrained',
        checkpoint=str(tmp_path / 'backbone.pth'),
        prefix='backbone.')
    # Those of another file do not get in the way.
    for init_cfg in (None, pretrained):
        model.guide_backbone.init_cfg = init_cfg
        model.init_weights()
        assert same(model.guide_backbone, estimator.guide_backbone)
        assert same(model.head.tokenizer, estimator.tokenizer)
        assert not same(model.backbone, estimator.guide_backbone)
        model._is_init = False

    # Without any beside the tokenizer, init_cfg has to bring them.
    _, bare = stage_one(tmp_path, 'bare.pth', guided=False)
    model = build(tokenizer_checkpoint=bare)
    with pytest.raises(ValueError, match='bare.pth.*guide_backbone.init_cfg'):
        model.init_weights()
    model = build(tokenizer_checkpoint=bare)
    model.guide_backbone.init_cfg = pretrained
    model.init_weights()
    assert same(model.guide_backbone, other)


def test_a_guide_backbone_that_does_not_fit_is_named(tmp_path):
    _, path = stage_one(tmp_path)
    cfg = copy.deepcopy(CFG)
    cfg['guide_backbone'].update(stem_channels=6)
    cfg['head'].update(tokenizer_checkpoint=path)
    with pytest.raises(
            ValueError, match='(?s)tokenizer.pth does not fit.*conv1.weight'):
        MODELS.build(cfg).init_weights()


def test_missing_weights_are_said(monkeypatch):
    said = []
    monkeypatch.setattr(MMLogger.get_current_instance(), 'warning',
                        lambda text, *args: said.append(text))
    build().init_weights()
    assert [text for text in said if 'guide_backbone is frozen' in text]


@pytest.mark.parametrize('head', [
    dict(type='PCTHead', tokenizer=dict(guide_ratio=0., guide_channels=0)),
    dict(
        _delete_=True,
        type='RegressionHead',
        in_channels=CHANNELS,
        num_joints=NUM_JOINTS),
])
def test_only_guided_tokenizers_need_it(head):
    cfg = copy.deepcopy(CFG)
    if head.pop('_delete_', False):
        cfg['head'] = head
    else:
        cfg['head']['tokenizer'].update(head['tokenizer'])
    with pytest.raises(ValueError, match='guide_ratio'):
        MODELS.build(cfg)


def test_as_pose_branch_of_a_mesh_network(tmp_path):
    """It gives pose tokens, and its checkpoint loads whole."""
    trained = build(seed=3)
    torch.save(
        dict(state_dict=trained.state_dict()), tmp_path / 'classifier.pth')
    model = MODELS.build(
        dict(
            type='MeshEstimator',
            backbone=copy.deepcopy(BACKBONE),
            pose_branch=copy.deepcopy(CFG),
            pose_branch_checkpoint=str(tmp_path / 'classifier.pth'),
            head=dict(
                type='PostoMETROHead',
                in_channels=CHANNELS,
                token_dim=8,
                num_tokens=6,
                hidden_dims=(16, 8),
                feedforward_dims=(16, 8),
                num_layers=1,
                num_heads=(2, 2),
                dropout=0.)))
    model.init_weights()
    assert same(model.pose_branch, trained)
    model.train()
    assert not model.pose_branch.training
    tokens = model.extract_pose_tokens(images())
    with torch.no_grad():
        trained.eval()
        expected = trained.head.pose_tokens(trained.extract_feat(images()))
    torch.testing.assert_close(tokens.tokens, expected.tokens)
