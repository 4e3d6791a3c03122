# Copyright (c) The mpm_postometro authors. All rights reserved.
import numpy as np
import pytest
import torch
from scipy.spatial import procrustes
from scipy.spatial.transform import Rotation

from mpm_postometro.evaluation import functional as F


def points(*shape, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype)


def random_similarity(batch, seed=0):
    rng = np.random.RandomState(seed)
    rotation = Rotation.random(batch, random_state=rng).as_matrix()
    return (torch.from_numpy(rng.uniform(.5, 2, (batch, 1, 1))),
            torch.from_numpy(rotation),
            torch.from_numpy(rng.normal(size=(batch, 1, 3))))


def test_distances_by_hand():
    pred = torch.zeros(2, 2, 3)
    target = torch.zeros(2, 2, 3)
    target[0, 0] = torch.tensor([3., 4., 0.])
    target[1, 1] = torch.tensor([0., 0., 8.])
    assert F.mpjpe(pred, target).tolist() == [2.5, 4]
    assert F.mpvpe(pred, target).tolist() == [2.5, 4]
    weights = torch.tensor([[1., 0.], [0., 0.]])
    first, second = F.mpjpe(pred, target, weights).tolist()
    assert first == 5 and np.isnan(second)
    assert F.pck(pred, target, 5.).tolist() == [.5, .5]  # strictly nearer
    assert F.pck(pred, target, 5.001).tolist() == [1, .5]
    # 31 thresholds 0, .01, ...: distance 0 is under 30 of them
    assert F.auc(pred, target).tolist() == pytest.approx([15 / 31, 15 / 31])
    assert F.auc(
        pred, target, max_threshold=30.)[0].item() == pytest.approx(
            (25 + 30) / 2 / 31)


def test_unweighted_joints_may_be_nan():
    pred, target = points(3, 14, 3), points(3, 14, 3, seed=1)
    weights = torch.ones(3, 14)
    weights[1, 4:8] = 0
    expected = [
        f(pred, target, weights=weights)
        for f in (F.mpjpe, F.pa_mpjpe, F.n_mpjpe, F.pck, F.auc)
    ]
    target[1, 4:8] = float('nan')
    for f, value in zip((F.mpjpe, F.pa_mpjpe, F.n_mpjpe, F.pck, F.auc),
                        expected):
        torch.testing.assert_close(f(pred, target, weights=weights), value)
    # and it is the error of the other joints alone
    keep = [*range(4), *range(8, 14)]
    torch.testing.assert_close(
        F.pa_mpjpe(pred, target, weights)[1],
        F.pa_mpjpe(pred[1:2, keep], target[1:2, keep])[0])


def test_centre():
    x = points(2, 14, 3)
    torch.testing.assert_close(F.centre(x, 3)[:, 3], torch.zeros_like(x[:, 3]))
    both = F.centre(x, (2, 3))
    torch.testing.assert_close(both[:, 2], -both[:, 3])


def test_alignment_undoes_a_similarity():
    target = points(6, 14, 3)
    scale, rotation, shift = random_similarity(6)
    pred = scale * target @ rotation + shift
    aligned = F.procrustes_align(pred, target)
    torch.testing.assert_close(aligned, target, rtol=0, atol=1e-12)
    assert F.pa_mpjpe(pred.float(), target.float()).max() < 1e-6


def test_alignment_is_the_best_similarity():
    """Against scipy where no reflection is needed, and against neighbours."""
    target = points(8, 14, 3)
    pred = target + 0.3 * points(8, 14, 3, seed=1)
    aligned = F.procrustes_align(pred, target)
    error = (aligned - target).square().sum((1, 2))
    for i in range(8):
        size = (target[i] - target[i].mean(0)).square().sum()
        _, _, disparity = procrustes(target[i].numpy(), pred[i].numpy())
        assert error[i].item() == pytest.approx(disparity * size.item())
    center = aligned.mean(1, keepdim=True)
    for axis in np.eye(3):
        turn = torch.from_numpy(Rotation.from_rotvec(.01 * axis).as_matrix())
        moved = (aligned - center) @ turn + center
        assert ((moved - target).square().sum((1, 2)) > error).all()


