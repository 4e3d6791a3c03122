# Copyright (c) The mpm_postometro authors. All rights reserved.
import numpy as np
import pytest
import torch

from mpm_postometro.bodies.cameras import (back_project, crop_to_pixels,
                                           distorted_project,
                                           perspective_project,
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


def test_distortion_by_hand():
    points = torch.tensor([[1., 2., 4.], [0., 0., 1.], [9., -9., 1.]])
    camera = torch.tensor([100., 200, 50, 60, .1, .2, .3, .01, .02])
    r2 = .25**2 + .5**2
    gain = 1 + .1 * r2 + .2 * r2**2 + .3 * r2**3 + .01 * .25 + .02 * .5
    far = 1 + .1 * 2 + .2 * 4 + .3 * 8 + .01 - .02  # cut at (1, -1)
    expected = torch.tensor([
        [100 * (.25 * gain + .01 * r2) + 50,
         200 * (.5 * gain + .02 * r2) + 60],
        [50., 60.],
        [100 * (far + .02) + 50, 200 * (-far + .04) + 60]])  # yapf: disable
    torch.testing.assert_close(distorted_project(points, camera), expected)
    batched = distorted_project(points.expand(2, 3, 3), camera.expand(2, 9))
    torch.testing.assert_close(batched, expected.expand(2, 3, 2))
    camera[4:] = 0
    intrinsics = torch.tensor([[100., 0, 50], [0, 200., 60], [0, 0, 1]])
    torch.testing.assert_close(
        distorted_project(points[:2], camera),
        perspective_project(points[:2], intrinsics))
    with pytest.raises(ValueError, match=r'camera \(..., 9\), got'):
        distorted_project(points, intrinsics)


def test_distortion_as_published(golden_dir):
    with np.load(golden_dir / 'mpm_refine.npz') as golden:
        points, camera, expected = (
            torch.from_numpy(golden[k])
            for k in ('in/points_cam', 'in/cam', 'out/project_to_2d'))
    torch.testing.assert_close(
        distorted_project(points, camera), expected, rtol=1e-5, atol=1e-5)


def test_back_projection_undoes_projection():
    points = torch.rand(4, 6, 3) + torch.tensor([-.5, -.5, 2.])
    camera = torch.rand(4, 9) + .5
    camera[:, 4:] = 0
    coords = distorted_project(points, camera)
    back = back_project(coords, points[..., 2], camera)
    torch.testing.assert_close(back, points, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(
        back_project(coords[0], points[0, :, 2], camera[0]), back[0])
    with pytest.raises(ValueError, match=r'depth \(..., K\)'):
        back_project(coords, points, camera)


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
