# Copyright (c) The mpm_postometro authors. All rights reserved.
import copy

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from mpm_postometro.bodies.mesh_levels import (LevelData, MeshLevels,
                                               read_mesh_downsampling)

SIZES = (40, 16, 6)


def random_downsampling(seed=0):
    """A, U, D, F with the properties of the published file."""
    rng = np.random.default_rng(seed)
    arrays = dict(A=[], U=[], D=[], F=[])
    for size in SIZES:
        upper = np.triu(rng.random((size, size)) < .2, 1).astype(np.float32)
        arrays['A'].append(sp.csc_matrix(upper + upper.T))
        arrays['F'].append(rng.integers(0, size, (9, 3)).astype(np.uint32))
    for fine, coarse in zip(SIZES[:-1], SIZES[1:]):
        chosen = np.sort(rng.choice(fine, coarse, replace=False))
        down = np.zeros((coarse, fine))
        down[np.arange(coarse), chosen] = 1
        up = np.zeros((fine, coarse))
        for row in range(fine):
            up[row, rng.choice(coarse, 3, replace=False)] = rng.random(3)
        up[chosen] = np.eye(coarse)
        arrays['D'].append(sp.coo_matrix(down))
        arrays['U'].append(sp.csc_matrix(up))
    return arrays


def save(path, arrays, **more):
    objects = {}
    for key, items in arrays.items():
        objects[key] = np.empty(len(items), object)
        objects[key][:] = items
    np.savez(path, **objects, **more)
    return path


@pytest.fixture
def published(tmp_path):
    arrays = random_downsampling()
    # As in the real file, a key M holds what nobody can read safely.
    evil = np.array([pytest.Item], dtype=object)
    file = save(tmp_path / 'mesh_downsampling.npz', arrays, M=evil)
    return arrays, MeshLevels(read_mesh_downsampling(file))


def test_published_layout(published):
    arrays, levels = published
    assert levels.sizes == SIZES
    up0, up1 = (m.toarray().astype(np.float32) for m in arrays['U'])
    np.testing.assert_allclose(
        levels.upsample_matrix(2, 0).toarray(), up0 @ up1, rtol=1e-6)
    np.testing.assert_allclose(levels.upsample_matrix(1, 0).toarray(), up0)
    np.testing.assert_allclose(levels.upsample_matrix(2, 1).toarray(), up1)
    down0, down1 = (m.toarray() for m in arrays['D'])
    vertices = torch.randn(5, SIZES[0], 3)
    expected = torch.tensor(down1 @ down0).float() @ vertices
    torch.testing.assert_close(levels.downsample(vertices), expected)
    torch.testing.assert_close(
        levels.downsample(vertices, 1),
        torch.tensor(down0).float() @ vertices)
    for level, matrix in enumerate(arrays['A']):
        expected = (matrix.toarray() + np.eye(SIZES[level])) > 0
        np.testing.assert_array_equal(levels.adjacency(level), expected)
        np.testing.assert_array_equal(
            levels.faces(level), arrays['F'][level].astype(int))


@pytest.mark.parametrize('from_level, to_level', [(2, 0), (2, 1), (1, 0)])
def test_upsample_is_the_matrix(published, from_level, to_level):
    levels = published[1].double()
    coarse = torch.randn(
        3, 2, SIZES[from_level], 3, dtype=torch.float64, requires_grad=True)
    matrix = levels.upsample_matrix(from_level, to_level).toarray()
    fine = levels.upsample(coarse, from_level, to_level)
    torch.testing.assert_close(fine, torch.tensor(matrix).double() @ coarse)
    assert torch.autograd.gradcheck(
        lambda x: levels.upsample(x, from_level, to_level), coarse)
    assert torch.autograd.gradgradcheck(
        lambda x: levels.upsample(x, from_level, to_level)**2,
        coarse[:1],
        fast_mode=True)
    # What was chosen comes back.
    torch.testing.assert_close(
        levels.downsample(fine, from_level, to_level), coarse)


