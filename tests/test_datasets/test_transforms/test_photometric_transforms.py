# Copyright (c) The mpm_postometro authors. All rights reserved.
import cv2
import numpy as np
import pytest
from mmcv.transforms.utils import cache_random_params
from mmpose.registry import TRANSFORMS

from mpm_postometro.datasets.transforms import (ChannelGain, ColorJitter,
                                                GridDropout)


@pytest.mark.parametrize('dtype', [np.uint8, np.float32])
def test_channel_gain(dtype):
    np.random.seed(0)
    rng = np.random.RandomState(1)
    img = rng.randint(0, 150, (40, 50, 3)).astype(dtype)
    kept = img.copy()
    out = ChannelGain(0.6, 1.4)(dict(img=img))['img']
    np.testing.assert_array_equal(img, kept)
    assert out.dtype == dtype and out.shape == img.shape
    bright = img > 60
    gains = [
        np.median(out[..., c][bright[..., c]].astype(float) /
                  img[..., c][bright[..., c]]) for c in range(3)
    ]
    assert all(0.58 < g < 1.42 for g in gains)
    assert max(gains) - min(gains) > 0.02  # each channel its own
    for c in range(3):
        np.testing.assert_allclose(
            out[..., c], np.minimum(img[..., c] * gains[c], 255), atol=2.5)


def test_channel_gain_clips_and_can_be_off():
    img = np.full((4, 4, 3), 200, np.uint8)
    assert (ChannelGain(2., 2.)(dict(img=img))['img'] == 255).all()
    assert (ChannelGain(2., 2., prob=0.)(dict(img=img))['img'] == img).all()
    with pytest.raises(ValueError, match='low <= high'):
        ChannelGain(1.2, 0.8)


def smooth_picture(dtype=np.uint8):
    """Colours without extremes, which nothing clips."""
    rng = np.random.RandomState(3)
    small = rng.randint(60, 120, (6, 7, 3)).astype(np.uint8)
    return cv2.resize(small, (64, 48)).astype(dtype)


def jitter(img, steps):
    """What ColorJitter makes of a picture when it draws these steps."""
    transform = ColorJitter()
    transform._draw = lambda: steps
    return transform(dict(img=img))['img']


@pytest.mark.parametrize('dtype', [np.uint8, np.float32, np.float64])
def test_colour_jitter_by_hand(dtype):
    img = smooth_picture(dtype)
    kept = img.copy()
    exact = img.astype(float)
    grey = exact @ [0.114, 0.587, 0.299]
    expected = dict(
        brightness=1.2 * exact,
        contrast=1.2 * exact - 0.2 * grey.mean(),
        saturation=1.2 * exact - 0.2 * grey[..., None])
    for name, value in expected.items():
        out = jitter(img, [(name, 1.2)])
        assert out.dtype == dtype
        np.testing.assert_allclose(out, value, atol=1.1, err_msg=name)
    # A third of the circle turns red into green into blue.
    pure = np.zeros((1, 3, 3), dtype)
    pure[0, range(3), [2, 1, 0]] = 200
    turned = jitter(pure, [('hue', 1 / 3)])
    np.testing.assert_allclose(turned, np.roll(pure, -1, axis=2), atol=4)
    # Each is nothing at its neutral value, and the order matters.
    neutral = [(name, 1.) for name in expected]
    np.testing.assert_allclose(jitter(img, neutral), img, atol=1e-3)
    np.testing.assert_allclose(jitter(img, [('hue', 0.)]), img, atol=3)
    steps = [('brightness', 2.5), ('contrast', 0.5)]  # clips, or does not
    assert np.abs(jitter(img, steps).astype(float) -
                  jitter(img, steps[::-1])).max() > 5
    np.testing.assert_array_equal(img, kept)


