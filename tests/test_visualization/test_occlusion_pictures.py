# Copyright (c) The mpm_postometro authors. All rights reserved.
import numpy as np
import pytest

from mpm_postometro.evaluation.occlusion_sensitivity import occluder_places
from mpm_postometro.visualization.occlusion_pictures import (_heat,
                                                             draw_error_maps,
                                                             draw_joint_bars,
                                                             draw_joint_maps)

PLACES = occluder_places(.2, .2)
CROP = np.full((60, 60, 3), 90, np.uint8)


def test_warm_where_the_error_is_high():
    errors = np.full((5, 5), 80.)
    errors[1, 3] = 120.
    picture = _heat(CROP, errors, PLACES, 80., 120.).astype(int)
    assert picture.shape == (60, 60, 3)
    red, _, blue = picture.transpose(2, 0, 1)
    # the middle of row 1, column 3, and the colour of 80 mm elsewhere
    assert red[17:19, 41:43].min() > blue[17:19, 41:43].max() + 30
    assert (blue - red)[30:].min() > 20 and (blue - red)[:, :28].min() > 20
    # a person whose joint is not known has a plain picture
    errors[0, 0] = np.nan
    assert (_heat(CROP, errors, PLACES, 0., 1.) == 90).all()


@pytest.mark.parametrize('networks', [1, 2, 3])
def test_pictures_of_any_number_of_networks(networks):
    rng = np.random.default_rng(0)
    names = [f'network {m}' for m in range(networks)]
    joints = [f'left_{k}' for k in range(14)]
    maps = rng.uniform(50, 90, (networks, 2, 5, 5, 14))
    clean = rng.uniform(50, 60, (networks, 2, 14))
    sheet = draw_error_maps(
        np.stack([CROP, CROP]), maps.mean(-1), clean.mean(-1), PLACES, names)
    assert sheet.shape[1] > 250 * (networks + 1) and sheet.dtype == np.uint8
    maps[:, 0, ..., 3] = np.nan
    person = draw_joint_maps(CROP, maps[:, 0], PLACES, names, joints, 'person')
    assert person.shape[0] > 350 * networks
    bars = draw_joint_bars(
        np.nanmean(maps, (1, 2, 3)), clean.mean(1), names, joints)
    for picture in (sheet, person, bars):
        assert picture.std() > 10 and (picture[0] == 255).all()


def test_noise_does_not_glow():
    """Errors that differ by a millimetre have nearly one colour."""
    maps = np.full((1, 1, 5, 5), 80.)
    maps[0, 0, 2, 2] = 81
    arguments = CROP[None], np.full((1, 1), 80.), PLACES, ['network']
    noisy = draw_error_maps(arguments[0], maps, *arguments[1:]).astype(int)
    maps[0, 0, 2, 2] = 80
    flat = draw_error_maps(arguments[0], maps, *arguments[1:]).astype(int)
    panel = slice(40, 300), slice(300, 560)
    assert np.abs(noisy - flat)[panel].max() < 25
