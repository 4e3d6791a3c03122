# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Loss on sequences of poses (MPM)."""
from typing import Optional

import torch
from mmpose.registry import MODELS
from torch import Tensor, nn

__all__ = ['SequenceMPJPELoss', 'sequence_mpjpe_loss']


def sequence_mpjpe_loss(pred: Tensor,
                        target: Tensor,
                        weights: Optional[Tensor] = None) -> Tensor:
    """Mean Euclidean distance over all joints and frames, hidden or not.

    Args:
        pred (Tensor): Poses (B, ..., J, d); half precision is computed in
            float32.
        target (Tensor): True poses, likewise.
        weights (Tensor, optional): (B,), weight of each clip in the mean; a
            clip of weight 0 is left out whatever its target. None: all 1.

    Returns:
        Tensor: Scalar; a zero connected to the graph if no clip counts.
    """
    if pred.shape != target.shape:
        raise ValueError(f'prediction {tuple(pred.shape)} and target '
                         f'{tuple(target.shape)} must have the same shape')
    if pred.dtype != torch.float64:
        pred = pred.float()
    target = target.to(pred.dtype)
    if weights is None:
        return torch.linalg.vector_norm(pred - target, dim=-1).mean()
    weights = weights.to(pred.dtype)
    counts = weights.view(-1, *[1] * (pred.dim() - 1)) > 0
    target = torch.where(counts, target, pred.detach())
    distance = torch.linalg.vector_norm(pred - target, dim=-1)
    distance = distance.flatten(1).mean(1)  # (B,)
    return (distance * weights).sum() / weights.sum().clamp(min=1e-12)


@MODELS.register_module()
class SequenceMPJPELoss(nn.Module):
    """Registered form of :func:`sequence_mpjpe_loss`.

    Args:
        loss_weight (float): Factor of the result. Defaults to 1.
    """

    def __init__(self, loss_weight: float = 1.) -> None:
        super().__init__()
        self.loss_weight = loss_weight

    def forward(self,
                pred: Tensor,
                target: Tensor,
                weights: Optional[Tensor] = None) -> Tensor:
        """See :func:`sequence_mpjpe_loss` for arguments."""
        return self.loss_weight * sequence_mpjpe_loss(pred, target, weights)
