# Copyright (c) The mpm_postometro authors. All rights reserved.
"""How well one does without looking at the image."""
from typing import Dict, Iterator, Mapping, Tuple

import torch
from torch import Tensor

from mpm_postometro.bodies import BodyModel
from mpm_postometro.bodies.rotations import axis_angle_to_matrix
from mpm_postometro.bodies.skeletons import J14_HIPS
from . import functional
from .protocols import joint_errors, mesh_error

_KEYS = ('betas', 'body_pose', 'global_orient')


def _chunks(parameters: Mapping, body: BodyModel,
            size: int) -> Iterator[Tuple[Tensor, Tensor]]:
    """Vertices (B, V, 3) and J14 (B, 14, 3) of a few persons at a time."""
    tensors = []
    for key in _KEYS:
        if key not in parameters:
            raise KeyError(f"parameters lack '{key}', need {_KEYS}")
        tensors.append(torch.as_tensor(parameters[key]))
    counts = {len(t) for t in tensors}
    if len(counts) != 1 or counts == {0}:
        raise ValueError(f'{_KEYS} must hold the same number of persons, at '
                         f'least one; got {[len(t) for t in tensors]}')
    device = body.faces.device
    for part in zip(*(t.split(size) for t in tensors)):
        vertices = body(*(p.to(device) for p in part)).vertices
        yield vertices, body.regress_joints(vertices, 'j14')


def procrustes_mean(poses: Tensor, iterations: int = 20) -> Tensor:
    """The pose from which all poses are nearest after similarity alignment.

    Alternates between aligning the mean to every pose and the least squares
    mean for these alignments (generalised Procrustes analysis, Gower
    1975, with errors measured in the frame and size of each pose).

    Args:
        poses (Tensor): (N, K, 3), roughly turned the same way.
        iterations (int): Number of alternations.

    Returns:
        Tensor: (K, 3), float64, centred.
    """
    poses = poses.double()
    poses = poses - poses.mean(1, keepdim=True)
    mean = poses.mean(0)
    for _ in range(iterations):
        # pose ~ s * mean @ R, so mean = sum s pose @ R^T / sum s^2
        u, s, vh = torch.linalg.svd(mean.T @ poses)
        flip = torch.ones_like(s)
        flip[:, -1] = (torch.det(u) * torch.det(vh)).sign()
        rotation = (u * flip[:, None]) @ vh
        scale = (s * flip).sum(1) / mean.square().sum()
        back = poses @ rotation.transpose(1, 2)
        mean = (scale[:, None, None] * back).sum(0) / scale.square().sum()
    return mean


@torch.no_grad()
def constant_baselines(train_parameters: Mapping,
                       test_parameters: Mapping,
                       body: BodyModel,
                       chunk_size: int = 128) -> Dict[str, float]:
    """Errors of the best answers that are the same for every image.

    For MPJPE and MPVPE the answer is the training mean of root-relative
    joints and vertices in the camera frame. Since alignment forgives any
    orientation, the stronger constant for PA-MPJPE is the Procrustes mean
    of the training poses in the body frame. Measured as
    :class:`MeshMetric` does under the 'metro' protocol.

    Args:
        train_parameters (Mapping): ``betas`` (N, S), ``body_pose``
            (N, 23, 3) and ``global_orient`` (N, 3) in the camera frame;
            arrays or tensors.
        test_parameters (Mapping): The same of the persons to measure.
        body (BodyModel): Their body; its device is used.
        chunk_size (int): Persons posed at a time; 128 take about 0.2 GB.

    Returns:
        dict[str, float]: ``mpjpe``, ``pa_mpjpe``, ``mpvpe`` in mm.

    Raises:
        KeyError: If parameters are missing.
        ValueError: If there are no persons, or their numbers differ.
    """
    vertex_sum, joints = 0., []
    for vertices, j14 in _chunks(train_parameters, body, chunk_size):
        vertices = vertices - body.pelvis(vertices)
        vertex_sum = vertex_sum + vertices.sum(0, dtype=torch.float64)
        joints.append(functional.centre(j14, J14_HIPS))
    joints = torch.cat(joints)
    mean_vertices = (vertex_sum / len(joints)).to(joints)
    mean_joints = joints.mean(0, dtype=torch.float64).to(joints)

    orient = torch.as_tensor(train_parameters['global_orient']).to(joints)
    in_body = joints @ axis_angle_to_matrix(orient)  # rows: R^T x
    mean_pose = procrustes_mean(in_body).to(joints)

    errors = dict(mpjpe=[], pa_mpjpe=[], mpvpe=[])
    for vertices, j14 in _chunks(test_parameters, body, chunk_size):
        errors['mpjpe'].append(
            joint_errors(mean_joints.expand_as(j14), j14)['mpjpe'])
        errors['pa_mpjpe'].append(
            joint_errors(mean_pose.expand_as(j14), j14)['pa_mpjpe'])
        errors['mpvpe'].append(
            mesh_error(mean_vertices.expand_as(vertices), vertices, body))
    return {
        key: 1000 * torch.cat(value).double().mean().item()
        for key, value in errors.items()
    }