def test_no_reflection():
    target = points(4, 14, 3)
    mirrored = target * torch.tensor([-1., 1., 1.], dtype=target.dtype)
    assert (F.pa_mpjpe(mirrored, target) > 0.1).all()
    # the alignment itself keeps handedness: signed volumes keep their sign
    aligned = F.procrustes_align(mirrored, target)
    volume = torch.det(mirrored[:, 1:4] - mirrored[:, :1])
    assert (torch.det(aligned[:, 1:4] - aligned[:, :1]) * volume > 0).all()


@pytest.mark.parametrize('rank', [1, 2])
def test_planar_and_collinear_points(rank):
    target = points(5, 14, 3)
    target[..., rank:] = 0
    scale, rotation, shift = random_similarity(5, seed=3)
    pred = scale * target @ rotation + shift
    torch.testing.assert_close(
        F.procrustes_align(pred, target), target, rtol=0, atol=1e-12)


def test_repeated_point_lands_on_the_centre():
    target = points(3, 14, 3)
    pred = torch.full((3, 14, 3), 0.3, dtype=torch.float64)
    for p, t in ((pred, target), (pred * 0, target), (pred, pred)):
        aligned = F.procrustes_align(p, t)
        torch.testing.assert_close(
            aligned, t.mean(1, keepdim=True).expand_as(t), atol=1e-9, rtol=0)


def test_broken_person_leaves_the_others_alone():
    pred, target = points(3, 14, 3), points(3, 14, 3, seed=1)
    expected = F.pa_mpjpe(pred, target)
    pred[1, 2, 0] = float('inf')
    errors = F.pa_mpjpe(pred, target)
    assert errors[1].isnan()
    torch.testing.assert_close(errors[[0, 2]], expected[[0, 2]])


@pytest.mark.parametrize('float64', [True, False])
def test_alignment_precision(float64):
    """Far from the origin float32 loses what float64 keeps."""
    target = points(4, 14, 3).float() + 5.
    scale, rotation, shift = random_similarity(4)
    pred = (scale * target.double() @ rotation + shift).float()
    aligned = F.procrustes_align(pred, target, float64=float64)
    assert aligned.dtype == torch.float32
    torch.testing.assert_close(aligned, target, rtol=0, atol=1e-5)


@pytest.mark.parametrize('persons', [0, 1, 19])
@pytest.mark.parametrize('float64', [True, False])
def test_meshes_are_aligned_in_chunks(persons, float64):
    dtype = torch.float64 if float64 else torch.float32
    pred = points(persons, 6890, 3, dtype=dtype)
    target = points(persons, 6890, 3, seed=1, dtype=dtype)
    target = .3 * target + pred + torch.tensor([.3, -2., 5.])
    errors = F.pa_mpjpe(pred, target, float64=float64)
    expected = F.mpjpe(
        F.procrustes_align(pred, target, float64=float64), target)
    assert errors.dtype == dtype and errors.shape == (persons, )
    torch.testing.assert_close(
        errors, expected, rtol=1e-9 if float64 else 1e-5, atol=0)


def test_n_mpjpe():
    target = points(3, 14, 3)
    torch.testing.assert_close(
        F.n_mpjpe(.1 * target, target),
        torch.zeros(3, dtype=torch.float64),
        atol=1e-12,
        rtol=0)
    zeros = torch.zeros_like(target)
    torch.testing.assert_close(
        F.n_mpjpe(zeros, target), F.mpjpe(zeros, target))


@pytest.mark.parametrize('f', [F.mpjpe, F.pa_mpjpe, F.n_mpjpe, F.pck, F.auc])
def test_wrong_shapes(f):
    with pytest.raises(ValueError, match=r'\(B, K, 3\)'):
        f(torch.zeros(2, 14, 3), torch.zeros(14, 3))
    with pytest.raises(ValueError, match='weights'):
        f(torch.zeros(2, 14, 3),
          torch.zeros(2, 14, 3),
          weights=torch.zeros(2, 13))
