# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Networks whose errors are known: only a square on one pixel raises them."""
import numpy as np
import pytest
import torch

from mpm_postometro.bodies.skeletons import J14_HIPS
from mpm_postometro.evaluation.occlusion_sensitivity import (
    measure_joint_errors, occluder_places)

HEIGHT, WIDTH = 64, 48
JOINT = 9


@pytest.fixture
def target():
    return torch.randn(14, 3, generator=torch.Generator().manual_seed(0))


def one_pixel_network(target, row, column, wrong=.1):
    """Is wrong by so much in one joint where the pixel is covered; its pose
    lies elsewhere, and turns up in whatever dtype."""

    def predict(images):
        assert images.shape[1:] == (3, HEIGHT, WIDTH)
        predict.batches.append(len(images))
        joints = target.repeat(len(images), 1, 1) + 5.
        joints[:, JOINT, 1] += wrong * (images[:, 0, row, column] == 0)
        return joints

    predict.batches = []
    return predict


def test_places_are_those_of_pare():
    """40 pixels of 224 with the same stride: 6 x 6, within the crop."""
    places = occluder_places()
    assert places.shape == (6, 6, 4)
    np.testing.assert_allclose(places[0, 0], [0, 0, 40 / 224, 40 / 224])
    np.testing.assert_allclose(places[-1, -1, 2:], 1)
    np.testing.assert_allclose(places[..., 2] - places[..., 0], 40 / 224)
    # x runs along columns, y along rows
    assert (np.diff(places[..., 0], axis=1) > 0).all()
    assert (np.diff(places[..., 0], axis=0) == 0).all()
    assert occluder_places(40 / 224, 20 / 224).shape == (11, 11, 4)
    # a stride that fits has no extra place
    assert occluder_places(.25, .25).shape == (4, 4, 4)


def test_squares_are_square_on_crops_that_are_not():
    places = occluder_places(.25, .25, WIDTH / HEIGHT)
    assert places.shape == (6, 4, 4)
    sides = (places[..., 2:] - places[..., :2]) * [WIDTH, HEIGHT]
    np.testing.assert_allclose(sides, 12)
    np.testing.assert_allclose(places[-1, -1, 2:], 1)


@pytest.mark.parametrize('wrong', [(1., .1), (0., .1), (.1, 0.), (-1, 1)])
def test_wrong_squares_are_refused(wrong):
    with pytest.raises(ValueError, match='smaller than the crop'):
        occluder_places(*wrong)


@pytest.mark.parametrize('batch_size', [1, 7, 100])
@pytest.mark.parametrize('row, column', [(0, 0), (40, 30), (63, 47)])
def test_only_squares_on_the_pixel_raise_the_error(target, row, column,
                                                   batch_size):
    places = occluder_places(.25, .1, WIDTH / HEIGHT)
    network = one_pixel_network(target, row, column)
    errors = measure_joint_errors(
        network,
        torch.ones(3, HEIGHT, WIDTH),
        target,
        places,
        batch_size=batch_size)
    assert errors.occluded.shape == (*places.shape[:2], 14)
    corners = (places * [WIDTH, HEIGHT, WIDTH, HEIGHT]).round()
    left, top, right, bottom = np.moveaxis(corners, -1, 0)
    on_it = (left <= column) & (column < right) & (top <= row) & (row < bottom)
    assert 0 < on_it.sum() < on_it.size
    np.testing.assert_allclose(
        errors.occluded[..., JOINT], .1 * on_it, atol=1e-6)
    others = np.delete(errors.occluded, JOINT, -1)
    np.testing.assert_allclose(others, 0, atol=1e-6)
    np.testing.assert_allclose(errors.clean, 0, atol=1e-6)
    # the clean picture and all places once, and no batch larger than asked
    assert sum(network.batches) == 1 + on_it.size
    assert max(network.batches) <= batch_size


def test_clean_picture_stays_and_colour_is_used(target):
    image = torch.zeros(3, HEIGHT, WIDTH)  # all pixels look covered by 0
    places = occluder_places(.25, .25, WIDTH / HEIGHT)
    network = one_pixel_network(target, 40, 30)
    errors = measure_joint_errors(network, image, target, places, colour=1.)
    assert errors.clean[JOINT] == pytest.approx(.1, abs=1e-6)
    # a white square cures it, at one place
    assert (errors.occluded[..., JOINT] < .05).sum() == 1
    assert (image == 0).all()


def test_root_and_labels(target):
    """A hip that is wrong moves the root; joints without label are NaN."""
    hip = J14_HIPS[0]

    def predict(images):
        joints = target.repeat(len(images), 1, 1).double()
        joints[:, hip, 0] += .2
        return joints

    weights = torch.ones(14)
    weights[3 if hip != 3 else 4] = 0
    errors = measure_joint_errors(predict, torch.ones(3, HEIGHT, WIDTH),
                                  target, occluder_places(.25, .5), weights)
    expected = np.full(14, .1)
    expected[weights == 0] = np.nan
    np.testing.assert_allclose(errors.clean, expected, atol=1e-6)
    np.testing.assert_allclose(
        errors.occluded,
        np.broadcast_to(expected, errors.occluded.shape),
        atol=1e-6)
