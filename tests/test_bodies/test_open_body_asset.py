# Copyright (c) The mpm_postometro authors. All rights reserved.
"""What the file of the built-in body must hold, whoever bakes it."""
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse
from scipy.sparse.csgraph import connected_components

import mpm_postometro

ASSET = (Path(mpm_postometro.__file__).parent / 'bodies/assets/open_body.npz')
SIZES = (6890, 1723, 431)
PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17,
           18, 19, 20, 21)
MIRRORED = {
    'J_regressor': (0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17,
                    16, 19, 18, 21, 20, 23, 22),
    'J_regressor_h36m':
    (0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 11, 12, 13),
    'J_regressor_coco':
    (0, 2, 1, 4, 3, 6, 5, 8, 7, 10, 9, 12, 11, 14, 13, 16, 15),
}
FLIP = np.array([-1, 1, 1], dtype=np.float32)


@pytest.fixture(scope='module')
def asset():
    with np.load(ASSET, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}


def regressor(asset, name):
    index = asset[f'{name}_idx'].astype(int)
    return sparse.csr_matrix(
        (asset[f'{name}_data'], (index[:, 0], index[:, 1])),
        shape=(len(MIRRORED[name]), SIZES[0])).toarray()


def weights(asset):
    dense = np.zeros((SIZES[0], len(PARENTS)))
    np.add.at(dense, (np.arange(SIZES[0])[:, None], asset['weights_idx']),
              asset['weights_val'].astype(np.float64))
    return dense


def upsampling(asset, fine, coarse):
    name = f'upsample_{coarse}{fine}'
    return sparse.csr_matrix((asset[f'{name}_data'], asset[f'{name}_indices'],
                              asset[f'{name}_indptr']),
                             shape=(SIZES[fine], SIZES[coarse]))


def level_indices(asset, level):
    return np.arange(
        SIZES[0]) if level == 0 else asset[f'level{level}_idx'].astype(int)


def level_faces(asset, level):
    return asset['f' if level == 0 else f'level{level}_f'].astype(int)


def test_small_enough_to_commit():
    assert ASSET.stat().st_size <= 2_000_000


@pytest.mark.parametrize('key, shape, dtype', [
    ('v_template', (6890, 3), np.float32),
    ('f', (13776, 3), np.uint16),
    ('shapedirs', (6890, 3, 10), np.float32),
    ('weights_idx', (6890, 4), np.uint8),
    ('weights_val', (6890, 4), np.float32),
    ('parents', (24, ), np.int8),
    ('level1_idx', (1723, ), np.uint16),
    ('level1_f', (3442, 3), np.uint16),
    ('level2_idx', (431, ), np.uint16),
    ('level2_f', (858, 3), np.uint16),
    ('vertex_groups', (6890, ), np.uint8),
    ('mirror_idx', (6890, ), np.uint16),
])
def test_layout(asset, key, shape, dtype):
    assert asset[key].shape == shape
    assert asset[key].dtype == dtype


def test_smpl_tree(asset):
    assert tuple(asset['parents']) == PARENTS


def test_provenance_names_source_and_licence(asset):
    provenance = json.loads(str(asset['provenance']))
    assert provenance['license'] == 'CC0-1.0'
    assert {'source', 'package', 'tool', 'settings'} <= provenance.keys()


@pytest.mark.parametrize('level', (0, 1, 2))
def test_levels_are_closed_and_of_genus_zero(asset, level):
    faces = level_faces(asset, level)
    np.testing.assert_array_equal(np.unique(faces), np.arange(SIZES[level]))
    half_edges = faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    directed = {tuple(edge) for edge in half_edges.tolist()}
    assert len(directed) == len(half_edges)
    assert all((b, a) in directed for a, b in directed)
    graph = sparse.coo_matrix((np.ones(len(half_edges)), half_edges.T),
                              shape=(SIZES[level], ) * 2)
    assert connected_components(graph, directed=False)[0] == 1
    assert SIZES[level] - len(half_edges) // 2 + len(faces) == 2


