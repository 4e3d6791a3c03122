# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Which joints and which origins an error is measured with.

Metric and baselines both call these two functions, so that their numbers can
be compared.
"""
from typing import Dict, Optional

import torch
from torch import Tensor

from mpm_postometro.bodies import BodyModel
from mpm_postometro.bodies.skeletons import J14_HIPS
from . import functional

PROTOCOLS = ('metro', 'spin')


def joint_errors(pred: Tensor,
                 target: Tensor,
                 weights: Optional[Tensor] = None) -> Dict[str, Tensor]:
    """METRO's joint errors: hips at the origin, and Procrustes aligned.

    Args:
        pred (Tensor): J14 (B, 14, 3), metres, any origin.
        target (Tensor): J14 (B, 14, 3).
        weights (Tensor, optional): (B, 14), joints of weight 0 are left out.

    Returns:
        dict[str, Tensor]: ``mpjpe`` and ``pa_mpjpe``, (B,), metres.
    """
    return dict(
        mpjpe=functional.mpjpe(
            functional.centre(pred, J14_HIPS),
            functional.centre(target, J14_HIPS), weights),
        pa_mpjpe=functional.pa_mpjpe(pred, target, weights))


@torch.no_grad()
def mesh_error(pred: Tensor, target: Tensor, body: BodyModel) -> Tensor:
    """MPVPE with each mesh at its own Human3.6M pelvis.

    Args:
        pred (Tensor): (B, V, 3), metres, any origin.
        target (Tensor): (B, V, 3).
        body (BodyModel): Whose regressor finds the pelvis.

    Returns:
        Tensor: (B,), metres.
    """
    return functional.mpvpe(pred - body.pelvis(pred),
                            target - body.pelvis(target))
