# Copyright (c) The mpm_postometro authors. All rights reserved.
import pytest
import torch

from mpm_postometro.bodies import load_body
from mpm_postometro.models.heads import MeshPrediction
from mpm_postometro.models.losses import MeshLoss, MeshTargets


@pytest.fixture(scope='module')
def body():
    return load_body()


def two_dimensional(body, weights, **kwargs):
    """2D losses of people whose joints are all projected to the origin, and
    whose labels are half a crop from there in x and y."""
    weights = torch.tensor(weights)
    persons = len(weights)
    mesh = torch.zeros(persons, body.num_vertices, 3)
    joints = torch.zeros(persons, 14, 3)
    joints_2d = joints[..., :2] + .5
    joints_2d[weights == 0] = float('nan')  # whatever stands there
    targets = MeshTargets((None, None, mesh), joints, torch.ones(persons, 14),
                          joints_2d, weights, torch.ones(persons, 1),
                          torch.ones(persons, 1))
    camera = torch.tensor([[1., 0., 0.]]).repeat(persons, 1).requires_grad_()
    losses = MeshLoss(**kwargs)(MeshPrediction(camera, joints, (mesh, ) * 3),
                                targets, body)
    grad, = torch.autograd.grad(losses['loss_joints_2d'], camera)
    assert grad.isfinite().all()
    first, second = (
        losses[f'loss_{name}_2d'].item() for name in ('joints', 'mesh_joints'))
    assert first == pytest.approx(second)
    return first


def test_persons_without_2d_joints(body):
    full, nothing = [1.] * 14, [0.] * 14
    one_joint = [1.] + [0.] * 13
    labelled = dict(joints_2d_over='labelled')
    for arguments in ({}, labelled):
        assert two_dimensional(body, [full], **arguments) == pytest.approx(50)
        assert two_dimensional(body, [nothing], **arguments) == 0
    weights = [full, nothing, nothing, nothing]
    assert two_dimensional(body, weights) == pytest.approx(50 / 4)
    assert two_dimensional(body, weights, **labelled) == pytest.approx(50)
    # joints without weight stay in the mean of their person
    weights = [full, nothing, one_joint]
    total = 50 + 50 / 14
    assert two_dimensional(body, weights) == pytest.approx(total / 3)
    assert two_dimensional(body, weights,
                           **labelled) == pytest.approx(total / 2)


def test_unknown_normalisation():
    with pytest.raises(ValueError, match="'all_ranks' or 'rank', got 'all'"):
        MeshLoss(average_over='all')
    with pytest.raises(ValueError, match="'all' or 'labelled', got True"):
        MeshLoss(joints_2d_over=True)
