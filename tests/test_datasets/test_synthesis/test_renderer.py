# Copyright (c) The mpm_postometro authors. All rights reserved.
import numpy as np
import pytest

from mpm_postometro.bodies.body_io import read_body
from mpm_postometro.datasets.synthesis import NumpyBody
from mpm_postometro.datasets.synthesis.appearance import (Appearance,
                                                          AppearanceSampler)
from mpm_postometro.datasets.synthesis.backgrounds import BackgroundPainter
from mpm_postometro.datasets.synthesis.limbs import rotation_z
from mpm_postometro.datasets.synthesis.occluders import (OCCLUDERS,
                                                         ObjectOccluder)
from mpm_postometro.datasets.synthesis.persons import (Layer, Light,
                                                       PersonPainter)
from mpm_postometro.datasets.synthesis.textures import texture_library

SIZE = 96


@pytest.fixture(scope='module')
def body():
    return NumpyBody(read_body(None))


def _paint(body, supersample, shift=0., size=SIZE):
    """The T pose, leaning, seen from the front, in plain grey."""
    # Leaning, so that arms do not run along rows of pixels.
    vertices = body.v_template * [1, -1, -1] @ rotation_z(25).T + [0, 0, 4]
    count = len(vertices)
    intrinsics = np.array([[160, 0, 47.5 + shift], [0, 160, 47.5], [0, 0, 1.]])
    look = Appearance(
        np.full((count, 3), 100., np.float32), None, None, None, 1.,
        np.zeros(count, np.float32))
    light = Light(
        np.float32([0, 0, -1]), np.zeros(3, np.float32),
        np.ones(3, np.float32), np.float32([0, -1, 0]))
    painter = PersonPainter(body.faces, count, supersample)
    layer = painter.paint(
        vertices.astype(np.float32), body.v_template,
        intrinsics.astype(np.float32), look, light, size, True)
    image = np.zeros((size, size, 3), np.uint8)
    layer.paint(image)
    return layer, image, vertices, intrinsics


def _centroid(layer):
    y, x = np.mgrid[:layer.alpha.shape[0], :layer.alpha.shape[1]]
    weight = layer.alpha / layer.alpha.sum(dtype=float)
    return np.array([(weight * x).sum(), (weight * y).sum()]) + layer.origin


@pytest.mark.parametrize('supersample', [1., 1.25, 1.5, 3.])
def test_person_is_drawn_to_a_fraction_of_a_pixel(body, supersample):
    # A drawing 8 times as fine says where it should be. The mean over a few
    # shifts removes the noise of sampling.
    fine = _paint(body, 8.)[0]
    expected, found, areas = _centroid(fine), [], []
    for shift in (0., .2, .4, .6, .8):
        layer, image, _, _ = _paint(body, supersample, shift)
        found.append(_centroid(layer) - [shift, 0])
        areas.append(layer.alpha.sum(dtype=float))
        assert 85 < image.max() <= 100
    np.testing.assert_allclose(np.mean(found, 0), expected, atol=.06)
    assert np.mean(areas) == pytest.approx(
        fine.alpha.sum(dtype=float), rel=.04)


def test_person_outside_the_picture_is_still_whole(body):
    inside, _, _, _ = _paint(body, 1.)
    outside, image, _, _ = _paint(body, 1., shift=60.)
    assert abs(
        int((outside.alpha > 127).sum()) -
        int((inside.alpha > 127).sum())) < 30
    assert image[:, 70:].any() and not image[:, :40].any()


def test_layer_blends_by_coverage():
    image = np.full((4, 4, 3), 200, np.uint8)
    alpha = np.array([[0, 128, 255]], np.uint8)
    colour = np.uint8(100 * (alpha[..., None] / 255.).repeat(3, 2))
    Layer(colour, alpha, (2, 1)).paint(image)
    np.testing.assert_allclose(image[1, :, 0], [200, 200, 200, 150], atol=1)
    assert (image[[0, 2, 3]] == 200).all()
    assert Layer(colour, alpha, (9, 9)).overlap(4) is None
    Layer(colour, alpha, (-2, 0)).paint(image)
    assert image[0, 0, 0] == 100


