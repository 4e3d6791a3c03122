# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Upright people in other axes."""
import numpy as np
import pytest

from mpm_postometro.bodies.axes import AXES, turn_axes


def test_what_is_where():
    # 1 to the right, 2 above, 3 farther from the camera
    told = {'camera': [1, -2, 3], 'y-up': [1, 2, -3], 'z-up': [1, 3, 2]}
    for source in AXES:
        for target in AXES:
            np.testing.assert_array_equal(
                turn_axes(told[source], source, target), told[target])


@pytest.mark.parametrize('target', AXES)
def test_turns_keep_left_and_right_and_lose_nothing(target):
    points = np.random.default_rng(0).normal(size=(4, 17, 3)).astype('f4')
    turned = turn_axes(points, 'camera', target)
    assert turned.dtype == np.float32
    assert np.linalg.det(turn_axes(np.eye(3), 'camera', target)) == 1
    np.testing.assert_array_equal(turn_axes(turned, target, 'camera'), points)


def test_unknown_axes():
    with pytest.raises(ValueError, match="'x-up', expected one of"):
        turn_axes(np.zeros(3), 'x-up', 'camera')
