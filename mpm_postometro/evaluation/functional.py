# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Pose and mesh errors as batched torch functions, on any device.

All take points (B, K, 3) and give one value a person (B,), in the unit of
the points. ``weights`` (B, K) selects points: those of weight 0 are left
out, whatever their coordinates are; other weights weigh the mean.

Note:
    - B: batch size
    - K: number of joints or vertices
"""
from typing import Optional, Sequence, Union

import torch
from torch import Tensor

# Numbers of a chunk that stays in the processor's cache, which makes the
# alignment of meshes several times as fast: eight of SMPL's.
_CHUNK = 8 * 6890 * 3


def _check(pred: Tensor, target: Tensor, weights: Optional[Tensor]) -> None:
    if pred.shape != target.shape or pred.dim() != 3:
        raise ValueError('prediction and target must both be (B, K, 3), got '
                         f'{tuple(pred.shape)} and {tuple(target.shape)}')
    if weights is not None and weights.shape != pred.shape[:2]:
        raise ValueError(f'weights must be (B, K) = {tuple(pred.shape[:2])}, '
                         f'got {tuple(weights.shape)}')


def _weighted_mean(values: Tensor, weights: Optional[Tensor]) -> Tensor:
    """(B, K) -> (B,); NaN for a person without any weighted point."""
    if weights is None:
        return values.mean(1)
    weights = weights.to(values)
    values = torch.where(weights > 0, values * weights,
                         torch.zeros_like(values))
    return values.sum(1) / weights.sum(1)


def _drop(points: Tensor, weights: Optional[Tensor]) -> Tensor:
    """Zero the points without weight, so that their NaN cannot spread."""
    if weights is None:
        return points
    return torch.where(weights[..., None] > 0, points,
                       torch.zeros_like(points))


def centre(points: Tensor, root: Union[int, Sequence[int]]) -> Tensor:
    """Move the mean of the root joints to the origin.

    Args:
        points (Tensor): (B, K, 3).
        root (int | Sequence[int]): One joint, or several to average (the two
            hips, in METRO's protocol).
    """
    root = [root] if isinstance(root, int) else list(root)
    return points - points[:, root].mean(1, keepdim=True)


def mpjpe(pred: Tensor,
          target: Tensor,
          weights: Optional[Tensor] = None) -> Tensor:
    """Mean Euclidean distance between joints of each person (B,).

    Nothing is centred here; see :func:`centre`.
    """
    _check(pred, target, weights)
    return _weighted_mean((pred - target).norm(dim=-1), weights)


def mpvpe(pred: Tensor, target: Tensor) -> Tensor:
    """Mean Euclidean distance between vertices of each person (B,)."""
    return mpjpe(pred, target)


def n_mpjpe(pred: Tensor,
            target: Tensor,
            weights: Optional[Tensor] = None) -> Tensor:
    """MPJPE after scaling each centred prediction by the best factor (B,).

    The factor minimises the sum of squared distances (Rhodin et al., CVPR
    2018). A prediction of all zeros keeps its scale.
    """
    _check(pred, target, weights)
    p, t = _drop(pred, weights), _drop(target, weights)
    w = 1. if weights is None else weights.to(p)[..., None]
    power = (w * p * p).sum((1, 2))
    scale = (w * p * t).sum((1, 2)) / power
    scale = torch.where(power > 0, scale, torch.ones_like(scale))
    return mpjpe(scale[:, None, None] * pred, target, weights)


def procrustes_align(pred: Tensor,
                     target: Tensor,
                     weights: Optional[Tensor] = None,
                     float64: bool = True) -> Tensor:
    """Align each person to its target by scale, rotation and translation.

    Least squares over similarity transforms without reflection (Umeyama,
    1991). Planar, collinear and coincident points are fine: where
    the rotation is not unique, one that fits best is taken, and a prediction
    of one repeated point lands on the target's centre. Persons with
    coordinates that are not finite come back as NaN and leave the others
    alone.

    Args:
        pred (Tensor): (B, K, 3), to be moved.
        target (Tensor): (B, K, 3).
        weights (Tensor, optional): (B, K), the points to fit to.
        float64 (bool): Compute in double precision and return the
            prediction's type. Turn off on devices without it.

    Returns:
        Tensor: (B, K, 3) aligned predictions, all points moved.
    """
    _check(pred, target, weights)
    work = _working_type(pred, float64)
    # Meshes make this a matter of memory: few passes over the points.
    moved, fixed = pred.to(work), target.to(work)
    if weights is None:
        p_mean, t_mean = moved.mean(1, True), fixed.mean(1, True)
        moved = moved - p_mean
        p, t = moved, fixed - t_mean
        covariance = p.transpose(1, 2) @ t  # (B, 3, 3)
        variance = torch.linalg.vector_norm(p, dim=(1, 2)).square()
    else:
        p, t = _drop(moved, weights), _drop(fixed, weights)
        w = weights.to(p)
        total = w.sum(1, keepdim=True).clamp(min=torch.finfo(work).tiny)
        w = (w / total)[..., None]
        p_mean, t_mean = (w * p).sum(1, True), (w * t).sum(1, True)
        moved, p, t = moved - p_mean, p - p_mean, t - t_mean
        covariance = p.transpose(1, 2) @ (w * t)
        variance = (w * p * p).sum((1, 2))
    noise = _noise(p_mean, pred.shape[1] if weights is None else 1)
    aligned = torch.baddbmm(t_mean, moved,
                            _similarity(covariance, variance, noise))
    return aligned.to(pred.dtype)


def _working_type(pred: Tensor, float64: bool) -> torch.dtype:
    """Double precision, or at least single."""
    return torch.promote_types(pred.dtype,
                               torch.float64 if float64 else torch.float32)


def _noise(mean: Tensor, points: int) -> Tensor:
    """What rounding leaves of the variance of one repeated point (B,): no
    size to scale."""
    eps = torch.finfo(mean.dtype).eps
    return points * (4 * eps)**2 * mean.square().sum((1, 2))


def _similarity(covariance: Tensor, variance: Tensor, noise: Tensor) -> Tensor:
    """Scale times rotation (B, 3, 3), for row vectors, of centred points.

    Args:
        covariance (Tensor): (B, 3, 3), of the points to be moved with those
            to fit to.
        variance (Tensor): (B,), of the points to be moved.
        noise (Tensor): (B,), variance that counts as none.
    """
    # the SVD would refuse the whole batch; NaN stays in the means
    finite = covariance.isfinite().flatten(1).all(1)
    covariance = torch.where(finite[:, None, None], covariance,
                             torch.zeros_like(covariance))
    u, s, vh = torch.linalg.svd(covariance)
    # turn the weakest axis instead of reflecting
    sign = torch.ones_like(s)
    sign[:, -1] = torch.where(
        torch.det(u) * torch.det(vh) < 0, -torch.ones_like(s[:, -1]),
        torch.ones_like(s[:, -1]))
    rotation = (u * sign[:, None]) @ vh  # row vectors: p @ rotation
    scale = torch.where(variance > noise, (s * sign).sum(1) / variance,
                        torch.zeros_like(variance))
    return scale[:, None, None] * rotation


def pa_mpjpe(pred: Tensor,
             target: Tensor,
             weights: Optional[Tensor] = None,
             float64: bool = True) -> Tensor:
    """MPJPE of each person after :func:`procrustes_align` (B,).

    PA-MPVPE, where the points are vertices.
    """
    if weights is None:
        _check(pred, target, weights)
        persons = len(pred)
        if pred.device.type == 'cpu':
            persons = max(1, _CHUNK // max(1, 3 * pred.shape[1]))
        return torch.cat([
            _aligned_distance(p, t, float64)
            for p, t in zip(pred.split(persons), target.split(persons))
        ])
    aligned = procrustes_align(pred, target, weights, float64)
    return mpjpe(aligned, target, weights)


def _aligned_distance(pred: Tensor, target: Tensor, float64: bool) -> Tensor:
    """As :func:`mpjpe` of aligned points, which it does not put together."""
    work = _working_type(pred, float64)
    # Planes (B, 3, K): sums over three numbers a point are slow.
    p = pred.transpose(1, 2).contiguous().to(work)
    t = target.transpose(1, 2).contiguous().to(work)
    p_mean = p.mean(2, True)
    p, t = p - p_mean, t - t.mean(2, True)
    variance = torch.linalg.vector_norm(p, dim=(1, 2)).square()
    similarity = _similarity(p @ t.transpose(1, 2), variance,
                             _noise(p_mean, pred.shape[1]))
    difference = torch.baddbmm(t, similarity.transpose(1, 2), p, beta=-1)
    distance = difference.square().sum(1).sqrt().mean(1)
    return distance.to(torch.promote_types(pred.dtype, target.dtype))


def pck(pred: Tensor,
        target: Tensor,
        threshold: float = 0.15,
        weights: Optional[Tensor] = None) -> Tensor:
    """Share of joints nearer than ``threshold`` (strictly), each person.

    Args:
        pred (Tensor): (B, K, 3).
        target (Tensor): (B, K, 3).
        threshold (float): In the unit of the points; 0.15 m is the
            convention of MPI-INF-3DHP.
        weights (Tensor, optional): (B, K).

    Returns:
        Tensor: (B,) in [0, 1].
    """
    _check(pred, target, weights)
    distance = (pred - target).norm(dim=-1)
    return _weighted_mean((distance < threshold).to(distance), weights)


def auc(pred: Tensor,
        target: Tensor,
        max_threshold: float = 0.15,
        steps: int = 31,
        weights: Optional[Tensor] = None) -> Tensor:
    """Mean :func:`pck` over evenly spaced thresholds, each person.

    The defaults are MPI-INF-3DHP's: 31 thresholds from 0 to 0.15 m, zero
    included.

    Returns:
        Tensor: (B,) in [0, 1].
    """
    _check(pred, target, weights)
    distance = (pred - target).norm(dim=-1)
    thresholds = torch.linspace(
        0, max_threshold, steps, dtype=distance.dtype, device=pred.device)
    hits = (distance[..., None] < thresholds).to(distance).mean(-1)
    return _weighted_mean(hits, weights)
