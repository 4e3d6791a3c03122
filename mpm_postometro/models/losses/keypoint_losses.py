# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Keypoint loss of the pose tokenizer and the token classifier (PCT)."""
from typing import Optional

import torch
from mmpose.registry import MODELS
from torch import Tensor, nn


def smooth_l1_keypoint_loss(pred: Tensor,
                            target: Tensor,
                            visible: Optional[Tensor] = None,
                            beta: float = 0.05) -> Tensor:
    """Smooth L1 times visibility, averaged over *all* joints (PCT).

    Below ``beta`` the loss is ``0.5 * d**2 / beta``, above it is
    ``d - beta / 2``. Invisible joints count as zeros in the mean, as in the
    reference: there is no division by the number of visible joints.

    Args:
        pred (Tensor): Joints (B, K, C), pixels of the network input.
        target (Tensor): True joints (B, K, C).
        visible (Tensor, optional): (B, K) or (B, K, 1), 1 or 0. All are
            visible when left out.
        beta (float): Where the square turns into a line, in pixels.

    Returns:
        Tensor: Scalar; a zero connected to the graph if nothing is visible.
    """
    if pred.shape != target.shape:
        raise ValueError(f'prediction {tuple(pred.shape)} and target '
                         f'{tuple(target.shape)} must have the same shape')
    if pred.dtype != torch.float64:  # errors in pixels overflow half floats
        pred = pred.float()
    target = target.to(pred.dtype)
    if visible is not None:
        if visible.dim() == pred.dim() - 1:
            visible = visible.unsqueeze(-1)
        if visible.shape != (*pred.shape[:-1], 1):
            raise ValueError(f'visible must be {tuple(pred.shape[:-1])} or '
                             f'{(*pred.shape[:-1], 1)}, got '
                             f'{tuple(visible.shape)}')
        # coordinates of unlabelled joints may be NaN, which a factor of zero
        # would hand on to the gradients
        target = torch.where(visible > 0, target, pred.detach())
    loss = torch.nn.functional.smooth_l1_loss(
        pred, target, beta=beta, reduction='none')
    if visible is not None:
        loss = loss * visible.to(loss)
    return loss.sum() / max(loss.numel(), 1)


@MODELS.register_module()
class SmoothL1KeypointLoss(nn.Module):
    """Registered form of :func:`smooth_l1_keypoint_loss`.

    Args:
        beta (float): Where the square turns into a line, in pixels.
        loss_weight (float): Factor of the result.
    """

    def __init__(self, beta: float = 0.05, loss_weight: float = 1.0) -> None:
        super().__init__()
        self.beta = beta
        self.loss_weight = loss_weight

    def forward(self,
                pred: Tensor,
                target: Tensor,
                visible: Optional[Tensor] = None) -> Tensor:
        """See :func:`smooth_l1_keypoint_loss` for arguments."""
        return self.loss_weight * smooth_l1_keypoint_loss(
            pred, target, visible, self.beta)
