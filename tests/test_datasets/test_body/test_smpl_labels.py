# Copyright (c) The mpm_postometro authors. All rights reserved.
import numpy as np
import pytest
import torch
from labelled_people import body, make_people, pose_body

from mpm_postometro.bodies.body_io import OPEN_BODY
from mpm_postometro.bodies.rotations import axis_angle_to_matrix
from mpm_postometro.datasets.body.smpl_labels import (LabelBodies, boxes_about,
                                                      fit_errors,
                                                      turn_to_camera)

PEOPLE = make_people(3, seed=5)
GENDER = np.array([0, 2, 1])


def _turned():
    """Cameras, and the people's parameters in their frames."""
    rng = np.random.RandomState(0)
    rotation = axis_angle_to_matrix(
        torch.from_numpy(rng.normal(0, 1, (3, 3)))).numpy()
    translation = rng.normal(0, 2, (3, 3))
    roots = LabelBodies({}).rest_roots(PEOPLE.betas, GENDER)
    orient = PEOPLE.pose[:, 0]
    turned = turn_to_camera(orient, PEOPLE.transl, roots, rotation,
                            translation)
    return rotation, translation, turned


def test_vertices_move_with_the_camera():
    rotation, translation, (orient, transl) = _turned()
    pose = PEOPLE.pose.copy()
    pose[:, 0] = orient
    moved, _ = pose_body(PEOPLE.betas, pose, transl)
    expected = np.einsum('nij,nvj->nvi', rotation,
                         PEOPLE.vertices) + translation[:, None]
    np.testing.assert_allclose(moved, expected, atol=1e-5)


def test_rest_roots_are_those_of_the_bodies():
    zeros = torch.zeros(3, 24, 3)
    expected = body()(torch.from_numpy(PEOPLE.betas), zeros[:, 1:],
                      zeros[:, 0]).joints[:, 0]
    found = LabelBodies({}).rest_roots(PEOPLE.betas, GENDER)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_each_gender_has_its_body(monkeypatch):
    asked = []

    def load(**arguments):
        asked.append(arguments)
        return body()

    monkeypatch.setattr('mpm_postometro.datasets.body.smpl_labels.load_body',
                        load)
    bodies = LabelBodies(dict(path='smpl', gender='male'))
    for _ in range(2):
        posed = bodies.pose(PEOPLE.betas, PEOPLE.pose[:, 1:],
                            PEOPLE.pose[:, 0], PEOPLE.transl, GENDER,
                            np.repeat(PEOPLE.intrinsics[None], 3, 0))
    assert asked == [
        dict(path='smpl', gender=g) for g in ('neutral', 'male', 'female')
    ]
    np.testing.assert_allclose(posed.joints, PEOPLE.joints['j14'], atol=1e-5)
    np.testing.assert_allclose(posed.bbox, PEOPLE.bbox, atol=1e-2)


def test_a_neutral_file_is_nobody_elses(tmp_path):
    path = tmp_path / 'SMPL_NEUTRAL.npz'
    path.write_bytes(OPEN_BODY.read_bytes())
    bodies = LabelBodies(dict(path=str(path)))
    bodies.rest_roots(PEOPLE.betas, np.zeros(3, int))
    with pytest.raises(FileNotFoundError, match='SMPL_FEMALE.npz'):
        bodies.rest_roots(PEOPLE.betas, GENDER[[1, 1, 1]])


def test_boxes():
    camera = np.diag([100., 100., 1.])[None].repeat(2, 0)
    points = np.array([[[0, 0, 1], [1, 2, 1.]], [[0, 0, 1], [1, 2, -1.]]])
    boxes = boxes_about(points, camera, margin=.1)
    np.testing.assert_allclose(boxes[0], [-20, -20, 120, 220], rtol=1e-6)
    assert np.isnan(boxes[1]).all()


def test_errors_of_fits():
    joints = np.random.RandomState(0).normal(0, 1, (4, 5, 3))
    measured = np.concatenate([joints, np.ones((4, 5, 1))], -1)
    fitted = joints + [[[3., -2, 9]]]
    fitted[1, :2] += [[.04, 0, 0], [-.04, 0, 0]]  # the mean stays
    measured[2, 3:] = 0
    fitted[2, 3:] = 99
    measured[3, :, 3] = 0
    np.testing.assert_allclose(
        fit_errors(fitted, measured), [0, .016, 0, np.inf], atol=1e-12)
