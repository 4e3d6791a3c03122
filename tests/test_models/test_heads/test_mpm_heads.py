# Copyright (c) The mpm_postometro authors. All rights reserved.
import pytest
import torch

from mpm_postometro.models.heads import (MPMDecoderHead, MPMLiftingHead,
                                         MPMRefiner)

SMALL = dict(num_joints=5, channels=16, feedforward_channels=20, num_heads=2)


@pytest.mark.parametrize('num_layers', [1, 2])
@pytest.mark.parametrize('coord_dims', [2, 3])
def test_decoder(num_layers, coord_dims):
    head = MPMDecoderHead(coord_dims, num_layers=num_layers, **SMALL)
    poses = head(torch.randn(3, 9, 16))
    assert poses.frames.shape == (3, 9, 5, coord_dims)
    assert poses.target is None and len(head.layers) == num_layers
    poses.frames.sum().backward()
    assert all(p.grad is not None for p in head.parameters())


@pytest.mark.parametrize('frames, strides', [(9, (1, 3, 3)), (27, (3, 3, 3))])
def test_lifting(frames, strides):
    head = MPMLiftingHead(frames, strides, **SMALL)
    poses = head(torch.randn(3, frames, 16))
    assert poses.frames.shape == (3, frames, 5, 3)
    assert poses.target.shape == (3, 5, 3)
    (poses.frames.sum() + poses.target.sum()).backward()
    assert all(p.grad is not None for p in head.parameters())


def test_second_estimate_of_a_true_pose_is_the_pose():
    points = torch.rand(4, 5, 3) + torch.tensor([0., 0, 4])
    camera = torch.tensor([2.2, 2.3, .1, -.1, 0, 0, 0, 0, 0]).expand(4, 9)
    screen = points[..., :2] / points[..., 2:] * camera[:, None, :2] + \
        camera[:, None, 2:4]
    pose = points - points[:, :1]
    guess = torch.cat([torch.randn(4, 5, 2), pose[..., 2:]], -1)
    guess[:, 0] += 9  # the root's depth is not taken from the prediction
    second = MPMRefiner.second_estimate(guess, screen, camera, points[:, 0, 2])
    torch.testing.assert_close(second, pose, rtol=1e-4, atol=1e-5)


def test_refiner_mixes_x_and_y_alone():
    refiner = MPMRefiner(num_joints=5, hidden_channels=12).eval()
    pose, second = torch.randn(2, 4, 5, 3)
    out = refiner(pose, second)
    low, high = torch.minimum(pose, second), torch.maximum(pose, second)
    assert (out[..., :2] >= low[..., :2] - 1e-6).all()
    assert (out[..., :2] <= high[..., :2] + 1e-6).all()
    assert out[..., 2].equal(pose[..., 2])
    torch.nn.init.constant_(refiner.gates[3].bias, 100.)
    torch.testing.assert_close(refiner(pose, second), pose)