def test_faces_look_outwards(asset):
    a, b, c = asset['v_template'][asset['f'].astype(int).T].astype(float)
    volume = np.einsum('fc,fc->', a, np.cross(b, c)) / 6
    assert 0.04 < volume < 0.11  # cubic metres, about a litre a kilogram


def test_stands_like_smpl(asset):
    template = asset['v_template']
    joints = regressor(asset, 'J_regressor') @ template
    size = np.ptp(template, axis=0)
    assert 1.5 < size[1] < 1.9 and 1.4 < size[0] < 1.95
    assert size[2] < 0.45
    # x left, y up, z forward; arms along x.
    assert joints[16, 0] > 0 and joints[15, 1] > joints[0, 1]
    assert joints[10, 2] > joints[7, 2] + 0.05
    np.testing.assert_allclose(
        joints[[18, 20], 1:], joints[[16, 16], 1:], atol=0.02)
    nose = regressor(asset, 'J_regressor_coco')[0] @ template
    assert nose[2] > joints[15, 2] + 0.05


def test_mirror_is_an_involution(asset):
    mirror = asset['mirror_idx'].astype(int)
    np.testing.assert_array_equal(mirror[mirror], np.arange(SIZES[0]))
    seam = mirror == np.arange(SIZES[0])
    assert 50 < seam.sum() < 400
    np.testing.assert_array_equal(asset['v_template'][seam, 0], 0)


def test_geometry_is_exactly_symmetric(asset):
    mirror = asset['mirror_idx'].astype(int)
    np.testing.assert_array_equal(asset['v_template'][mirror] * FLIP,
                                  asset['v_template'])
    np.testing.assert_array_equal(asset['shapedirs'][mirror] * FLIP[:, None],
                                  asset['shapedirs'])
    dense = weights(asset)
    np.testing.assert_allclose(
        dense[mirror][:, MIRRORED['J_regressor']], dense, atol=1e-7)
    np.testing.assert_array_equal(asset['vertex_groups'][mirror],
                                  asset['vertex_groups'])


@pytest.mark.parametrize('level', (0, 1, 2))
def test_levels_are_exactly_symmetric(asset, level):
    indices = level_indices(asset, level)
    mirror = asset['mirror_idx'].astype(int)
    faces = indices[level_faces(asset, level)]
    same = {tuple(sorted(f)) for f in faces.tolist()}
    assert {tuple(sorted(f)) for f in mirror[faces].tolist()} == same


@pytest.mark.parametrize('fine, coarse', [(0, 1), (1, 2)])
def test_upsampling_is_symmetric(asset, fine, coarse):
    mirror = asset['mirror_idx'].astype(int)
    rows, columns = (
        np.searchsorted(
            level_indices(asset, n), mirror[level_indices(asset, n)])
        for n in (fine, coarse))
    matrix = upsampling(asset, fine, coarse)
    assert abs(matrix[rows][:, columns] - matrix).max() < 1e-6


def test_skinning_weights_sum_to_one(asset):
    dense = weights(asset)
    assert dense.min() >= 0
    np.testing.assert_allclose(dense.sum(axis=1), 1, atol=1e-6)
    assert dense.max(axis=0).min() > 0.3  # every joint moves something


def test_levels_are_nested_subsets(asset):
    first, second = level_indices(asset, 1), level_indices(asset, 2)
    assert (np.diff(first) > 0).all() and (np.diff(second) > 0).all()
    assert np.isin(second, first).all()


@pytest.mark.parametrize('fine, coarse', [(0, 1), (1, 2)])
def test_upsampling_keeps_coarse_vertices_and_sums(asset, fine, coarse):
    matrix = upsampling(asset, fine, coarse)
    np.testing.assert_allclose(matrix.sum(axis=1), 1, atol=1e-5)
    kept = np.searchsorted(
        level_indices(asset, fine), level_indices(asset, coarse))
    difference = matrix[kept] - sparse.identity(SIZES[coarse])
    assert abs(difference).max() == 0