def test_vertex_normals_point_outwards(body):
    painter = PersonPainter(body.faces, len(body.v_template), 1.)
    normals = painter.normals(body.v_template)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-4)
    centre = body.v_template.mean(0)
    nose = np.argmax(body.v_template[:, 2])
    crown = np.argmax(body.v_template[:, 1])
    for vertex, axis in ((nose, 2), (crown, 1)):
        assert normals[vertex] @ (body.v_template[vertex] - centre) > 0
        assert normals[vertex, axis] > .5


@pytest.mark.parametrize('kind', range(len(OCCLUDERS)))
def test_objects_hide_about_what_is_wanted(kind):
    visible = np.zeros((SIZE, SIZE), bool)
    visible[10:86, 32:64] = True
    total = int(visible.sum())
    painter = ObjectOccluder(texture_library(), SIZE)
    painter._shapes = [painter._shapes[kind]]
    painter._edges = np.ones(1)
    found, wanted = [], np.linspace(.1, .6, 12)
    for seed, target in enumerate(wanted):
        layer = painter.paint(
            np.random.default_rng(seed), visible, total, target)
        inside, own = layer.overlap(SIZE)
        hidden = visible[inside] & (layer.alpha[own] > 127)
        found.append(hidden.sum() / total)
    assert np.corrcoef(found, wanted)[0, 1] > .8
    assert abs(np.array(found) - wanted).mean() < .12


def test_nothing_to_hide():
    painter = ObjectOccluder(texture_library(), SIZE)
    visible = np.zeros((SIZE, SIZE), bool)
    assert painter.paint(np.random.default_rng(0), visible, 50, .5) is None


def test_clothes_follow_the_groups(body):
    data = body.data
    sampler = AppearanceSampler(data.vertex_groups, data.group_names,
                                texture_library())
    count, changed = len(body.v_template), set()
    for seed in range(6):
        look = sampler.sample(np.random.default_rng(seed), count)
        for group in range(len(data.group_names)):
            colours = look.colours[data.vertex_groups == group]
            assert np.ptp(colours, axis=0).max(initial=0) == 0
        changed.add(tuple(look.colours[data.vertex_groups == 2][0]))
        # Bare skin and eyes stay where they are.
        for name in ('skin', 'eyes'):
            if name in data.group_names:
                bare = data.vertex_groups == data.group_names.index(name)
                assert (look.puff[bare] == 0).all()
        assert 0 <= look.puff.min() and look.puff.max() < .03
    assert len(changed) == 6
    # A body file without groups gets one colour.
    look = AppearanceSampler(None, (), texture_library()).sample(
        np.random.default_rng(0), count)
    assert look.colours.shape == (count, 3)


def test_textures_repeat_without_a_seam():
    for name, pattern in zip(texture_library().names,
                             texture_library().patterns):
        assert pattern.shape == (128, 128) and pattern.dtype == np.uint8
        if name in ('smooth', 'grain'):
            inner = np.abs(np.diff(pattern.astype(int), axis=0)).mean()
            seam = np.abs(pattern[0].astype(int) - pattern[-1]).mean()
            assert seam < 3 * inner + 1, name


def test_backgrounds_have_a_floor_below_the_horizon():
    """The floor is drawn below the horizon and nothing else is."""
    painter = BackgroundPainter(texture_library(), SIZE)
    image = np.zeros((SIZE, SIZE, 3), np.uint8)
    rotation = np.diag([1., -1., -1.])
    intrinsics = np.array([[100., 0, 47.5], [0, 100, 47.5], [0, 0, 1]])
    line = rotation[:, 1] @ np.linalg.inv(intrinsics)
    painter._floor(
        np.random.default_rng(1), image, intrinsics, rotation,
        np.array([0, 1., 4.]), line, True)
    assert not image[:47].any()
    assert (image[49:].max(-1) > 0).mean() > .95
    pictures = [
        painter.paint(
            np.random.default_rng(seed), intrinsics, rotation,
            np.array([0, 1., 4.])) for seed in range(12)
    ]
    assert all(p.shape == (SIZE, SIZE, 3) and p.dtype == np.uint8
               for p in pictures)
    assert np.stack(pictures).std((1, 2)).mean() > 10
