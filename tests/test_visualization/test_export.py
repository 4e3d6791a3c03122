# Copyright (c) The mpm_postometro authors. All rights reserved.
import numpy as np
import pytest

from mpm_postometro.visualization.export import camera_to_y_up, export_mesh

trimesh = pytest.importorskip('trimesh')


@pytest.fixture
def mesh():
    """A closed mesh whose vertices come in no particular order."""
    ball = trimesh.creation.icosphere(2)
    order = np.random.default_rng(0).permutation(len(ball.vertices))
    vertices = np.empty_like(ball.vertices)
    vertices[order] = ball.vertices
    return (vertices * [1, 2, 1] + [.1, .2, 3]).astype(np.float32), \
        order[ball.faces]


@pytest.mark.parametrize('kind', ['obj', 'glb'])
@pytest.mark.parametrize('colored', [False, True])
def test_round_trip_keeps_order_and_turns_y_up(tmp_path, mesh, kind, colored):
    vertices, faces = mesh
    color = (10, 128, 250)
    if colored:
        color = np.random.default_rng(1).integers(0, 256, vertices.shape)
    path = export_mesh(
        tmp_path / 'new' / f'm.{kind}', vertices, faces, color=color)
    read = trimesh.load(path, process=False, force='mesh')
    np.testing.assert_allclose(
        read.vertices, vertices * [1, -1, -1], atol=1e-6)
    np.testing.assert_array_equal(read.faces, faces)
    assert read.is_volume, 'closed, and the normals point outward'
    assert (read.vertex_normals *
            (read.vertices - read.centroid)).sum(1).min() > 0
    as_is = export_mesh(tmp_path / f'n.{kind}', vertices, faces, y_up=False)
    np.testing.assert_allclose(
        trimesh.load(as_is, process=False, force='mesh').vertices,
        vertices,
        atol=1e-6)


def test_glb_is_not_black_metal(tmp_path, mesh):
    path = export_mesh(tmp_path / 'm.glb', *mesh, color=(255, 128, 0))
    material = trimesh.load(path, process=False, force='mesh').visual.material
    assert material.metallicFactor == 0
    # 128 of 255 in sRGB is a fifth of the light.
    np.testing.assert_allclose(
        np.asarray(material.baseColorFactor) / 255, [1, .216, 0, 1], atol=.003)


def test_y_up_is_its_own_inverse():
    points = np.random.default_rng(0).normal(size=(5, 3))
    np.testing.assert_array_equal(
        camera_to_y_up(camera_to_y_up(points)), points)
    assert camera_to_y_up(np.array([0., -1., 0.]))[1] == 1


def test_wrong_input_is_named(tmp_path, mesh):
    with pytest.raises(ValueError, match='stl'):
        export_mesh(tmp_path / 'm.stl', *mesh)
    with pytest.raises(ValueError, match='m.obj.*vertices'):
        export_mesh(tmp_path / 'm.obj', mesh[0][:, :2], mesh[1])
    with pytest.raises(ValueError, match='color'):
        export_mesh(tmp_path / 'm.obj', *mesh, color=[[1, 2, 3]])
    assert not list(tmp_path.iterdir())
