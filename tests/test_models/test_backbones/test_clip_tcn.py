# Copyright (c) The mpm_postometro authors. All rights reserved.
import pytest
import torch
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample

from mpm_postometro.models.backbones import ClipTCN


def build(frames_of_layers=(3, 3)):
    init_default_scope('mmpose')
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='MPMEstimator',
            backbone=dict(
                type='ClipTCN',
                num_joints=5,
                kernel_sizes=frames_of_layers,
                stem_channels=8),
            heads={
                '3d': dict(type='TargetPoseHead', channels=8, num_joints=5)
            },
            tasks=[dict(source='2d', target='3d')]))


def test_gives_the_target_frame_of_a_clip():
    model = build().eval()
    inputs = dict(keypoints_2d=torch.randn(4, 9, 5, 2))
    poses = model(inputs, mode='tensor')['2d_to_3d']
    assert poses.frames is None and poses.target.shape == (4, 5, 3)
    again = model(
        dict(keypoints_2d=inputs['keypoints_2d'].flip(0)),
        mode='tensor')['2d_to_3d']
    torch.testing.assert_close(poses.target.flip(0), again.target)
    # every frame counts
    for frame in (0, 8):
        other = inputs['keypoints_2d'].clone()
        other[:, frame] += 1
        moved = model(dict(keypoints_2d=other), mode='tensor')['2d_to_3d']
        assert (moved.target - poses.target).abs().max() > 1e-4


def test_learns_the_target_frame_alone():
    model = build().train()
    inputs = dict(
        keypoints_2d=torch.randn(4, 9, 5, 2),
        keypoints_3d=torch.randn(4, 9, 5, 3))
    samples = [PoseDataSample(metainfo=dict(target_index=4))] * 4
    losses = model(inputs, samples, mode='loss')
    assert list(losses) == ['loss_2d_to_3d_target']
    losses['loss_2d_to_3d_target'].backward()
    assert all(p.grad is not None for p in model.parameters())


def test_what_it_cannot_do():
    backbone = ClipTCN(num_joints=5, kernel_sizes=(3, 3), stem_channels=8)
    poses = torch.randn(2, 9, 5, 2)
    with pytest.raises(ValueError, match='cannot hide'):
        backbone(poses, '2d', joint_mask=torch.ones(2, 9, 5).bool())
    with pytest.raises(ValueError, match='one frame of 27, but 3'):
        backbone(torch.randn(2, 27, 5, 2), '2d')
    model = build()
    model.all_frames = True
    samples = [PoseDataSample(metainfo=dict(target_index=4))] * 2
    with pytest.raises(ValueError, match='all_frames needs a head'):
        model.eval()(dict(keypoints_2d=poses), samples, mode='predict')
