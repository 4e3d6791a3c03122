# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Parts of the bake of the built-in body, on meshes made here."""
import importlib
import io
import time
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from mpm_postometro.bodies import load_body
from mpm_postometro.bodies.body_io import read_body


@pytest.fixture(scope='module')
def bake(repo_root):
    """The tool ``bake_body.py`` with its modules as attributes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(repo_root / 'tools' / 'dataset_converters')
        tool = importlib.import_module('bake_body')
        for name in ('archive', 'decimation', 'posing', 'regressors',
                     'surface', 'upsampling'):
            setattr(tool, name, importlib.import_module(f'body_bake.{name}'))
        yield tool


def _cube(size):
    """Surface of a cube [-1, 1]^3 in ``size`` steps: vertices, quads, mirror.

    With an even ``size`` there are vertices on the plane x = 0.
    """
    half = size // 2
    grid = np.stack(
        np.meshgrid(*[np.arange(-half, half + 1)] * 3, indexing='ij'),
        -1).reshape(-1, 3)
    points = grid[np.abs(grid).max(1) == half]
    index = {tuple(p): i for i, p in enumerate(points.tolist())}
    quads = []
    for axis in range(3):
        for side in (-half, half):
            for i in range(-half, half):
                for j in range(-half, half):
                    corners = []
                    for du, dv in ((0, 0), (1, 0), (1, 1), (0, 1)):
                        place = [0, 0, 0]
                        place[axis] = side
                        place[(axis + 1) % 3] = i + du
                        place[(axis + 2) % 3] = j + dv
                        corners.append(index[tuple(place)])
                    quads.append(corners[::int(np.sign(side))])
    mirror = np.array([index[(-x, y, z)] for x, y, z in points.tolist()])
    return points / half, np.array(quads), mirror


def _egg(size):
    """As :func:`_cube`, round, and symmetric in x alone."""
    vertices, quads, mirror = _cube(size)
    vertices = vertices / np.linalg.norm(vertices, axis=1, keepdims=True)
    vertices[:, 1] *= 1.4 + .3 * vertices[:, 2]
    return vertices, quads, mirror


def _volume(vertices, faces):
    a, b, c = vertices[faces.T]
    return np.einsum('fc,fc->', a, np.cross(b, c)) / 6


def _is_closed(bake, faces, vertices):
    report = bake.surface.mesh_report(faces)
    assert report.pop('faces') == 2 * vertices - 4
    return report == dict(
        vertices=vertices, open_edges=0, components=1, genus=0)


def test_report_of_surfaces(bake):
    vertices, quads, _ = _cube(2)
    faces = bake.surface.triangulate(quads, vertices)
    assert _is_closed(bake, faces, 26)
    assert bake.surface.mesh_report(faces[1:])['open_edges'] == 3
    two = np.concatenate([faces, faces + 26])
    assert bake.surface.mesh_report(two)['components'] == 2
    # A ring of 4 x 4 quads, closed both ways.
    i, j = np.divmod(np.arange(16), 4)
    around, along = (i + 1) % 4 * 4 + j, i * 4 + (j + 1) % 4
    both = (i + 1) % 4 * 4 + (j + 1) % 4
    ring = np.stack([i * 4 + j, around, both, along], 1)
    ring = ring[:, [0, 1, 2, 0, 2, 3]].reshape(-1, 3)
    assert bake.surface.mesh_report(ring)['genus'] == 1


def test_decimation_keeps_edges_and_corners(bake):
    """A cube's flat sides lose their vertices, its shape stays."""
    vertices, quads, _ = _cube(4)
    faces = bake.surface.triangulate(quads, vertices)
    collapser = bake.decimation.HalfEdgeCollapser(
        vertices[None], faces, mirrored=False)
    before = set(range(len(vertices)))
    for level, count in zip(collapser.run([60, 30]), (60, 30)):
        assert _is_closed(bake, level.faces, count)
        assert _volume(vertices, level.faces) == pytest.approx(8)
        corners = np.nonzero((np.abs(vertices) == 1).all(1))[0]
        assert set(corners) <= set(level.vertices) <= before
        before = set(level.vertices)


def test_decimation_goes_by_every_pose(bake):
    """What is flat at rest and bent in another pose is kept."""
    vertices, quads, _ = _cube(8)
    faces = bake.surface.triangulate(quads, vertices)
    bent = vertices.copy()
    bent[:, 2] += .5 * np.abs(vertices[:, 0])
    for poses, kept in (([vertices, vertices], False), ([vertices,
                                                         bent], True)):
        (level, ) = bake.decimation.HalfEdgeCollapser(
            np.stack(poses), faces, mirrored=False).run([60])
        same = _volume(bent, level.faces) == pytest.approx(8, abs=1e-6)
        assert same == kept


