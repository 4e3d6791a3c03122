# Copyright (c) The mpm_postometro authors. All rights reserved.
from dataclasses import replace

import numpy as np
import pytest
import torch

from mpm_postometro.bodies import BodyModel, load_body
from mpm_postometro.bodies.body_io import read_body
from mpm_postometro.datasets.synthesis.skinning import NumpyBody


def _parameters(rng, num_betas=10):
    return (rng.normal(size=num_betas).astype(np.float32),
            rng.normal(0, .4, (23, 3)).astype(np.float32),
            rng.normal(0, 1,
                       3).astype(np.float32), rng.normal(0, 1,
                                                         3).astype(np.float32))


def _torch(body, parameters):
    return body(*(torch.from_numpy(p)[None] for p in parameters))


def test_equals_the_torch_body():
    body, small = load_body(), NumpyBody(read_body(None))
    rng = np.random.default_rng(0)
    for _ in range(3):
        parameters = _parameters(rng)
        expected, person = _torch(body, parameters), small(*parameters)
        np.testing.assert_allclose(
            person.vertices, expected.vertices[0], atol=3e-6)
        np.testing.assert_allclose(
            person.joints, expected.joints[0], atol=3e-6)
        for name in ('h36m17', 'j14', 'coco17'):
            np.testing.assert_allclose(
                small.regress_joints(person.vertices, name),
                body.regress_joints(expected.vertices, name)[0],
                atol=3e-6)


def test_pose_directions_are_used():
    rng = np.random.default_rng(1)
    data = read_body(None)
    shape = (len(data.v_template), 3, 9 * 23)
    data = replace(
        data, posedirs=rng.normal(0, 1e-3, shape).astype(np.float32))
    parameters = _parameters(rng, 4)
    expected = _torch(BodyModel(data, num_betas=4), parameters)
    person = NumpyBody(data, num_betas=4)(*parameters)
    np.testing.assert_allclose(
        person.vertices, expected.vertices[0], atol=1e-5)
    plain = NumpyBody(read_body(None), num_betas=4)(*parameters)
    assert abs(person.vertices - plain.vertices).max() > 1e-3


def test_coarse_level_is_a_subset():
    body = NumpyBody(read_body(None))
    coarse = body.at_level(1)
    assert coarse.faces.max() + 1 == len(coarse.v_template) == 1723
    parameters = _parameters(np.random.default_rng(2))
    fine, few = body(*parameters), coarse(*parameters)
    np.testing.assert_allclose(
        few.vertices, fine.vertices[coarse.vertex_ids], atol=1e-6)
    np.testing.assert_array_equal(few.joints, fine.joints)
    assert body.at_level(0) is body


def test_errors():
    data = read_body(None)
    with pytest.raises(ValueError, match='num_betas=11'):
        NumpyBody(data, num_betas=11)
    body = NumpyBody(
        replace(data, regressors=dict(smpl24=data.regressors['smpl24'])))
    with pytest.raises(ValueError, match="no joint regressor 'h36m17'"):
        body.regress_joints(data.v_template, 'j14')
