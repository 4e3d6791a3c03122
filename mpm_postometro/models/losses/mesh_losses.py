# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Losses between meshes, 3D joints and projected joints.

Plain functions; lengths in metres, 2D in whatever unit both sides share
(METRO: crop coordinates in [-1, 1]).

Note:
    - B: batch size
    - K: number of joints
    - V: number of vertices of one mesh level
    - F: number of faces, E: number of edges

Persons without a label are masked inside, without indexing (no wait for the
device), and divided out of the mean. With no labelled person at all each loss
is a zero that is still part of the graph, so that the backward pass and
distributed training go through. What stands in the masked targets never
reaches the result, not even NaN.

With ``reduction='mean'`` the absolute differences are averaged over the
coordinates as ``torch.nn.L1Loss`` does (FastMETRO's code);
``'sum_xyz'`` adds the coordinates of a point up first (PostoMETRO's paper, for
vertices and joints), which is three times as much in 3D.
"""
from typing import Optional, Sequence, Tuple

import torch
from torch import Tensor

REDUCTIONS = ('mean', 'sum_xyz')


def _full_precision(x: Tensor) -> Tensor:
    """Half precision sums of thousands of terms are noise: go to float32."""
    return x if x.dtype == torch.float64 else x.float()


def _check_pair(name: str, pred: Tensor, target: Tensor) -> None:
    if pred.shape != target.shape:
        raise ValueError(f'{name}: prediction {tuple(pred.shape)} and target '
                         f'{tuple(target.shape)} must have the same shape')


def _person_mean(error: Tensor, valid: Optional[Tensor]) -> Tensor:
    """Mean over all dimensions, then over the valid persons of dimension 0.

    ``error`` must already be finite for the persons that are not valid.
    """
    per_person = error.flatten(1).mean(1)  # (B,)
    if valid is None:
        # an empty batch must give zero as well, not 0 / 0
        return per_person.sum() / max(len(per_person), 1)
    valid = valid.reshape(-1).to(per_person)
    return (per_person * valid).sum() / valid.sum().clamp(min=1)


def _masked_difference(pred: Tensor, target: Tensor,
                       valid: Optional[Tensor]) -> Tensor:
    difference = _full_precision(pred) - _full_precision(target)
    if valid is None:
        return difference
    keep = valid.reshape(-1, *[1] * (difference.dim() - 1)) > 0
    return torch.where(keep, difference, torch.zeros_like(difference))


def _target_or_pred(pred: Tensor, target: Tensor,
                    valid: Optional[Tensor]) -> Tensor:
    """Something harmless in the place of masked targets.

    For losses that are not linear in the target, where a NaN would reach the
    gradient of the prediction in spite of a mask on the result.
    """
    if valid is None:
        return target
    keep = valid.reshape(-1, *[1] * (target.dim() - 1)) > 0
    return torch.where(keep, target.to(pred), pred.detach())


def _l1(difference: Tensor, weights: Optional[Tensor],
        reduction: str) -> Tensor:
    """(B, K, C) -> (B, K) weighted absolute differences."""
    if reduction not in REDUCTIONS:
        raise ValueError(
            f'reduction must be one of {REDUCTIONS}, got {reduction!r}')
    if weights is not None:
        if weights.shape != difference.shape[:-1]:
            raise ValueError('weights must be (B, K) = '
                             f'{tuple(difference.shape[:-1])}, got '
                             f'{tuple(weights.shape)}')
        weights = weights.to(difference)
        # where() and not the product alone: an unlabelled target may be NaN
        difference = torch.where(
            weights.unsqueeze(-1) > 0, difference,
            torch.zeros_like(difference))
    error = difference.abs()
    error = error.mean(-1) if reduction == 'mean' else error.sum(-1)
    return error if weights is None else error * weights


def vertex_loss(pred: Tensor,
                target: Tensor,
                has_smpl: Optional[Tensor] = None,
                reduction: str = 'mean') -> Tensor:
    """L1 between vertices (FastMETRO's and PostoMETRO's vertex loss).

    Args:
        pred (Tensor): Predicted vertices (B, V, 3), metres.
        target (Tensor): True vertices (B, V, 3), with the same origin.
        has_smpl (Tensor, optional): (B,) or (B, 1), 1 where the target is
            real. All are when left out.
        reduction (str): ``'mean'`` or ``'sum_xyz'``.

    Returns:
        Tensor: Scalar, mean over the persons with ``has_smpl``.
    """
    _check_pair('vertex_loss', pred, target)
    difference = _masked_difference(pred, target, has_smpl)
    return _person_mean(_l1(difference, None, reduction), has_smpl)


def joint_3d_loss(pred: Tensor,
                  target: Tensor,
                  weights: Optional[Tensor] = None,
                  has_joints_3d: Optional[Tensor] = None,
                  root: Optional[Sequence[int]] = None,
                  reduction: str = 'mean') -> Tensor:
    """L1 between 3D joints that are both moved to their own root.

    Args:
        pred (Tensor): Predicted joints (B, K, 3), metres.
        target (Tensor): True joints (B, K, 3).
        weights (Tensor, optional): Confidence of each joint (B, K). Joints of
            weight 0 stay in the mean, as in the reference.
        has_joints_3d (Tensor, optional): (B,) or (B, 1), 1 where the target
            is real.
        root (Sequence[int], optional): Joints whose mean is the origin:
            the two hips (METRO's choice, :data:`J14_HIPS`) or one pelvis.
            None compares the joints as they are.
        reduction (str): ``'mean'`` or ``'sum_xyz'``.

    Returns:
        Tensor: Scalar, mean over the persons with ``has_joints_3d``.
    """
    _check_pair('joint_3d_loss', pred, target)
    pred, target = _full_precision(pred), _full_precision(target)
    if root is not None:
        root = list(root)
        pred = pred - pred[:, root].mean(1, keepdim=True)
        target = target - target[:, root].mean(1, keepdim=True)
    difference = _masked_difference(pred, target, has_joints_3d)
    return _person_mean(_l1(difference, weights, reduction), has_joints_3d)


def joint_2d_loss(pred: Tensor,
                  target: Tensor,
                  weights: Optional[Tensor] = None,
                  has_joints_2d: Optional[Tensor] = None,
                  reduction: str = 'mean') -> Tensor:
    """L1 between projected joints and 2D labels.

    The reference has a flag for persons with 2D labels and ignores it: it
    averages over everybody, and unlabelled joints count as zeros through
    their weights. That is the default here; give ``has_joints_2d`` to
    average over labelled persons only.

    Args:
        pred (Tensor): Projected joints (B, K, 2).
        target (Tensor): True joints (B, K, 2), in the same unit.
        weights (Tensor, optional): Confidence of each joint (B, K).
        has_joints_2d (Tensor, optional): (B,) or (B, 1).
        reduction (str): ``'mean'`` or ``'sum_xyz'`` (sum over x and y).

    Returns:
        Tensor: Scalar.
    """
    _check_pair('joint_2d_loss', pred, target)
    difference = _masked_difference(pred, target, has_joints_2d)
    return _person_mean(_l1(difference, weights, reduction), has_joints_2d)


def _edge_lengths(vertices: Tensor, edges: Tensor) -> Tensor:
    """(B, V, 3), (E, 2) -> (B, E); smooth at length 0."""
    vector = vertices[:, edges[:, 0]] - vertices[:, edges[:, 1]]
    return (vector.square().sum(-1) + 1e-8).sqrt()


def faces_to_edges(faces: Tensor) -> Tensor:
    """The three sides of each face, (F, 3) -> (3 F, 2).

    An edge between two faces is listed for both.
    """
    pairs = ((0, 1), (0, 2), (1, 2))
    return torch.cat([faces[:, list(pair)] for pair in pairs])


def edge_length_losses(
        pred: Tensor,
        target: Tensor,
        edges: Tensor,
        has_smpl: Optional[Tensor] = None) -> Tuple[Tensor, Tensor]:
    """How much edge lengths differ, and how long edges are (FastMETRO).

    Args:
        pred (Tensor): Predicted vertices (B, V, 3).
        target (Tensor): True vertices (B, V, 3).
        edges (Tensor): Vertex indices (E, 2), see :func:`faces_to_edges`.
        has_smpl (Tensor, optional): (B,) or (B, 1).

    Returns:
        tuple[Tensor, Tensor]: L1 between true and predicted edge lengths,
        and the mean predicted edge length (which keeps edges short).
    """
    _check_pair('edge_length_losses', pred, target)
    pred, target = _full_precision(pred), _full_precision(target)
    pred_lengths = _edge_lengths(pred, edges)
    target_lengths = _edge_lengths(target, edges)
    difference = _masked_difference(pred_lengths, target_lengths, has_smpl)
    own = _masked_difference(pred_lengths, torch.zeros_like(pred_lengths),
                             has_smpl)
    return (_person_mean(difference.abs(),
                         has_smpl), _person_mean(own, has_smpl))


def normal_loss(pred: Tensor,
                target: Tensor,
                faces: Tensor,
                has_smpl: Optional[Tensor] = None) -> Tensor:
    """Predicted edges should lie in the true faces (FastMETRO).

    Mean ``|cos|`` between the three predicted edges of each face and the
    true normal of that face.

    Args:
        pred (Tensor): Predicted vertices (B, V, 3).
        target (Tensor): True vertices (B, V, 3).
        faces (Tensor): Vertex indices (F, 3).
        has_smpl (Tensor, optional): (B,) or (B, 1).

    Returns:
        Tensor: Scalar.
    """
    _check_pair('normal_loss', pred, target)

    def sides(vertices):  # -> (B, F, 3 sides, 3)
        a, b, c = vertices[:, faces].unbind(2)
        return torch.nn.functional.normalize(
            torch.stack([b - a, c - a, c - b], 2), dim=-1)

    pred, target = _full_precision(pred), _full_precision(target)
    pred_sides = sides(pred)
    target_sides = sides(_target_or_pred(pred, target, has_smpl))
    normals = torch.nn.functional.normalize(
        torch.linalg.cross(
            target_sides[:, :, 0], target_sides[:, :, 1], dim=-1),
        dim=-1)
    cosines = (pred_sides * normals.unsqueeze(2)).sum(-1)
    cosines = _masked_difference(cosines, torch.zeros_like(cosines), has_smpl)
    return _person_mean(cosines.abs(), has_smpl)
