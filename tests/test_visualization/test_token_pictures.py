# Copyright (c) The mpm_postometro authors. All rights reserved.
import cv2
import matplotlib
import numpy as np
import pytest

from mpm_postometro.visualization import (codebook_usage, draw_codebook_usage,
                                          draw_poses, draw_token_effects,
                                          draw_token_influence, frequent_codes,
                                          swap_codes, write_picture)

LINKS = ((0, 1), (1, 2))
NAMES = ('nose', 'left_wrist', 'right_ankle')
POSE = np.array([[10., 10.], [30., 25.], [12., 50.]])


def decode(codes):
    """Token k moves joint k to the right by its code; token 3 nothing."""
    poses = np.tile(POSE, (len(codes), 1, 1))
    poses[..., 0] += codes[:, :3]
    return poses


def _orange(picture):
    """Number of pixels in the colour of what moved."""
    blue, _, red = picture.astype(int).transpose(2, 0, 1)
    return int((red - blue > 100).sum())


def test_swapped_codes():
    codes = np.array([1, 2, 3, 4])
    others = np.array([[0, 4], [5, 6], [3, 9], [7, 8]])
    effects = swap_codes(decode, codes, others)
    np.testing.assert_array_equal(effects.pose, decode(codes[None])[0])
    assert effects.swapped.shape == (4, 2, 3, 2)
    for token in range(4):
        for number in range(2):
            changed = codes.copy()
            changed[token] = others[token, number]
            np.testing.assert_array_equal(effects.swapped[token, number],
                                          decode(changed[None])[0])
    # Means of |0 - 1| and |4 - 1|, |5 - 2| and |6 - 2|, |3 - 3| and |9 - 3|.
    np.testing.assert_allclose(effects.influence,
                               [[2, 0, 0, 0], [0, 3.5, 0, 0], [0, 0, 3, 0]])
    for wrong in (others[:3], others[0]):
        with pytest.raises(ValueError, match=r'others \(N, S\)'):
            swap_codes(decode, codes, wrong)


def test_frequent_codes():
    data = np.array([[5, 1, 7], [5, 1, 7], [2, 1, 7], [2, 3, 7], [2, 3, 7],
                     [9, 3, 7]])
    np.testing.assert_array_equal(
        frequent_codes(data, np.array([5, 0, 7]), 2), [[2, 9], [1, 3], [7, 7]])
    np.testing.assert_array_equal(
        frequent_codes(data, np.array([2, 1, 0]), 3),
        [[5, 9, 9], [3, 3, 3], [7, 7, 7]])


def test_codebook_usage():
    codes = np.array([[0, 1], [0, 2], [0, 3], [0, 0]])
    usage = codebook_usage(codes, 10)
    np.testing.assert_array_equal(usage.counts, [5, 1, 1, 1] + [0] * 6)
    assert usage.used == pytest.approx(.4)
    # exp of the entropy of 5/8, 1/8, 1/8, 1/8
    assert usage.perplexity == pytest.approx(8 / 5**.625)
    np.testing.assert_array_equal(usage.token_used, [1, 4])
    np.testing.assert_allclose(usage.token_perplexity, [1, 4])
    assert codebook_usage(np.arange(12).reshape(3, 4),
                          12).perplexity == pytest.approx(12)


@pytest.mark.parametrize('codes, message', [
    (np.zeros((0, 3), int), 'at least one pose'),
    (np.zeros(3, int), 'at least one pose'),
    (np.full((2, 3), 4), r'\[0, 4\), got 4 to 4'),
    (np.full((2, 3), -1), 'got -1'),
])
def test_wrong_codes(codes, message):
    with pytest.raises(ValueError, match=message):
        codebook_usage(codes, 4)


