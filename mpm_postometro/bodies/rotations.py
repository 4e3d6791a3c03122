# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Rotations: axis-angle, matrix and 6D form, batched and differentiable.

All functions take any number of leading axes, any float dtype and any
device. Values and first derivatives are finite for every input in the
domain, the zero rotation and half turns included.
"""
from typing import Optional, Sequence

import torch
from torch import Tensor

__all__ = [
    'axis_angle_to_matrix', 'matrix_to_axis_angle', 'matrix_to_rotation_6d',
    'rotation_6d_to_matrix', 'mirror_axis_angle', 'rotation_angle'
]

# Below this squared angle the closed forms lose digits and the series, cut
# after three terms, is exact to float64 (next term: x^3 / 5040).
_SMALL_SQUARED_ANGLE = 1e-4


def _check_last(x: Tensor, shape: Sequence[int], what: str) -> None:
    if tuple(x.shape[-len(shape):]) != tuple(shape):
        raise ValueError(f'{what} must have shape (..., '
                         f'{", ".join(map(str, shape))}), got '
                         f'{tuple(x.shape)}')


def axis_angle_to_matrix(axis_angle: Tensor) -> Tensor:
    """Rodrigues' formula.

    Args:
        axis_angle (Tensor): (..., 3), axis times angle in radians.

    Returns:
        Tensor: (..., 3, 3) rotation matrices acting on column vectors.
    """
    _check_last(axis_angle, (3, ), 'axis_angle')
    squared = (axis_angle * axis_angle).sum(-1)
    small = squared < _SMALL_SQUARED_ANGLE
    # The branch that is not taken must not produce NaN gradients.
    safe = torch.where(small, torch.ones_like(squared), squared)
    angle = safe.sqrt()
    half = torch.sin(0.5 * angle) / (0.5 * angle)
    sinc = torch.where(small, 1 - squared / 6 + squared**2 / 120,
                       torch.sin(angle) / angle)
    # (1 - cos a) / a^2 by the half angle: no cancellation.
    cosc = torch.where(small, 0.5 - squared / 24 + squared**2 / 720,
                       0.5 * half * half)

    x, y, z = axis_angle.unbind(-1)
    sx, sy, sz = sinc * x, sinc * y, sinc * z
    xy, xz, yz = cosc * x * y, cosc * x * z, cosc * y * z
    xx, yy, zz = cosc * x * x, cosc * y * y, cosc * z * z
    matrix = torch.stack([
        1 - yy - zz, xy - sz, xz + sy,
        xy + sz, 1 - xx - zz, yz - sx,
        xz - sy, yz + sx, 1 - xx - yy,
    ], -1)  # yapf: disable
    return matrix.unflatten(-1, (3, 3))


def matrix_to_axis_angle(matrix: Tensor) -> Tensor:
    """Inverse of :func:`axis_angle_to_matrix`.

    Goes over the unit quaternion whose largest component is found first,
    so that half turns are as accurate as small turns.

    Args:
        matrix (Tensor): (..., 3, 3) rotation matrices.

    Returns:
        Tensor: (..., 3) with angles in [0, pi].
    """
    _check_last(matrix, (3, 3), 'matrix')
    m00, m01, m02, m10, m11, m12, m20, m21, m22 = matrix.flatten(-2).unbind(-1)
    # Row k is 4 * q_k * (w, x, y, z): four ways to write the same quaternion.
    rows = torch.stack([
        1 + m00 + m11 + m22, m21 - m12, m02 - m20, m10 - m01,
        m21 - m12, 1 + m00 - m11 - m22, m01 + m10, m02 + m20,
        m02 - m20, m01 + m10, 1 - m00 + m11 - m22, m12 + m21,
        m10 - m01, m02 + m20, m12 + m21, 1 - m00 - m11 + m22,
    ], -1).unflatten(-1, (4, 4))  # yapf: disable
    best = rows.diagonal(dim1=-2, dim2=-1).argmax(-1)
    index = best[..., None, None].expand(*best.shape, 1, 4)
    quaternion = rows.gather(-2, index).squeeze(-2)
    quaternion = quaternion / quaternion.norm(dim=-1, keepdim=True)
    quaternion = torch.where(quaternion[..., :1] < 0, -quaternion, quaternion)

    w, vector = quaternion[..., 0], quaternion[..., 1:]
    squared = (vector * vector).sum(-1)  # sin(angle / 2)^2
    small = squared < _SMALL_SQUARED_ANGLE
    safe = torch.where(small, torch.ones_like(squared), squared)
    sine = safe.sqrt()
    safe_w = torch.where(small, w, torch.ones_like(w))
    ratio = squared / safe_w**2
    factor = torch.where(small, 2 / safe_w * (1 - ratio / 3 + ratio**2 / 5),
                         2 * torch.atan2(sine, w) / sine)
    return factor[..., None] * vector


def matrix_to_rotation_6d(matrix: Tensor) -> Tensor:
    """The first two columns of a rotation matrix, one after the other.

    Args:
        matrix (Tensor): (..., 3, 3).

    Returns:
        Tensor: (..., 6): elements 0-2 the first column, 3-5 the second
        (Zhou et al., On the continuity of rotation representations in
        neural networks, CVPR 2019, Sec. 4.2).
    """
    _check_last(matrix, (3, 3), 'matrix')
    return torch.cat([matrix[..., 0], matrix[..., 1]], -1)


def rotation_6d_to_matrix(rotation_6d: Tensor) -> Tensor:
    """Gram-Schmidt on the two columns of :func:`matrix_to_rotation_6d`.

    Args:
        rotation_6d (Tensor): (..., 6), any two vectors that are not parallel.

    Returns:
        Tensor: (..., 3, 3) rotation matrices.
    """
    _check_last(rotation_6d, (6, ), 'rotation_6d')
    first, second = rotation_6d[..., :3], rotation_6d[..., 3:]
    x = torch.nn.functional.normalize(first, dim=-1)
    y = second - (x * second).sum(-1, keepdim=True) * x
    y = torch.nn.functional.normalize(y, dim=-1)
    # dim is named: without it torch.cross picks the first axis of size 3,
    # which in a batch of three is the wrong one.
    z = torch.cross(x, y, dim=-1)
    return torch.stack([x, y, z], -1)


def mirror_axis_angle(axis_angle: Tensor,
                      flip_indices: Optional[Sequence[int]] = None) -> Tensor:
    """Rotations as seen in a mirror that turns x into -x.

    Holds for world orientations under a flip of the picture and, with joints
    swapped by ``flip_indices``, for the local rotations of SMPL's tree.

    Args:
        axis_angle (Tensor): (..., 3), or (..., J, 3) with ``flip_indices``.
        flip_indices (Sequence[int], optional): Left/right permutation of
            the joint axis. For SMPL's 23 body joints these are the 24-joint
            indices without the first, minus one.

    Returns:
        Tensor: Same shape.
    """
    _check_last(axis_angle, (3, ), 'axis_angle')
    if flip_indices is not None:
        if len(flip_indices) != axis_angle.shape[-2]:
            raise ValueError(
                f'flip_indices has {len(flip_indices)} entries for '
                f'{axis_angle.shape[-2]} joints')
        axis_angle = axis_angle[..., list(flip_indices), :]
    return axis_angle * axis_angle.new_tensor([1, -1, -1])


def rotation_angle(first: Tensor, second: Tensor) -> Tensor:
    """Angle between rotations.

    Args:
        first (Tensor): (..., 3, 3).
        second (Tensor): (..., 3, 3).

    Returns:
        Tensor: (...) radians in [0, pi].
    """
    return matrix_to_axis_angle(first.transpose(-1, -2) @ second).norm(dim=-1)
