# Copyright (c) The mpm_postometro authors. All rights reserved.
import numpy as np
import pytest

from mpm_postometro.bodies.rasterizer import (face_normals, rasterize,
                                              vertex_normals)


def _sphere(subdivisions=3):
    trimesh = pytest.importorskip('trimesh')
    sphere = trimesh.creation.icosphere(subdivisions=subdivisions)
    return sphere.vertices.astype(np.float32), np.asarray(sphere.faces)


@pytest.mark.parametrize('perspective', [True, False])
@pytest.mark.parametrize('cull', [True, False])
def test_sphere_fills_its_disc(perspective, cull):
    vertices, faces = _sphere()
    # x right, y down, z forward: the mesh stays right-handed.
    points = vertices * [30, 30, 30] + [40, 50, 2000]
    fragments = rasterize(
        points[:, :2],
        points[:, 2],
        faces, (96, 80),
        perspective=perspective,
        cull_back_faces=cull)
    grid_y, grid_x = np.mgrid[:96, :80]
    radius = np.hypot(grid_x - 40, grid_y - 50)
    assert fragments.mask[radius < 29].all()
    assert not fragments.mask[radius > 30.01].any()
    # The near hemisphere is the one that is seen.
    inside = radius < 25
    expected = 2000 - np.sqrt(30**2 - radius[inside]**2)
    assert np.abs(fragments.depth[inside] - expected).max() < 0.5
    assert np.isinf(fragments.depth[~fragments.mask]).all()
    assert (fragments.face_ids[~fragments.mask] == -1).all()


def test_back_face_culling_changes_nothing_on_a_closed_mesh():
    vertices, faces = _sphere()
    points = vertices * 20 + [31.3, 29.8, 100]
    both = [
        rasterize(
            points[:, :2], points[:, 2], faces, (64, 64), cull_back_faces=cull)
        for cull in (True, False)
    ]
    same = both[0].face_ids == both[1].face_ids
    assert same.mean() > 0.995  # silhouette pixels may see an edge-on face
    assert (both[0].mask == both[1].mask).mean() > 0.995
    # Inside out, only the far side would be left.
    far = rasterize(
        points[:, :2],
        points[:, 2],
        faces[:, ::-1], (64, 64),
        cull_back_faces=True)
    assert far.depth[30, 31] > 100 > both[0].depth[30, 31]


def test_edges_belong_to_somebody_and_pixel_centres_are_integers():
    xy = np.array([[0, 0], [4, 0], [4, 4], [0, 4]], dtype=np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    fragments = rasterize(xy, np.ones(4), faces, (7, 7))
    expected = np.zeros((7, 7), dtype=bool)
    expected[:5, :5] = True
    assert np.array_equal(fragments.mask, expected)


def test_barycentrics_are_perspective_correct():
    # A strip that recedes from depth 1 to depth 3: halfway across the
    # picture the depth is 1.5, and the surface has gone a quarter of its way.
    xy = np.array([[0, -9], [0, 9], [10, 9], [10, -9]], dtype=np.float32)
    depth = np.array([1, 1, 3, 3], dtype=np.float32)
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    fragments = rasterize(xy, depth, faces, (5, 11))
    along = fragments.interpolate(faces, np.array([[0], [0], [1], [1]]))
    np.testing.assert_allclose(fragments.depth[:, 5], 1.5, rtol=1e-5)
    np.testing.assert_allclose(along[:, 5, 0], 0.25, rtol=1e-4)
    flat = rasterize(xy, depth, faces, (5, 11), perspective=False)
    np.testing.assert_allclose(flat.depth[:, 5], 2., rtol=1e-5)
    np.testing.assert_allclose(
        flat.interpolate(faces, np.array([[0], [0], [1], [1]]))[:, 5, 0],
        0.5,
        rtol=1e-4)
    np.testing.assert_allclose(fragments.barycentrics.sum(-1), 1, rtol=1e-5)


def test_what_is_behind_the_camera_is_left_out():
    xy = np.array([[0, 0], [9, 0], [0, 9]], dtype=np.float32)
    faces = np.array([[0, 1, 2]])
    behind = rasterize(xy, np.array([1., -1., 1.]), faces, (10, 10))
    assert not behind.mask.any()
    assert rasterize(
        xy, np.array([1., -1., 1.]), faces, (10, 10),
        perspective=False).mask.any()


def test_chunks_give_the_same_picture(monkeypatch):
    vertices, faces = _sphere(2)
    points = vertices * 20 + [31, 30, 100]
    whole = rasterize(points[:, :2], points[:, 2], faces, (64, 64))
    monkeypatch.setattr('mpm_postometro.bodies.rasterizer._CHUNK', 50)
    parts = rasterize(points[:, :2], points[:, 2], faces, (64, 64))
    for one, other in zip(whole, parts):
        np.testing.assert_array_equal(one, other)


def test_normals_point_outward():
    vertices, faces = _sphere()
    normals = vertex_normals(vertices, faces)
    assert (normals * vertices).sum(1).min() > 0.99
    centres = vertices[faces].mean(1)
    assert ((face_normals(vertices, faces) * centres).sum(1) > 0).all()


def test_wrong_shapes_are_named():
    with pytest.raises(ValueError, match='xy'):
        rasterize(np.zeros((3, 3)), np.zeros(3), np.zeros((1, 3), int), (4, 4))
    with pytest.raises(ValueError, match='faces'):
        rasterize(np.zeros((3, 2)), np.zeros(3), np.zeros((1, 4), int), (4, 4))
