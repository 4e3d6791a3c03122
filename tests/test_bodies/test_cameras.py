# Copyright (c) The mpm_postometro authors. All rights reserved.
import pytest
import torch

from mpm_postometro.bodies.cameras import (crop_to_pixels, perspective_project,
                                           perspective_to_weak, pixels_to_crop,
                                           weak_perspective_project,
                                           weak_to_perspective)


def test_perspective_by_hand():
    intrinsics = torch.tensor([[100., 0, 50], [0, 200., 60], [0, 0, 1]])
    points = torch.tensor([[1., 2., 4.], [0., 0., 1.]])
    expected = torch.tensor([[75., 160.], [50., 60.]])
    torch.testing.assert_close(
        perspective_project(points, intrinsics), expected)
    batched = perspective_project(points.expand(3, 2, 3), intrinsics[None])
    torch.testing.assert_close(batched, expected.expand(3, 2, 2))


def test_each_sample_has_its_own_intrinsics():
    points = torch.rand(2, 5, 3) + 1
    intrinsics = torch.rand(2, 3, 3)
    both = perspective_project(points, intrinsics)
    for i in range(2):
        torch.testing.assert_close(
            both[i], perspective_project(points[i], intrinsics[i]))


def test_weak_perspective_by_hand():
    camera = torch.tensor([[2., .1, -.2]])
    points = torch.tensor([[[1., 2., 99.]]])
    torch.testing.assert_close(
        weak_perspective_project(points, camera), torch.tensor([[[2.2, 3.6]]]))


@pytest.mark.parametrize('size, corner', [
    (256, (256., 256.)),
    ((192, 256), (192., 256.)),
    (torch.tensor([192., 256.]), (192., 256.)),
])
def test_crop_and_pixels(size, corner):
    ends = torch.tensor([[-1., -1.], [0., 0.], [1., 1.]])
    pixels = crop_to_pixels(ends, size)
    corner = torch.tensor(corner)
    expected = torch.stack([torch.zeros(2), corner / 2, corner])
    torch.testing.assert_close(pixels, expected)
    torch.testing.assert_close(pixels_to_crop(pixels, size), ends)


def test_weak_to_perspective_lands_on_the_same_pixels():
    """Points in the plane of the person's origin are projected alike."""
    generator = torch.Generator().manual_seed(0)
    rand = torch.rand(8, 12, 3, generator=generator, dtype=torch.float64)
    points = (rand - .5) * torch.tensor([1., 2., 0.], dtype=torch.float64)
    camera = torch.rand(8, 3, generator=generator).double() * .5 + .5
    center = torch.rand(8, 2, generator=generator).double() * 800
    scale = torch.rand(8, generator=generator).double() * 200 + 100
    focal = torch.rand(8, generator=generator).double() * 500 + 900
    principal = torch.tensor([480., 270.], dtype=torch.float64)

    crop = weak_perspective_project(points, camera)
    image = center[:, None] + crop * scale[:, None, None] / 2
    transl = weak_to_perspective(camera, center, scale, focal, principal)
    intrinsics = torch.zeros(8, 3, 3, dtype=torch.float64)
    intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = focal
    intrinsics[:, :2, 2] = principal
    intrinsics[:, 2, 2] = 1
    torch.testing.assert_close(
        perspective_project(points + transl[:, None], intrinsics), image)
    torch.testing.assert_close(
        perspective_to_weak(transl, center, scale, focal, principal), camera)


def test_bad_shapes_are_refused():
    with pytest.raises(ValueError, match='s, tx, ty'):
        weak_perspective_project(torch.zeros(1, 2, 3), torch.zeros(1, 4))
    with pytest.raises(ValueError, match='intrinsics'):
        perspective_project(torch.zeros(1, 2, 3), torch.zeros(1, 4))
    with pytest.raises(ValueError, match='square'):
        weak_to_perspective(
            torch.ones(1, 3), torch.zeros(1, 2), torch.ones(1),
            torch.ones(1, 2), torch.zeros(2))