def test_effects_are_drawn_where_they_are():
    codes = np.array([1, 2, 3, 4])
    still = swap_codes(decode, codes, np.repeat(codes[:, None], 2, 1))
    moving = swap_codes(decode, codes, codes[:, None] + [[9, 14]])
    drawn = draw_token_effects(
        moving, LINKS, NAMES, columns=4, title='a title')
    assert drawn.dtype == np.uint8 and drawn.shape[2] == 3
    quiet = draw_token_effects(still, LINKS, NAMES, columns=4)
    # Nothing moves: the dark pose covers the others, but for its soft edge.
    assert _orange(quiet) < .02 * _orange(drawn)
    # The columns: tokens 0 to 2 move one joint each, token 3 nothing.
    parts = np.array_split(drawn, 4, axis=1)
    counts = [_orange(part) for part in parts]
    assert min(counts[:3]) > 20 * max(counts[3], 1)
    heights = [
        np.nonzero(part[..., 2].astype(int) - part[..., 0] > 60)[0].mean()
        for part in parts[:3]
    ]
    assert heights == sorted(heights)  # nose, wrist, ankle
    # On a picture, in its pixels.
    image = np.full((60, 60, 3), (250, 120, 120), np.uint8)
    on_image = draw_token_effects(moving, LINKS, NAMES, image=image, columns=4)
    assert (np.abs(on_image.astype(int) - image[0, 0]).max(-1)
            < 130).mean() > .5
    assert (image == (250, 120, 120)).all()


def test_influence():
    influence = np.zeros((3, 5))
    influence[1, 4] = 2.
    picture = draw_token_influence(influence, NAMES, unit='m', title='title')
    dark = (picture.max(-1) < 150) & (picture[..., 2] > picture[..., 0] + 60)
    rows, columns = np.nonzero(dark[:, :int(picture.shape[1] * .8)])
    assert len(rows) > 100 and np.ptp(columns) < 40 and np.ptp(rows) < 40


def test_usage_plot():
    rng = np.random.default_rng(0)
    for codes, num_codes in ((rng.integers(0, 40, (30, 5)), 64), (np.zeros(
        (3, 2), int), 1), (np.zeros((3, 2), int), 5000)):
        picture = draw_codebook_usage(
            codebook_usage(codes, num_codes), title='title')
        assert picture.dtype == np.uint8
        blue, green, red = picture.astype(int).transpose(2, 0, 1)
        assert ((blue - red > 60) & (blue > green)).sum() > 200  # bars


def test_the_reader_s_own_settings_do_not_show():
    usage = codebook_usage(np.array([[0, 1], [2, 1]]), 4)
    picture = draw_codebook_usage(usage)
    with matplotlib.rc_context({'font.size': 40, 'text.color': 'red'}):
        np.testing.assert_array_equal(draw_codebook_usage(usage), picture)
        assert matplotlib.rcParams['font.size'] == 40


def test_poses_on_a_picture():
    image = np.full((80, 60, 3), 90, np.uint8)
    poses = np.stack([POSE, POSE + [20, 10]])
    poses[1, 2] = np.nan
    drawn = draw_poses(image, poses, LINKS)
    assert (image == 90).all()
    for x, y in (*POSE.astype(int), *(POSE[:2] + [20, 10]).astype(int)):
        assert (drawn[y, x] == 255).all()
    assert (drawn[60:, 15:] == 90).all()  # the joint that is not there
    x, y = ((POSE[0] + POSE[1]) / 2).astype(int)
    assert (drawn[y, x] != 90).any()  # a link
    far = draw_poses(image, np.full((1, 3, 2), 1e12), LINKS)
    assert (far == 90).all()
    assert (draw_poses(image, poses[:0], LINKS) == 90).all()


def test_writing_pictures(tmp_path):
    picture = np.random.default_rng(0).integers(0, 255, (9, 7, 3), np.uint8)
    path = write_picture(tmp_path / 'sub' / 'a.png', picture)
    np.testing.assert_array_equal(cv2.imread(str(path)), picture)
    with pytest.raises(ValueError, match='a.nothing'):
        write_picture(tmp_path / 'a.nothing', picture)
    assert [p.name for p in tmp_path.iterdir()] == ['sub']