def test_cavities_go_first_and_locked_vertices_stay(bake):
    vertices, quads, _ = _egg(6)
    faces = bake.surface.triangulate(quads, vertices)
    hidden = vertices[:, 2] > .8
    locked = int(vertices[:, 2].argmax())
    hidden[locked] = False
    (level, ) = bake.decimation.HalfEdgeCollapser(
        vertices[None], faces, hidden, [locked],
        mirrored=False).run([len(vertices) - hidden.sum()])
    assert hidden.sum() > 5
    assert not hidden[level.vertices].any() and locked in level.vertices
    assert _is_closed(bake, level.faces, len(level.vertices))


def test_decimation_says_when_it_cannot(bake):
    vertices, quads, _ = _cube(2)
    faces = bake.surface.triangulate(quads, vertices)
    with pytest.raises(RuntimeError, match='expected to reach 3'):
        bake.decimation.HalfEdgeCollapser(
            vertices[None], faces, mirrored=False).run([3])


@pytest.fixture(scope='module')
def levels(bake):
    """An egg of 218 vertices and its levels of 90 and 40."""
    vertices, quads, mirror = _egg(6)
    mesh = SimpleNamespace(
        vertices=vertices, quads=quads, mirror=mirror, num_body=len(vertices))
    surface = bake.Surface(None, np.zeros(len(vertices), bool), ())
    told = []
    found = bake.symmetric_levels(vertices[None], mesh, surface, (90, 40),
                                  told.append)
    assert told == sorted(told, reverse=True) and told[-1] == 40
    return vertices, bake.surface.triangulate(quads, vertices), mirror, found


def test_levels_are_closed_nested_and_symmetric(bake, levels):
    vertices, _, mirror, found = levels
    before = set(range(len(vertices)))
    for level, count, share in zip(found, (90, 40), (.93, .8)):
        assert _is_closed(bake, level.faces, count)
        assert set(level.vertices) <= before
        before = set(level.vertices)
        np.testing.assert_array_equal(np.unique(level.faces), level.vertices)
        # The mirror image is the same surface, turned inside out.
        turns = {
            tuple(np.roll(face, k))
            for face in level.faces
            for k in range(3)
        }
        assert all(tuple(f) in turns for f in mirror[level.faces][:, ::-1])
        full = _volume(vertices, levels[1])
        assert share * full < _volume(vertices, level.faces) < 1.01 * full


def test_upsampling_matrices(bake, levels):
    vertices, faces, mirror, (first, _) = levels
    coarse = first.vertices
    rng = np.random.default_rng(0)

    def affine(count):
        return vertices @ rng.normal(size=(count, 3, 3))

    matrix = bake.fit_upsampling(
        affine(20), vertices, faces, coarse, mirror=mirror)
    assert matrix.shape == (len(vertices), 90)
    assert matrix.dtype == np.float32
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-5)
    np.testing.assert_array_equal(matrix[coarse].toarray(), np.eye(90))
    assert (matrix.getnnz(axis=1) <= 32).all()
    # Exactly its own mirror image.
    columns = np.searchsorted(coarse, mirror[coarse])
    assert abs(matrix[mirror][:, columns] - matrix).max() < 1e-7
    # Linear maps of the rest pose that the fit has not seen.
    for shape in affine(3):
        error = np.linalg.norm(matrix @ shape[coarse] - shape, axis=1)
        assert error.max() < .01 * np.linalg.norm(shape, axis=1).mean()


def test_what_is_mirrored_is_exact(bake):
    vertices, _, mirror = _egg(4)
    seam = mirror == np.arange(len(mirror))
    left = (vertices[:, 0] > 0) | seam
    flip = np.array([-1, 1, 1], np.float32)
    rng = np.random.default_rng(0)
    crooked = vertices + rng.normal(0, .01, vertices.shape)
    shapes = rng.normal(size=(*vertices.shape, 4))
    for array, sign in ((crooked, flip), (shapes, flip[:, None])):
        even = bake.mirror_exactly(array, mirror, left)
        np.testing.assert_array_equal(even[mirror] * sign, even)
        side = left & ~seam
        np.testing.assert_array_equal(even[side], np.float32(array[side]))

    weights = rng.random((len(vertices), 24))**4
    partners = bake.MIRROR_JOINTS
    weights[seam] += weights[seam][:, partners]
    joints, values = bake.strongest_weights(weights, mirror, left)
    dense = np.zeros((len(vertices), 24))
    np.add.at(dense, (np.arange(len(vertices))[:, None], joints), values)
    np.testing.assert_allclose(dense.sum(1), 1, atol=1e-6)
    np.testing.assert_allclose(dense[mirror][:, partners], dense, atol=1e-7)
    strongest = weights.argmax(1)
    assert (dense.argmax(1) == strongest)[left & ~seam].all()


