# Copyright (c) The mpm_postometro authors. All rights reserved.
import dataclasses
import pickle

import numpy as np
import pytest
import torch

from mpm_postometro.bodies import body_identity, check_same_body, load_body
from mpm_postometro.bodies.body_io import read_body


def test_one_geometry_has_one_identity(tmp_path, random_smpl):
    arrays = random_smpl()
    (tmp_path / 'SMPL_MALE.pkl').write_bytes(pickle.dumps(arrays, 2))
    single = {
        key: value.astype(np.float32) if value.dtype == float else value
        for key, value in arrays.items()
    }
    np.savez(tmp_path / 'other.npz', **single)
    first = load_body(tmp_path, gender='male')
    assert first.identity.startswith('smpl_male:')
    second = load_body(
        tmp_path / 'other.npz', num_betas=4, dtype=torch.float64)
    assert second.identity.startswith('smpl_neutral:')
    check_same_body(first.identity, second.identity, 'a', 'b')
    check_same_body(first.identity, None, 'a', 'b')  # not known


def test_another_body_of_the_same_size_is_refused(tmp_path, random_smpl):
    identities = []
    for seed in range(2):
        path = tmp_path / f'{seed}.pkl'
        path.write_bytes(pickle.dumps(random_smpl(seed=seed), 2))
        identities.append(load_body(path).identity)
    with pytest.raises(ValueError) as error:
        check_same_body(*identities, 'the metric', 'predictions have')
    for text in (*identities, 'the metric', 'predictions have'):
        assert text in str(error.value)


@pytest.mark.parametrize('key', [
    'v_template', 'shapedirs', 'posedirs', 'weights', 'faces', 'smpl24',
    'h36m17'
])
def test_every_part_counts(key, open_body):
    data = read_body(None)
    if key in data.regressors:
        matrix = data.regressors[key].copy()
        matrix[0] = matrix[1]
        changes = dict(regressors={**data.regressors, key: matrix})
    elif key == 'posedirs':
        rng = np.random.default_rng(0)
        shape = (*data.v_template.shape, 9 * (len(data.parents) - 1))
        changes = dict(posedirs=rng.normal(size=shape))
    else:
        changes = {key: getattr(data, key)[::-1]}
    assert body_identity(data) == open_body.identity
    assert body_identity(dataclasses.replace(data,
                                             **changes)) != open_body.identity
