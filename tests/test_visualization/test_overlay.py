# Copyright (c) The mpm_postometro authors. All rights reserved.
import numpy as np
import pytest

from mpm_postometro.visualization.overlay import (overlay_perspective,
                                                  overlay_weak_perspective,
                                                  person_panel, render_view,
                                                  stack_panels)

trimesh = pytest.importorskip('trimesh')


def _ball(radius=.5, subdivisions=4):
    ball = trimesh.creation.icosphere(subdivisions, radius)
    return ball.vertices.astype(np.float32), np.asarray(ball.faces)


def _changed(image, drawn):
    return (image != drawn).any(-1)


def _iou(one, other):
    return (one & other).sum() / (one | other).sum()


def _disc(center, radius, shape):
    y, x = np.mgrid[:shape[0], :shape[1]]
    return np.hypot(x - center[0], y - center[1]) <= radius


def _black(height=120, width=160):
    return np.zeros((height, width, 3), np.uint8)


def test_weak_overlay_covers_what_the_camera_says():
    vertices, faces = _ball()
    image = _black()
    # Half a metre of radius times s = 1.2 is .6 of half the region's 80 px.
    region = [30, 10, 110, 90]
    drawn = overlay_weak_perspective(
        image, vertices, faces, [1.2, .1, -.2], region, alpha=1.)
    center = 70 + 40 * 1.2 * .1, 50 - 40 * 1.2 * .2
    assert _iou(_changed(image, drawn), _disc(center, 24, (120, 160))) > .95
    assert not image.any(), 'the input must stay as it is'


def test_perspective_overlay_covers_what_the_camera_says():
    vertices, faces = _ball()
    image = _black()
    intrinsics = np.array([[150, 0, 80], [0, 150, 60], [0, 0, 1]])
    drawn = overlay_perspective(
        image, vertices, faces, intrinsics, [[.4, -.2, 5.]], alpha=1.)
    center = 80 + 150 * .4 / 5, 60 - 150 * .2 / 5
    radius = 150 * .5 / np.sqrt(5**2 - .5**2)
    assert _iou(_changed(image, drawn), _disc(center, radius,
                                              (120, 160))) > .94


def test_nearer_people_hide_farther_ones_in_any_order():
    vertices, faces = _ball()
    colors = np.array([[255, 0, 0], [0, 0, 255]])
    intrinsics = np.array([[150, 0, 80], [0, 150, 60], [0, 0, 1]])
    for order in ([0, 1], [1, 0]):
        places = np.array([[0, 0, 3.], [.3, 0, 6.]])[order]
        drawn = overlay_perspective(
            _black(),
            np.stack([vertices] * 2),
            faces,
            intrinsics,
            places,
            colors=colors[order],
            alpha=1.)
        blue, _, red = drawn[60, 80]
        assert blue > 60 and red == 0
        assert drawn[60, 95, 0] > 30  # of the near ball's rim, not the far
    # Of weak cameras, the one with the larger person is nearer.
    for order in ([0, 1], [1, 0]):
        camera = np.array([[1.2, 0, 0], [.4, .1, 0]])[order]
        drawn = overlay_weak_perspective(
            _black(),
            np.stack([vertices] * 2),
            faces,
            camera, [20, 0, 140, 120],
            colors=colors[order],
            alpha=1.)
        assert drawn[60, 80, 0] > 60 and drawn[60, 80, 2] == 0


def test_light_comes_from_the_camera_side_and_edges_are_soft():
    vertices, faces = _ball()
    drawn = overlay_weak_perspective(
        _black(),
        vertices,
        faces, [1.5, 0, 0], [20, 0, 140, 120],
        alpha=1.,
        colors=[255, 255, 255]).astype(int)
    top_left, bottom_right = drawn[40, 60, 0], drawn[85, 105, 0]
    assert top_left > 1.3 * bottom_right > 0
    rim = drawn[60, 30:40, 0]
    hard = overlay_weak_perspective(
        _black(),
        vertices,
        faces, [1.5, 0, 0], [20, 0, 140, 120],
        alpha=1.,
        colors=[255, 255, 255],
        supersample=1)
    levels = [
        len(
            np.unique(a[_disc((80, 60), 47, (120, 160))
                        ^ _disc((80, 60), 43, (120, 160))]))
        for a in (drawn, hard)
    ]
    assert levels[0] > levels[1] and (np.diff(rim) >= 0).all()


@pytest.mark.parametrize('camera', [[1., 9., 0.], [1., 0., -9.]])
def test_people_outside_the_picture_leave_it_alone(camera):
    vertices, faces = _ball()
    drawn = overlay_weak_perspective(_black(), vertices, faces, camera)
    assert not drawn.any()


def test_people_behind_the_camera_are_not_drawn():
    vertices, faces = _ball()
    intrinsics = np.array([[150, 0, 80], [0, 150, 60], [0, 0, 1]])
    drawn = overlay_perspective(_black(), vertices, faces, intrinsics,
                                [[0, 0, -5.]])
    assert not drawn.any()


def test_side_and_top_view_turn_the_right_way():
    # A small ball up, to the right and far from a big one.
    big, faces = _ball(.4, 3)
    small = big * .3 + np.array([1., -1., 1.])
    colors = np.array([[0, 0, 255], [255, 0, 0]])
    people = np.stack([big, small]).astype(np.float32)

    def where(view):
        picture = render_view(
            people, faces, view, 100, colors=colors,
            background=(0, 0, 0)).astype(int)
        y, x = np.nonzero(picture[..., 0] > picture[..., 2] + 20)
        v, u = np.nonzero(picture[..., 2] > picture[..., 0] + 20)
        assert len(x) and len(u)
        return np.sign([x.mean() - u.mean(), y.mean() - v.mean()]).tolist()

    assert where('front') == [1, -1]  # right and up
    assert where('side') == [1, -1]  # far is right, up is up
    assert where('top') == [1, -1]  # right is right, far is up
    with pytest.raises(ValueError, match='side'):
        render_view(people, faces, 'behind')


def test_panels_stand_in_one_row():
    vertices, faces = _ball()
    image = _black()
    panel = person_panel(image, image, vertices, faces, height=60)
    assert panel.shape == (60, 80 + 4 + 80 + 4 + 60 + 4 + 60, 3)
    both = stack_panels([image, image[:, :60]], height=120)
    assert both.shape == (120, 160 + 4 + 60, 3)


def test_wrong_input_is_named():
    vertices, faces = _ball(subdivisions=1)
    with pytest.raises(ValueError, match='uint8'):
        overlay_weak_perspective(_black().astype(float), vertices, faces,
                                 [1, 0, 0])
    with pytest.raises(ValueError, match='vertices'):
        overlay_weak_perspective(_black(), vertices[:, :2], faces, [1, 0, 0])
