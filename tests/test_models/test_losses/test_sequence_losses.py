# Copyright (c) The mpm_postometro authors. All rights reserved.
import pytest
import torch
from mmpose.registry import MODELS

from mpm_postometro.models.losses import sequence_mpjpe_loss


def test_by_hand():
    target = torch.zeros(2, 1, 2, 3)
    pred = target.clone()
    pred[0, 0, 0] = torch.tensor([3., 4., 0.])
    pred[1, 0, 1] = torch.tensor([0., 0., 1.])
    assert sequence_mpjpe_loss(pred, target) == 6 / 4
    weights = torch.tensor([0., 1.])
    assert sequence_mpjpe_loss(pred, target, weights) == 1 / 2
    loss = MODELS.build(dict(type='SequenceMPJPELoss', loss_weight=2.))
    assert loss(pred, target, weights) == 1


def test_clips_without_weight_may_be_anything():
    pred = torch.randn(3, 4, 5, 3, requires_grad=True)
    target = torch.randn(3, 4, 5, 3)
    target[1] = float('nan')
    loss = sequence_mpjpe_loss(pred, target, torch.tensor([1, 0, 1]).bool())
    loss.backward()
    expected = sequence_mpjpe_loss(pred[[0, 2]], target[[0, 2]])
    torch.testing.assert_close(loss, expected)
    assert pred.grad.isfinite().all() and not pred.grad[1].any()


def test_no_clip_is_a_connected_zero():
    pred = torch.randn(3, 4, 5, 3, requires_grad=True)
    loss = sequence_mpjpe_loss(pred, torch.zeros(3, 4, 5, 3), torch.zeros(3))
    loss.backward()
    assert loss == 0 and not pred.grad.any()


def test_exact_prediction_has_finite_gradients():
    pred = torch.ones(1, 2, 3, 3, requires_grad=True)
    sequence_mpjpe_loss(pred, pred.detach().clone()).backward()
    assert not pred.grad.any()


def test_half_precision_is_computed_in_float32():
    pred = torch.full((1, 1, 1, 3), 300.).half()  # its square overflows
    loss = sequence_mpjpe_loss(pred, torch.zeros(1, 1, 1, 3))
    assert loss.item() == pytest.approx(300 * 3**.5)


def test_shapes_must_agree():
    with pytest.raises(ValueError, match='same shape'):
        sequence_mpjpe_loss(torch.zeros(2, 1, 5, 3), torch.zeros(2, 5, 3))
