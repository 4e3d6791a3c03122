# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Films of skeletons."""
import cv2
import numpy as np
import pytest
from PIL import Image

from mpm_postometro.bodies.axes import turn_axes
from mpm_postometro.bodies.skeletons import SKELETONS
from mpm_postometro.visualization import (PosePanel2D, PosePanel3D,
                                          SkeletonVideo, write_video)

SIZE = 160


def person(frames=3):
    """Somebody who faces the camera, arms out; camera's axes, metres."""
    places = dict(
        pelvis=(0, 0),
        right_hip=(-.1, 0),
        right_knee=(-.1, .4),
        right_ankle=(-.1, .8),
        left_hip=(.1, 0),
        left_knee=(.1, .4),
        left_ankle=(.1, .8),
        torso=(0, -.25),
        neck=(0, -.5),
        jaw=(0, -.6),
        head=(0, -.75),
        left_shoulder=(.15, -.5),
        left_elbow=(.4, -.5),
        left_wrist=(.65, -.5),
        right_shoulder=(-.15, -.5),
        right_elbow=(-.4, -.5),
        right_wrist=(-.65, -.5))
    pose = np.zeros((17, 3))
    for i, name in enumerate(SKELETONS['h36m17'].joint_names):
        pose[i, :2] = places[name]
    return np.repeat(pose[None], frames, 0)


def where(picture, side):
    """Mean place (x, y) of the pixels in the colour of a side, and how many
    there are."""
    blue, green, red = picture.astype(int).transpose(2, 0, 1)
    y, x = np.nonzero(blue - red > 60 if side == 'left' else red - blue > 60)
    return np.array([x.mean(), y.mean()]) if len(x) else None, len(x)


@pytest.mark.parametrize('axes', ['camera', 'y-up', 'z-up'])
def test_sides_seen_from_four_sides(axes):
    poses = turn_axes(person(), 'camera', axes)

    def sides(azimuth):
        panel = PosePanel3D(poses, axes=axes, azimuth=azimuth, elevation=5)
        drawn = panel.draw(0, SIZE)
        return where(drawn, 'left')[0], where(drawn, 'right')[0]

    left, right = sides(0)  # from the camera: their left is at our right
    assert left[0] > SIZE / 2 + 10 and right[0] < SIZE / 2 - 10
    left, right = sides(180)
    assert left[0] < SIZE / 2 - 10 and right[0] > SIZE / 2 + 10
    drawn = PosePanel3D(poses, axes=axes, azimuth=90).draw(0, SIZE)
    # from the camera's right, the left side is near and covers the right one
    assert where(drawn, 'left')[1] > 2 * where(drawn, 'right')[1]


def test_up_is_up_and_the_floor_below():
    poses = person()
    poses[:, [12, 13], 1] = -1.  # the left arm goes up
    drawn = PosePanel3D(poses, azimuth=0).draw(0, SIZE)
    assert where(drawn, 'left')[0][1] < where(drawn, 'right')[0][1] - 5


def test_the_view_turns_and_follows():
    walk = person(60) + np.linspace([0, 0, 0], [4, 0, 0], 60)[:, None]
    panel = PosePanel3D(walk, azimuth=0, turn=3)
    for index, right_of_left in ((0, False), (59, True)):
        drawn = panel.draw(index, SIZE)
        left, right = where(drawn, 'left')[0], where(drawn, 'right')[0]
        assert (right[0] > left[0]) == right_of_left
        assert abs((left + right)[0] / 2 - SIZE / 2) < SIZE / 8


def test_lifted_people_stand_on_the_floor():
    poses = person(40)
    poses[20:, [2, 3, 5, 6], 1] -= .3  # sits down about the pelvis
    panel = PosePanel3D(poses)
    lowest = panel.keypoints[..., 2].min(1)
    np.testing.assert_allclose(
        panel._floor[[0, 39]], lowest[[0, 39]], atol=1e-3)
    world = PosePanel3D(poses + np.arange(40)[:, None, None] * 1e-3)
    assert np.ptp(world._floor) == 0


def test_hidden_joints_are_pale_and_missing_ones_not_drawn():
    poses = person()
    hidden = np.zeros((3, 17), bool)
    hidden[1, 11:14] = True
    panel = PosePanel3D(poses, azimuth=0, hidden=hidden)
    full, pale = (panel.draw(i, SIZE).astype(int) for i in (0, 1))

    def strength(picture, more, less):
        return (picture[..., more] - picture[..., less] - 20).clip(0).sum()

    assert strength(pale, 0, 2) < .8 * strength(full, 0, 2)
    assert strength(pale, 2, 0) == strength(full, 2, 0)

    gone = PosePanel3D(poses, azimuth=0, hidden=hidden, show_hidden=False)
    poses[1, 11:14] = np.nan
    panel = PosePanel3D(poses, azimuth=0)
    np.testing.assert_array_equal(gone.draw(1, SIZE), panel.draw(1, SIZE))
    gone = panel.draw(1, SIZE).astype(int)
    assert where(gone, 'left')[1] < .6 * where(full, 'left')[1]