def test_same_level_changes_nothing(published):
    levels = published[1]
    vertices = torch.randn(1, SIZES[1], 3)
    assert levels.upsample(vertices, 1, 1) is vertices
    assert levels.downsample(vertices, 1, 1) is vertices
    np.testing.assert_array_equal(
        levels.upsample_matrix(1, 1).toarray(), np.eye(SIZES[1]))


def test_wrong_levels_and_sizes_are_named(published):
    levels = published[1]
    vertices = torch.randn(1, SIZES[1], 3)
    with pytest.raises(ValueError, match='level 0 has 40 vertices, got 16'):
        levels.downsample(vertices)
    with pytest.raises(ValueError, match='finer'):
        levels.downsample(vertices, 0, 1)
    with pytest.raises(ValueError, match='coarser'):
        levels.upsample(vertices, 1, 2)
    with pytest.raises(ValueError, match=r'\[0, 2\], got 3'):
        levels.faces(3)


def test_broken_files_are_named(tmp_path):
    arrays = random_downsampling()
    lacking = {k: v for k, v in arrays.items() if k != 'U'}
    with pytest.raises(ValueError, match=r"lacking\.npz: keys \['U'\]"):
        read_mesh_downsampling(save(tmp_path / 'lacking.npz', lacking))
    blended = copy.deepcopy(arrays)
    blended['D'][1] = blended['D'][1] * .5
    with pytest.raises(ValueError, match=r'blended\.npz, D\[1\]'):
        read_mesh_downsampling(save(tmp_path / 'blended.npz', blended))
    swapped = dict(arrays, U=arrays['U'][::-1])
    with pytest.raises(ValueError, match=r'swapped\.npz.*upsample'):
        read_mesh_downsampling(save(tmp_path / 'swapped.npz', swapped))


def test_no_geometry_in_a_checkpoint(published):
    assert not published[1].state_dict()
    assert len(list(published[1].buffers())) > 10


def test_adjacency_from_faces():
    faces = [np.array([[0, 1, 2], [2, 1, 3]]), np.array([[0, 1, 1]])]
    levels = MeshLevels(
        LevelData(
            faces=faces,
            selections=[np.array([1, 3])],
            upsample=[sp.csr_matrix(np.ones((4, 2)))]))
    expected = torch.ones(4, 4, dtype=torch.bool)
    expected[0, 3] = expected[3, 0] = False
    assert torch.equal(levels.adjacency(0), expected)


def test_open_body_levels(open_body):
    levels = open_body.levels
    assert levels.sizes == (6890, 1723, 431)
    vertices = open_body.v_template[None]
    for level, faces in ((0, 13776), (1, 3442), (2, 858)):
        assert levels.faces(level).shape == (faces, 3)
        assert levels.faces(level).max() == levels.sizes[level] - 1
        # Closed surface of genus 0.
        assert levels.sizes[level] - faces / 2 == 2
    coarse = levels.downsample(vertices)
    assert set(map(tuple, coarse[0].tolist())) <= set(
        map(tuple, vertices[0].tolist()))
    for level in (1, 2):
        again = levels.upsample(levels.downsample(vertices, level), level)
        error = (again - vertices).norm(dim=-1)
        assert error.mean() < 3e-3 and error.max() < .03
        rows = levels.upsample_matrix(level, 0).sum(1)
        np.testing.assert_allclose(rows, 1, atol=1e-4)
    adjacency = levels.adjacency(2)
    assert torch.equal(adjacency, adjacency.T)
    assert adjacency.diagonal().all()
    assert adjacency.sum() == 431 + 2 * (858 * 3 // 2)


def test_autocast_keeps_full_precision(open_body):
    coarse = open_body.levels.downsample(open_body.v_template[None])
    with torch.autocast('cpu', torch.bfloat16):
        low = open_body.levels.upsample(coarse)
    torch.testing.assert_close(low, open_body.levels.upsample(coarse))
