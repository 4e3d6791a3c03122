# Copyright (c) The mpm_postometro authors. All rights reserved.
import math

import pytest
import torch
from scipy.spatial.transform import Rotation

# yapf: disable
from mpm_postometro.bodies.rotations import (axis_angle_to_matrix,
                                             matrix_to_axis_angle,
                                             matrix_to_rotation_6d,
                                             mirror_axis_angle,
                                             rotation_6d_to_matrix,
                                             rotation_angle)

# yapf: enable

ANGLES = [0., 1e-12, 1e-6, 9.9e-3, 1.01e-2, .5, 3., math.pi - 1e-6]


def axis_angles(angle, n=16, seed=0):
    generator = torch.Generator().manual_seed(seed)
    axis = torch.randn(n, 3, generator=generator, dtype=torch.float64)
    return axis / axis.norm(dim=-1, keepdim=True) * angle


@pytest.mark.parametrize('angle', ANGLES)
def test_matrix_against_scipy_and_back(angle):
    vectors = axis_angles(angle)
    matrix = axis_angle_to_matrix(vectors)
    expected = torch.tensor(Rotation.from_rotvec(vectors.numpy()).as_matrix())
    torch.testing.assert_close(matrix, expected, rtol=0, atol=1e-14)
    back = matrix_to_axis_angle(matrix)
    torch.testing.assert_close(back, vectors, rtol=0, atol=1e-9)


@pytest.mark.parametrize('angle', ANGLES)
def test_float32_is_as_good_as_float32_can_be(angle):
    vectors = axis_angles(angle)
    matrix = axis_angle_to_matrix(vectors.float())
    torch.testing.assert_close(
        matrix.double(), axis_angle_to_matrix(vectors), rtol=0, atol=5e-7)
    again = axis_angle_to_matrix(matrix_to_axis_angle(matrix))
    torch.testing.assert_close(again, matrix, rtol=0, atol=2e-6)


def test_half_turns_about_every_axis():
    eye = math.pi * torch.eye(3, dtype=torch.float64)
    back = matrix_to_axis_angle(axis_angle_to_matrix(eye))
    torch.testing.assert_close(back.abs(), eye, rtol=0, atol=1e-12)


@pytest.mark.parametrize('angle', [0., 1e-7, 9.9e-3, 1.01e-2, 1., 3.1])
def test_gradients(angle):
    vectors = axis_angles(angle, 3).requires_grad_()
    assert torch.autograd.gradcheck(axis_angle_to_matrix, vectors)
    # Over a rotation, so that the perturbed input stays one.
    assert torch.autograd.gradcheck(
        lambda v: matrix_to_axis_angle(axis_angle_to_matrix(v)), vectors)


@pytest.mark.parametrize('dtype', [torch.float32, torch.float64])
def test_gradients_at_exactly_zero(dtype):
    vectors = torch.zeros(2, 3, dtype=dtype, requires_grad=True)
    matrix = axis_angle_to_matrix(vectors)
    matrix_to_axis_angle(matrix).sum().backward()
    torch.testing.assert_close(vectors.grad, torch.ones_like(vectors))


@pytest.mark.parametrize('shape', [(3, ), (1, ), (4, 3), ()])
def test_rotation_6d_round_trip_in_a_batch_of_three(shape):
    generator = torch.Generator().manual_seed(1)
    vectors = torch.randn(*shape, 3, generator=generator, dtype=torch.float64)
    matrix = axis_angle_to_matrix(vectors)
    sixd = matrix_to_rotation_6d(matrix)
    assert sixd.shape == (*shape, 6)
    torch.testing.assert_close(sixd[..., 3:], matrix[..., :, 1])
    noisy = torch.cat([2 * sixd[..., :3], sixd[..., 3:] + sixd[..., :3]], -1)
    torch.testing.assert_close(rotation_6d_to_matrix(noisy), matrix)


def test_rotation_6d_gradient():
    generator = torch.Generator().manual_seed(2)
    sixd = torch.randn(
        3, 6, generator=generator, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(rotation_6d_to_matrix, sixd)


def test_mirror_is_conjugation_with_the_reflection():
    vectors = axis_angles(1.3)
    reflect = torch.diag(torch.tensor([-1., 1., 1.], dtype=torch.float64))
    torch.testing.assert_close(
        axis_angle_to_matrix(mirror_axis_angle(vectors)),
        reflect @ axis_angle_to_matrix(vectors) @ reflect)


def test_mirror_swaps_joints():
    pose = torch.arange(9.).view(3, 3)
    expected = pose[[0, 2, 1]] * torch.tensor([1., -1., -1.])
    torch.testing.assert_close(mirror_axis_angle(pose, [0, 2, 1]), expected)
    with pytest.raises(ValueError, match='2 entries for 3 joints'):
        mirror_axis_angle(pose, [1, 0])


def test_rotation_angle():
    first = axis_angle_to_matrix(axis_angles(.7))
    turn = axis_angle_to_matrix(axis_angles(.4, seed=5))
    torch.testing.assert_close(
        rotation_angle(first, first @ turn),
        torch.full((16, ), .4, dtype=torch.float64))


@pytest.mark.parametrize('function, shape', [
    (axis_angle_to_matrix, '3'),
    (matrix_to_axis_angle, '3, 3'),
    (rotation_6d_to_matrix, '6'),
])
def test_wrong_shape_is_named(function, shape):
    with pytest.raises(ValueError, match=shape):
        function(torch.zeros(2, 5))