def test_upsampling_follows_the_surface(asset):
    """Template and shapes, which the fit saw only under other poses."""
    both = upsampling(asset, 0, 1) @ upsampling(asset, 1, 2)
    body = asset['v_template'] + 2 * asset['shapedirs'][..., 1]
    for vertices in (asset['v_template'], body):
        error = np.linalg.norm(
            both @ vertices[level_indices(asset, 2)] - vertices, axis=1)
        assert error.mean() < 0.002
        assert error.max() < 0.02


@pytest.mark.parametrize('name', sorted(MIRRORED))
def test_regressors_are_convex_sparse_and_symmetric(asset, name):
    rows = regressor(asset, name)
    mirror = asset['mirror_idx'].astype(int)
    assert rows.min() >= 0
    np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-6)
    assert (rows > 0).sum(axis=1).max() < 200
    np.testing.assert_allclose(
        rows[list(MIRRORED[name])][:, mirror], rows, atol=1e-7)


def test_joints_lie_inside_the_body(asset):
    """By the winding number (Jacobson et al. 2013), 1 inside, 0 outside."""
    template = asset['v_template'].astype(float)
    corners = template[asset['f'].astype(int)]
    joints = np.concatenate([
        regressor(asset, 'J_regressor') @ template,
        (regressor(asset, 'J_regressor_coco') @ template)[5:],
        (regressor(asset, 'J_regressor_h36m') @ template)[:9],
    ])
    for joint in joints:
        a, b, c = (corners - joint).transpose(1, 0, 2)
        la, lb, lc = (np.linalg.norm(v, axis=1) for v in (a, b, c))
        triple = np.einsum('fc,fc->f', a, np.cross(b, c))
        rest = (
            la * lb * lc + (a * b).sum(1) * lc + (b * c).sum(1) * la +
            (c * a).sum(1) * lb)
        winding = np.arctan2(triple, rest).sum() / (2 * np.pi)
        assert winding == pytest.approx(1, abs=0.01), joint


def test_face_keypoints_lie_on_the_face(asset):
    template = asset['v_template']
    coco = regressor(asset, 'J_regressor_coco') @ template
    nose, left_eye, _, left_ear, _ = coco[:5]
    head_top = regressor(asset, 'J_regressor_h36m')[10] @ template
    assert nose[2] > left_eye[2] > left_ear[2]
    assert left_ear[0] > left_eye[0] > nose[0] - 1e-6
    assert 0.02 < left_eye[0] < 0.045
    assert left_eye[1] > nose[1]
    assert head_top[1] > template[:, 1].max() - 0.01
    for point in (nose, left_eye, left_ear, head_top):
        gap = np.linalg.norm(template - point, axis=1).min()
        assert gap < 0.012


def test_clothing_covers_what_it_should(asset):
    names = asset['group_names'].tolist()
    group = np.array(names)[asset['vertex_groups']]
    assert len(set(names)) == len(names)
    assert set(group) == set(names)  # none is empty
    joints = regressor(asset, 'J_regressor') @ asset['v_template']
    y = asset['v_template'][:, 1]
    assert y[group == 'shoes'].max() < joints[7, 1] + 0.05
    assert y[group == 'hair'].min() > joints[12, 1]
    assert y[group == 'trousers'].min() > joints[4, 1]
    assert y[group == 'lower_legs'].max() < y[group == 'trousers'].min() + .01
    hands = np.abs(asset['v_template'][:, 0]) > joints[20, 0] + 0.01
    assert set(group[hands]) == {'skin'}


def test_shapes_are_ordered_and_sized_like_people(asset):
    template, shapes = asset['v_template'], asset['shapedirs']
    energy = (shapes.astype(float)**2).sum(axis=(0, 1))
    assert (np.diff(energy) < 0).all()
    top, bottom = template[:, 1].argmax(), template[:, 1].argmin()
    tall = shapes[top, 1] - shapes[bottom, 1]
    assert (tall >= 0).all()
    assert 0.04 < np.linalg.norm(tall) < 0.15  # metres a standard deviation
