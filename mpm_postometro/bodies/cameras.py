# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Cameras: perspective, weak perspective, and the way between them.

Camera frame: x right, y down, z forward (OpenCV), metres. Pixels: the centre
of the top-left pixel is (0, 0). Crop coordinates run from -1 to 1.
"""
from typing import Sequence, Tuple, Union

import torch
from torch import Tensor

__all__ = [
    'perspective_project', 'distorted_project', 'weak_perspective_project',
    'crop_to_pixels', 'pixels_to_crop', 'weak_to_perspective',
    'perspective_to_weak', 'back_project'
]

Size = Union[float, Sequence[float], Tensor]


def perspective_project(points: Tensor, intrinsics: Tensor) -> Tensor:
    """Pinhole projection.

    Args:
        points (Tensor): (..., K, 3), camera frame, metres. Points with
            z <= 0 are behind the camera; their result means nothing.
        intrinsics (Tensor): (3, 3) or (..., 3, 3) with the leading axes of
            ``points``.

    Returns:
        Tensor: (..., K, 2) pixels.
    """
    if points.shape[-1] != 3 or tuple(intrinsics.shape[-2:]) != (3, 3):
        raise ValueError('points must be (..., K, 3) and intrinsics '
                         f'(..., 3, 3), got {tuple(points.shape)} and '
                         f'{tuple(intrinsics.shape)}')
    image = points @ intrinsics.to(points).transpose(-1, -2)
    return image[..., :2] / image[..., 2:]


def distorted_project(points: Tensor, camera: Tensor) -> Tensor:
    """Projection with Human3.6M's lens distortion.

    Points far outside the picture are drawn to its edge: x / z and y / z
    are cut to [-1, 1], beyond which the polynomial means nothing.

    Args:
        points (Tensor): (..., K, 3), camera frame, metres, z > 0.
        camera (Tensor): (9,) or (..., 9) with the leading axes of
            ``points``: fx, fy, cx, cy, radial k1, k2, k3, tangential p1, p2.
            f and c are in the units of the result.

    Returns:
        Tensor: (..., K, 2) in the units of ``camera``.
    """
    if points.shape[-1] != 3 or camera.shape[-1] != 9:
        raise ValueError('points must be (..., K, 3) and camera (..., 9), got '
                         f'{tuple(points.shape)} and {tuple(camera.shape)}')
    focal, middle, radial, tangential = camera.to(points)[..., None, :].split(
        (2, 2, 3, 2), -1)
    xy = (points[..., :2] / points[..., 2:]).clamp(-1, 1)
    r2 = xy.square().sum(-1, keepdim=True)
    powers = torch.cat([r2, r2.square(), r2**3], -1)
    gain = 1 + (radial * powers).sum(
        -1, keepdim=True) + (tangential * xy).sum(
            -1, keepdim=True)
    return focal * (xy * gain + tangential * r2) + middle


def back_project(coords: Tensor, depth: Tensor, camera: Tensor) -> Tensor:
    """Points in the camera frame from image coordinates and depths.

    Distortion is left out, as in MPM's refinement, for which this is.

    Args:
        coords (Tensor): (..., K, 2) in the units of ``camera``.
        depth (Tensor): (..., K), z in the camera frame, metres.
        camera (Tensor): (9,) or (..., 9) with the leading axes of
            ``coords``, as for :func:`distorted_project`.

    Returns:
        Tensor: (..., K, 3), camera frame, metres.
    """
    if coords.shape != (*depth.shape, 2) or camera.shape[-1] != 9:
        raise ValueError('coords must be (..., K, 2), depth (..., K) and '
                         f'camera (..., 9), got {tuple(coords.shape)}, '
                         f'{tuple(depth.shape)} and {tuple(camera.shape)}')
    focal, middle, _ = camera.to(coords)[..., None, :].split((2, 2, 5), -1)
    depth = depth[..., None]
    return torch.cat([(coords - middle) * depth / focal, depth], -1)


def weak_perspective_project(points: Tensor, camera: Tensor) -> Tensor:
    """Weak perspective in METRO's form, ``s * (xy + t)``.

    Args:
        points (Tensor): (..., K, 3), camera frame, metres.
        camera (Tensor): (..., 3), ``(s, tx, ty)`` with ``s`` in crop units
            a metre and ``t`` in metres.

    Returns:
        Tensor: (..., K, 2) crop coordinates, [-1, 1] inside the crop.
    """
    if camera.shape[-1] != 3:
        raise ValueError('camera must be (..., 3) = (s, tx, ty), got '
                         f'{tuple(camera.shape)}')
    camera = camera[..., None, :]
    return camera[..., :1] * (points[..., :2] + camera[..., 1:])


def _size_tensor(size: Size, like: Tensor) -> Tensor:
    size = torch.as_tensor(size, dtype=like.dtype, device=like.device)
    return size.expand(2) if size.ndim == 0 else size


def crop_to_pixels(coords: Tensor, size: Size) -> Tensor:
    """Crop coordinates to crop pixels, ``(c + 1) / 2 * size``.

    Args:
        coords (Tensor): (..., 2).
        size (float | Sequence[float] | Tensor): Crop side, or (width,
            height), in pixels.

    Returns:
        Tensor: (..., 2) pixels.
    """
    return (coords + 1) / 2 * _size_tensor(size, coords)


def pixels_to_crop(pixels: Tensor, size: Size) -> Tensor:
    """Inverse of :func:`crop_to_pixels`.

    Args:
        pixels (Tensor): (..., 2).
        size (float | Sequence[float] | Tensor): Crop side, or (width,
            height), in pixels.

    Returns:
        Tensor: (..., 2) crop coordinates.
    """
    return pixels / _size_tensor(size, pixels) * 2 - 1


def _crop_geometry(
        like: Tensor, center: Tensor, scale: Tensor, focal_length: Size,
        principal_point: Tensor) -> Tuple[Tensor, Tensor, Tensor, Tensor]:
    """Bring the box and the lens to the dtype and device of ``like``."""

    def tensor(value):
        return torch.as_tensor(value, dtype=like.dtype, device=like.device)

    focal_length = tensor(focal_length)
    if focal_length.ndim and focal_length.shape[-1] == 2:
        raise ValueError('one focal length a camera is supported (square '
                         f'pixels), got shape {tuple(focal_length.shape)}')
    return (tensor(center), tensor(scale), focal_length,
            tensor(principal_point))


def weak_to_perspective(camera: Tensor, center: Tensor, scale: Tensor,
                        focal_length: Size, principal_point: Tensor) -> Tensor:
    """Where a crop camera puts the person in the full image's camera frame.

    A point at the origin of the person is projected to the same pixel by
    both cameras, with the same magnification there. Points in front or
    behind differ by the perspective that the weak camera leaves out.

    Args:
        camera (Tensor): (B, 3), ``(s, tx, ty)``.
        center (Tensor): (B, 2), centre of the square crop, image pixels.
        scale (Tensor): (B,), side of the square crop, image pixels (the
            padded width, not a multiple of 200).
        focal_length (float | Tensor): Pixels, one value or (B,).
        principal_point (Tensor): (2,) or (B, 2), image pixels.

    Returns:
        Tensor: (B, 3) translation in metres, to be added to person-centred
        points before :func:`perspective_project`. ``s`` must be positive.
    """
    center, scale, focal_length, principal_point = _crop_geometry(
        camera, center, scale, focal_length, principal_point)
    pixels_per_metre = camera[..., 0] * scale / 2
    depth = focal_length / pixels_per_metre
    offset = (center - principal_point) / pixels_per_metre[..., None]
    return torch.cat([camera[..., 1:] + offset, depth[..., None]], -1)


def perspective_to_weak(translation: Tensor, center: Tensor, scale: Tensor,
                        focal_length: Size, principal_point: Tensor) -> Tensor:
    """Inverse of :func:`weak_to_perspective`.

    Args:
        translation (Tensor): (B, 3), metres, z > 0.
        center (Tensor): (B, 2), centre of the square crop, image pixels.
        scale (Tensor): (B,), side of the square crop, image pixels.
        focal_length (float | Tensor): Pixels, one value or (B,).
        principal_point (Tensor): (2,) or (B, 2), image pixels.

    Returns:
        Tensor: (B, 3) ``(s, tx, ty)``.
    """
    center, scale, focal_length, principal_point = _crop_geometry(
        translation, center, scale, focal_length, principal_point)
    pixels_per_metre = focal_length / translation[..., 2]
    offset = (center - principal_point) / pixels_per_metre[..., None]
    s = 2 * pixels_per_metre / scale
    return torch.cat([s[..., None], translation[..., :2] - offset], -1)
