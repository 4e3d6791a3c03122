# Copyright (c) The mpm_postometro authors. All rights reserved.
import numpy as np
import pytest
import scipy.sparse as sp

from mpm_postometro.bodies import load_body

SMPL_PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16,
                17, 18, 19, 20, 21)


def random_smpl(num_vertices=120, num_betas=10, seed=0):
    """Arrays in the layout of an SMPL file, with random content."""
    rng = np.random.default_rng(seed)
    joints = len(SMPL_PARENTS)
    weights = rng.random((num_vertices, joints))**8
    regressor = rng.random((joints, num_vertices))**8
    regressor /= regressor.sum(1, keepdims=True)
    return dict(
        v_template=rng.normal(0, .5, (num_vertices, 3)),
        f=rng.integers(0, num_vertices, (50, 3)).astype(np.uint32),
        shapedirs=rng.normal(0, .03, (num_vertices, 3, num_betas)),
        posedirs=rng.normal(0, .01, (num_vertices, 3, 9 * (joints - 1))),
        weights=weights / weights.sum(1, keepdims=True),
        J_regressor=sp.csc_matrix(regressor),
        kintree_table=np.stack([
            np.array(SMPL_PARENTS).astype(np.int64) % 2**32,
            np.arange(joints)
        ]).astype(np.uint32))


@pytest.fixture(scope='session')
def open_body():
    return load_body()


@pytest.fixture(name='random_smpl')
def random_smpl_fixture():
    return random_smpl


@pytest.fixture
def smpl_arrays():
    return random_smpl()
