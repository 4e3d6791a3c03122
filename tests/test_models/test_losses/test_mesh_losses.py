# Copyright (c) The mpm_postometro authors. All rights reserved.
import pytest
import torch

from mpm_postometro.bodies.skeletons import J14_HIPS, SKELETONS
from mpm_postometro.models.losses import (edge_length_losses, faces_to_edges,
                                          joint_2d_loss, joint_3d_loss,
                                          normal_loss, vertex_loss)

FACES = torch.tensor([[0, 1, 2], [2, 1, 3], [3, 1, 4]])


def points(*shape, seed=0):
    return torch.randn(*shape, generator=torch.manual_seed(seed))


def all_losses(pred, target, flag, **kwargs):
    """Every loss that has a validity flag."""
    return dict(
        vertex=vertex_loss(pred, target, flag),
        joint_3d=joint_3d_loss(
            pred, target, has_joints_3d=flag, root=(0, 1), **kwargs),
        joint_2d=joint_2d_loss(
            pred[..., :2], target[..., :2], has_joints_2d=flag, **kwargs),
        edge=sum(
            edge_length_losses(pred, target, faces_to_edges(FACES), flag)),
        normal=normal_loss(pred, target, FACES, flag))


def test_hips_are_the_hips():
    names = [SKELETONS['j14'].joint_names[i] for i in J14_HIPS]
    assert sorted(names) == ['left_hip', 'right_hip']


def test_values_by_hand():
    pred = torch.zeros(2, 3, 3)
    target = torch.zeros(2, 3, 3)
    target[0, 1] = torch.tensor([3., -6., 9.])
    target[1, 2, 0] = 90.
    only_first = torch.tensor([1, 0])
    assert vertex_loss(pred, target, only_first).item() == pytest.approx(2)
    assert vertex_loss(pred, target, only_first,
                       'sum_xyz').item() == pytest.approx(6)
    both = (18 + 90) / 18
    assert vertex_loss(pred, target).item() == pytest.approx(both)
    # joints of weight 0 stay in the mean
    weights = torch.tensor([[0., 0.5, 1.], [1., 1., 1.]])
    assert joint_3d_loss(pred, target, weights,
                         only_first).item() == pytest.approx(1)
    # 2D: flag ignored unless it is given
    flat = joint_2d_loss(pred[..., :2], target[..., :2])
    assert flat.item() == pytest.approx(99 / 12)
    flat = joint_2d_loss(
        pred[..., :2], target[..., :2], has_joints_2d=only_first)
    assert flat.item() == pytest.approx(9 / 6)


def test_root_removes_translation_only():
    target = points(2, 14, 3)
    pred = target + torch.tensor([5., -3., 2.])
    assert joint_3d_loss(pred, target).item() > 1
    assert joint_3d_loss(pred, target, root=J14_HIPS).item() < 1e-6
    assert joint_3d_loss(pred, target, root=[12]).item() < 1e-6
    bent = pred.clone()
    bent[:, J14_HIPS[0]] += 1.
    assert joint_3d_loss(bent, target, root=J14_HIPS).item() > 0.3


@pytest.mark.parametrize('shape', [(3, ), (3, 1)])
@pytest.mark.parametrize('rubbish', [0., float('nan'), float('inf')])
def test_nothing_valid_is_a_connected_zero(shape, rubbish):
    pred = points(3, 5, 3).requires_grad_()
    target = torch.full((3, 5, 3), rubbish)
    for name, loss in all_losses(pred, target, torch.zeros(shape)).items():
        assert loss.item() == 0, name
        grad, = torch.autograd.grad(loss, pred)
        assert grad.shape == pred.shape and not grad.any(), name


def test_rubbish_in_masked_persons_changes_nothing():
    pred = points(3, 5, 3).requires_grad_()
    target = points(3, 5, 3, seed=1)
    flag = torch.tensor([1., 0., 1.])
    clean = all_losses(pred[[0, 2]], target[[0, 2]], None)
    target[1] = float('nan')
    for name, loss in all_losses(pred, target, flag).items():
        torch.testing.assert_close(loss, clean[name])
        grad, = torch.autograd.grad(loss, pred)
        assert grad.isfinite().all() and not grad[1].any(), name
        assert grad[0].any(), name


def test_rubbish_in_joints_without_weight_changes_nothing():
    pred = points(2, 14, 2).requires_grad_()
    target = points(2, 14, 2, seed=1)
    weights = torch.ones(2, 14)
    weights[0, 5] = 0
    expected = joint_2d_loss(pred, target, weights)
    target[0, 5] = float('nan')
    loss = joint_2d_loss(pred, target, weights)
    torch.testing.assert_close(loss, expected)
    assert torch.autograd.grad(loss, pred)[0].isfinite().all()


def test_empty_batch():
    empty = torch.zeros(0, 5, 3, requires_grad=True)
    for flag in (None, torch.zeros(0)):
        for loss in all_losses(empty, empty.detach(), flag).values():
            assert loss.item() == 0
            loss.backward()


@pytest.mark.parametrize('dtype', [torch.float16, torch.bfloat16])
def test_half_precision_is_summed_in_float32(dtype):
    pred, target = points(2, 4000, 3), points(2, 4000, 3, seed=1)
    pred, target = pred.to(dtype), target.to(dtype)
    loss = vertex_loss(pred, target)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, vertex_loss(pred.float(), target.float()))


def test_edges_and_normals():
    assert sorted(map(sorted,
                      faces_to_edges(FACES[:1]).tolist())) == [[0, 1], [0, 2],
                                                               [1, 2]]
    flat = points(1, 5, 3)
    flat[..., 2] = 0
    bigger = flat * 2
    differ, own = edge_length_losses(bigger, flat, faces_to_edges(FACES))
    torch.testing.assert_close(own, 2 * differ, rtol=1e-4, atol=1e-5)
    # edges in the plane of the true faces, then along their normal
    assert normal_loss(bigger, flat, FACES).item() < 1e-6
    upright = torch.zeros_like(flat)
    upright[..., 2] = torch.arange(5.)
    assert normal_loss(upright, flat, FACES).item() == pytest.approx(1, 1e-5)


def test_gradients():
    pred = points(2, 5, 3).double().requires_grad_()
    target = points(2, 5, 3, seed=1).double()
    flag = torch.tensor([1., 0.])

    def total(x):
        return sum(all_losses(x, target, flag).values())

    assert torch.autograd.gradcheck(total, pred)


def test_errors_name_what_is_wrong():
    with pytest.raises(ValueError, match='same shape'):
        vertex_loss(torch.zeros(2, 3, 3), torch.zeros(2, 4, 3))
    with pytest.raises(ValueError, match='reduction'):
        vertex_loss(torch.zeros(2, 3, 3), torch.zeros(2, 3, 3), None, 'sum')
    with pytest.raises(ValueError, match='weights'):
        joint_3d_loss(
            torch.zeros(2, 3, 3), torch.zeros(2, 3, 3), torch.zeros(2, 3, 1))
