# Copyright (c) The mpm_postometro authors. All rights reserved.
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from mpm_postometro.bodies import load_body
from mpm_postometro.evaluation import constant_baselines, functional
from mpm_postometro.evaluation.baselines import procrustes_mean


@pytest.fixture(scope='module')
def body():
    return load_body()


def people(count, seed, yaw=np.pi):
    rng = np.random.RandomState(seed)
    orient = Rotation.from_euler('x', np.pi) * Rotation.from_euler(
        'y', rng.uniform(-yaw, yaw, count))
    return dict(
        betas=rng.normal(size=(count, 10)).astype(np.float32),
        body_pose=rng.normal(0, .15, (count, 23, 3)).astype(np.float32),
        global_orient=orient.as_rotvec().astype(np.float32))


def test_one_person_is_predicted_exactly(body):
    person = people(1, 0)
    errors = constant_baselines(person, person, body)
    assert set(errors) == {'mpjpe', 'pa_mpjpe', 'mpvpe'}
    assert max(errors.values()) < 0.01
    # alignment forgives the orientation, the other two do not
    turned = {**person, 'global_orient': people(1, 5)['global_orient']}
    errors = constant_baselines(person, turned, body)
    assert errors['pa_mpjpe'] < 0.01
    assert min(errors['mpjpe'], errors['mpvpe']) > 50


def test_equals_the_plain_computation(body):
    train, test = people(9, 1), people(5, 2)

    def pose(p):
        vertices = body(*(torch.from_numpy(p[k])
                          for k in ('betas', 'body_pose',
                                    'global_orient'))).vertices
        h36m = body.regress_joints(vertices, 'h36m17')
        j14 = body.regress_joints(vertices, 'j14')
        return (vertices - h36m[:, :1],
                j14 - j14[:, 2:4].mean(1, keepdim=True))

    (train_v, train_j), (test_v, test_j) = pose(train), pose(test)
    errors = constant_baselines(train, test, body, chunk_size=4)
    mpjpe = (train_j.mean(0) - test_j).norm(dim=-1).mean().item()
    mpvpe = (train_v.mean(0) - test_v).norm(dim=-1).mean().item()
    assert errors['mpjpe'] == pytest.approx(1000 * mpjpe, rel=1e-4)
    assert errors['mpvpe'] == pytest.approx(1000 * mpvpe, rel=1e-4)
    whole = constant_baselines(train, test, body, chunk_size=100)
    assert whole == pytest.approx(errors, rel=1e-5)


def test_body_frame_constant_is_the_stronger_one(body):
    """Under free yaw the camera-frame mean collapses onto an axis."""
    train, test = people(60, 3), people(40, 4)
    errors = constant_baselines(train, test, body)
    vertices = body(*(torch.from_numpy(p) for p in train.values())).vertices
    mean = functional.centre(body.regress_joints(vertices, 'j14'),
                             (2, 3)).mean(0)
    vertices = body(*(torch.from_numpy(p) for p in test.values())).vertices
    target = body.regress_joints(vertices, 'j14')
    camera = functional.pa_mpjpe(mean.expand_as(target), target).mean()
    assert errors['pa_mpjpe'] < 0.8 * 1000 * camera.item()


def test_procrustes_mean_is_a_minimum():
    rng = torch.Generator().manual_seed(0)
    base = torch.randn(14, 3, generator=rng, dtype=torch.float64)
    poses = base + .3 * torch.randn(
        50, 14, 3, generator=rng, dtype=torch.float64)

    def cost(pose):
        aligned = functional.procrustes_align(pose.expand_as(poses), poses)
        return (aligned - poses).square().sum().item()

    mean = procrustes_mean(poses, iterations=100)
    best = cost(mean)
    assert best < cost(poses.mean(0)) < cost(poses[0])
    for seed in range(10):
        step = torch.randn(
            14, 3, generator=torch.Generator().manual_seed(seed))
        for size in (.01, .1):
            assert cost(mean + size * step) > best


def test_errors(body):
    person = people(2, 0)
    with pytest.raises(KeyError, match='betas'):
        constant_baselines({
            k: v
            for k, v in person.items() if k != 'betas'
        }, person, body)
    with pytest.raises(ValueError, match='same number'):
        constant_baselines({
            **person, 'betas': person['betas'][:1]
        }, person, body)
    empty = {k: v[:0] for k, v in person.items()}
    with pytest.raises(ValueError, match='at least one'):
        constant_baselines(person, empty, body)