def test_principal_shapes_are_standard_deviations(bake):
    rng = np.random.default_rng(0)
    vertices, _, _ = _egg(4)
    taller, wider = vertices * [0, .1, 0], vertices * [.03, 0, 0]
    betas = rng.normal(size=(400, 2))
    noise = rng.normal(0, 1e-4, (400, *vertices.shape))
    bodies = vertices + np.einsum('nk,kvc->nvc', betas,
                                  np.stack([taller, wider])) + noise
    mean, directions, share = bake.principal_shapes(bodies)
    assert directions.shape == (*vertices.shape, 10) and share > .99
    np.testing.assert_allclose(mean, vertices, atol=.02)
    # The larger one first, positive is taller.
    np.testing.assert_allclose(directions[..., 0], taller, atol=.015)


def test_joint_is_a_convex_sum_of_vertices(bake):
    vertices, _, mirror = _egg(4)
    rng = np.random.default_rng(0)
    bodies = vertices @ rng.normal(size=(30, 3, 3))
    side = np.nonzero(vertices[:, 0] > .1)[0]
    true = np.zeros(len(vertices))
    true[side[:5]] = .2
    row = bake.regressors.fit_row(bodies, true @ bodies, side, side)
    assert row.min() >= 0 and row.sum() == pytest.approx(1)
    assert not row[vertices[:, 0] <= .1].any()
    np.testing.assert_allclose(row @ bodies, true @ bodies, atol=.02)
    even = bake.regressors.fit_row(bodies, np.zeros((30, 3)), side,
                                   mirror[side])
    np.testing.assert_allclose(even[mirror], even)


def test_skinning_is_that_of_the_body_model(bake):
    body = load_body(dtype=torch.float64)
    betas = torch.zeros(2, 10, dtype=torch.float64)
    pose = bake.random_poses(2, np.random.default_rng(0), bake.MIRROR_JOINTS)
    still = torch.zeros(2, 23, 3, dtype=torch.float64)
    rest = body(betas, still, still[:, 0])
    moved = body(betas, torch.from_numpy(pose[:, 1:]),
                 torch.from_numpy(pose[:, 0]))
    posed = bake.skin(rest.vertices.numpy(), rest.joints.numpy(),
                      read_body(None).weights, bake.PARENTS, pose)
    np.testing.assert_allclose(posed, moved.vertices, atol=1e-6)


def test_what_lies_inside_is_not_seen(bake):
    vertices, quads, _ = _egg(6)
    faces = bake.surface.triangulate(quads, vertices)
    count = len(vertices)
    both = .04 * np.concatenate([vertices, .5 * vertices])  # metres
    seen = bake.surface.visible_vertices(
        both, np.concatenate([faces, faces + count]))
    assert (seen[:count] > 20).all() and not seen[count:].any()


def test_archive_depends_on_the_arrays_alone(bake, monkeypatch):
    rng = np.random.default_rng(0)
    arrays = dict(
        b=rng.random((5, 4)).astype(np.float32).T,
        a=np.arange(300, dtype=np.uint16),
        text=np.array('{"seed": 0}'))
    first = bake.npz_bytes(arrays)
    monkeypatch.setattr(time, 'time', lambda: 2e9)
    monkeypatch.setattr(time, 'localtime', lambda *_: time.gmtime(2e9))
    again = {key: np.array(arrays[key], order='C') for key in sorted(arrays)}
    same = bake.npz_bytes(again) == first
    assert same  # a comparison of bytes would take pytest minutes to print
    with np.load(io.BytesIO(first), allow_pickle=False) as read:
        assert read.files == ['a', 'b', 'text']
        for key, value in arrays.items():
            np.testing.assert_array_equal(read[key], value)
            assert read[key].dtype == value.dtype
            assert read[key].shape == value.shape
    with zipfile.ZipFile(io.BytesIO(first)) as archive:
        for info in archive.infolist():
            assert info.date_time == (1980, 1, 1, 0, 0, 0)
    with pytest.raises(ValueError):
        bake.npz_bytes(dict(a=np.array([{}], dtype=object)))