def test_2d_poses_fill_the_panel():
    poses = person()[..., :2] * 100 + 300
    panel = PosePanel2D(poses, image_size=(360, 1000))
    drawn = panel.draw(0, SIZE)
    left, right = where(drawn, 'left')[0], where(drawn, 'right')[0]
    assert left[0] > SIZE / 2 + 10 and right[0] < SIZE / 2 - 10
    used = np.argwhere(np.ptp(drawn.astype(int), axis=2) > 20)
    assert np.ptp(used, 0).max() > .75 * SIZE
    # the picture ends at x = 360, a little before the panel does
    assert drawn[5, -2].sum() < drawn[5, 5].sum() - 20
    same = PosePanel2D(poses * 3, image_size=(1080, 3000)).draw(0, SIZE)
    np.testing.assert_allclose(same.astype(int), drawn, atol=60)


def video(frames=7, size=100, **arguments):
    poses = person(frames)
    return SkeletonVideo(
        [PosePanel2D(poses[..., :2]),
         PosePanel3D(poses, turn=10)], size, range(frames), **arguments)


def test_panels_side_by_side():
    film = video(note='not seen')
    assert len(film) == 7 and len(list(film)) == 7
    assert film[0].shape == (100 + 30 + 26, 200, 3)
    assert film[0].dtype == np.uint8
    assert (film[0] != film[1]).any()
    np.testing.assert_array_equal(film[3], film[3])
    assert video(size=101)[0].shape[1] == 204  # even, for encoders
    with pytest.raises(ValueError, match=r'same number of frames.*\[3, 4\]'):
        SkeletonVideo([PosePanel3D(person(3)), PosePanel3D(person(4))])


@pytest.mark.parametrize('fps, frames, seconds', [(30, 7, 7 / 30),
                                                  (12.5, 7, 7 / 12.5),
                                                  (120, 3, 9 / 120)])
def test_gif(tmp_path, fps, frames, seconds):
    film, done = video(), []
    path = write_video(tmp_path / 'a' / 'film.gif', film, fps,
                       lambda *counts: done.append(counts))
    assert done == [(k + 1, frames) for k in range(frames)]
    with Image.open(path) as gif:
        assert gif.n_frames == frames and gif.info['loop'] == 0
        times = []
        for k in range(frames):
            gif.seek(k)
            times.append(gif.info['duration'])
        last = np.asarray(gif.convert('RGB'))[..., ::-1].astype(int)
    assert sum(times) / 1000 == pytest.approx(seconds, abs=.021)
    assert np.abs(last - film[6]).mean() < 3
    assert min(times) >= 20


def test_mp4(tmp_path):
    film = video()
    path = write_video(tmp_path / 'film.mp4', film, 25)
    reader = cv2.VideoCapture(str(path))
    assert reader.get(cv2.CAP_PROP_FPS) == 25
    frames = []
    while True:
        more, frame = reader.read()
        if not more:
            break
        frames.append(frame)
    assert len(frames) == 7
    assert np.abs(frames[4].astype(int) - film[4]).mean() < 6


def test_nothing_is_left_of_a_film_that_fails(tmp_path):

    class Broken(list):

        def __getitem__(self, index):
            if index == 3:
                raise RuntimeError('no such frame')
            return np.zeros((20, 20, 3), np.uint8)

    for name in ('film.gif', 'film.mp4'):
        with pytest.raises(RuntimeError, match='no such frame'):
            write_video(tmp_path / name, Broken(range(5)))
    assert not list(tmp_path.iterdir())


def test_bad_films(tmp_path):
    with pytest.raises(ValueError, match="gif or mp4, not '.avi'"):
        write_video(tmp_path / 'film.avi', video())
    with pytest.raises(ValueError, match='needs frames'):
        write_video(tmp_path / 'film.gif', [])
    with pytest.raises(ValueError, match='fps must be positive'):
        write_video(tmp_path / 'film.gif', video(), 0)
    with pytest.raises(ValueError, match=r'\(N, 17, 3\), got \(3, 17, 2\)'):
        PosePanel3D(person()[..., :2])
    with pytest.raises(ValueError, match="unknown skeleton 'h36m'"):
        PosePanel3D(person(), 'h36m')
    with pytest.raises(ValueError, match=r'hidden must be \(3, 17\)'):
        PosePanel3D(person(), hidden=np.zeros((3, 16)))