def test_colour_jitter_draws():
    np.random.seed(0)
    transform = ColorJitter(0.4, 0.3, 0.2, 0.1)
    drawn = [transform._draw() for _ in range(300)]
    names = ('brightness', 'contrast', 'saturation', 'hue')
    for name, middle, spread in zip(names, (1, 1, 1, 0), (.4, .3, .2, .1)):
        values = [dict(steps)[name] for steps in drawn]
        assert min(values) >= middle - spread and max(values) <= \
            middle + spread
        assert max(values) - min(values) > 1.9 * spread
    assert len({tuple(name for name, _ in steps) for steps in drawn}) == 24
    transform = ColorJitter(3., prob=0.3)
    drawn = [dict(transform._draw()) for _ in range(200)]
    assert 35 <= sum(bool(steps) for steps in drawn) <= 90
    assert min(steps.get('brightness', 0) for steps in drawn) >= 0
    img = smooth_picture()
    assert ColorJitter(prob=0.)(dict(img=img))['img'] is img
    for wrong in (dict(brightness=-1), dict(hue=0.6), dict(hue=-0.1)):
        with pytest.raises(ValueError, match='hue'):
            ColorJitter(**wrong)


def test_colour_jitter_stays_in_range():
    np.random.seed(0)
    img = np.random.randint(0, 256, (32, 32, 3)).astype(np.float32)
    for _ in range(20):
        out = ColorJitter(1., 1., 1., 0.5)(dict(img=img))['img']
        assert out.min() >= 0 and out.max() <= 255


def test_grid_dropout_is_a_grid():
    np.random.seed(0)
    img = np.full((100, 130, 3), 9, np.uint8)
    units = set()
    for _ in range(300):
        out = GridDropout((4, 9), 0.5, prob=1.)(dict(img=img))['img']
        gone = (out == 0).all(-1)
        assert ((out == 9).all(-1) | gone).all()
        rows, columns = gone.any(1), gone.any(0)
        np.testing.assert_array_equal(gone, np.outer(rows, columns))
        starts = np.flatnonzero(np.diff(columns.astype(int)) == 1)
        ends = np.flatnonzero(np.diff(columns.astype(int)) == -1)
        unit = starts[1] - starts[0]
        assert (np.diff(starts) == unit).all()
        assert (np.diff(ends) == unit).all()
        # Holes of a whole number of pixels, beginning on the picture.
        first = np.flatnonzero(columns)[0]
        hole = int(unit * 0.5)
        assert columns[first:first + hole].all()
        # None comes in from the left or from above, cut by the edge.
        down = np.flatnonzero(rows)[0]
        assert rows[down:down + hole].all() and not rows[down + hole]
        assert not columns[first + hole] and first <= unit - hole
        assert np.flatnonzero(rows)[0] <= unit - hole
        units.add(int(unit))
    assert units == set(range(4, 10))
    assert (img == 9).all()


def test_grid_dropout_leaves_labels_and_can_be_off():
    np.random.seed(1)
    img = np.full((64, 64, 3), 9, np.uint8)
    points = np.full((1, 3, 2), 20., np.float32)
    sample = dict(img=img, transformed_keypoints=points)
    out = GridDropout(prob=1.)(dict(sample))
    assert (out['img'] == 0).any()
    assert out['transformed_keypoints'] is points and set(out) == set(sample)
    assert GridDropout(prob=0.)(dict(img=img))['img'] is img
    changed = sum(
        GridDropout(prob=0.5)(dict(img=img))['img'] is not img
        for _ in range(200))
    assert 70 <= changed <= 130
    for wrong in (dict(unit_size=(1, 4)), dict(unit_size=(9, 4)),
                  dict(ratio=0.), dict(ratio=1.)):
        with pytest.raises(ValueError, match='unit_size|ratio'):
            GridDropout(**wrong)


@pytest.mark.parametrize('name', ['ColorJitter', 'GridDropout'])
def test_random_numbers_can_be_held(name):
    """MMCV repeats a transform with the same random numbers on request."""
    np.random.seed(2)
    transform = TRANSFORMS.build(dict(type=name, prob=1.))
    img = smooth_picture()
    with cache_random_params(transform):
        one = transform(dict(img=img))['img']
        two = transform(dict(img=img))['img']
    np.testing.assert_array_equal(one, two)
    assert (one != transform(dict(img=img))['img']).any()
