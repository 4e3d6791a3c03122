# Copyright (c) The mpm_postometro authors. All rights reserved.
import pytest
import torch
from mmpose.registry import MODELS

from mpm_postometro.models.losses import smooth_l1_keypoint_loss


def test_values_by_hand():
    pred = torch.zeros(1, 2, 2)
    target = torch.tensor([[[0.02, -1.], [100., 100.]]])
    visible = torch.tensor([[1., 0.]])
    # square below beta, line above, zeros for the invisible joint, over 4
    expected = (0.5 * 0.02**2 / 0.05 + 1 - 0.025) / 4
    loss = smooth_l1_keypoint_loss(pred, target, visible)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    same = smooth_l1_keypoint_loss(pred, target, visible[..., None])
    assert same.item() == loss.item()
    assert smooth_l1_keypoint_loss(pred, target).item() > 40
    assert smooth_l1_keypoint_loss(
        pred, target, visible, beta=2.).item() < loss.item()


def test_nothing_visible_is_a_connected_zero():
    pred = torch.randn(2, 17, 2, requires_grad=True)
    target = torch.full((2, 17, 2), float('nan'))
    loss = smooth_l1_keypoint_loss(pred, target, torch.zeros(2, 17))
    loss.backward()
    assert loss.item() == 0 and not pred.grad.any()


def test_half_precision():
    pred = torch.full((1, 17, 2), 500.).half()
    loss = smooth_l1_keypoint_loss(pred, torch.zeros(1, 17, 2).half())
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(500 - .025)


def test_registered_with_weight():
    loss = MODELS.build(dict(type='SmoothL1KeypointLoss', loss_weight=3.))
    pred, target = torch.randn(2, 17, 2), torch.randn(2, 17, 2)
    visible = (torch.rand(2, 17) > .5).float()
    torch.testing.assert_close(
        loss(pred, target, visible),
        3 * smooth_l1_keypoint_loss(pred, target, visible))


def test_wrong_shapes():
    pred = torch.zeros(2, 17, 2)
    with pytest.raises(ValueError, match='same shape'):
        smooth_l1_keypoint_loss(pred, torch.zeros(2, 17, 3))
    with pytest.raises(ValueError, match='visible'):
        smooth_l1_keypoint_loss(pred, pred, torch.zeros(2, 16))
