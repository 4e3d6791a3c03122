# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Which joints and which origins an error is measured with.

Metric and baselines both call these two functions, so that their numbers can
be compared.
"""
from typing import Dict, Optional

import torch
from torch import Tensor

from mpm_postometro.bodies import SKELETONS, BodyModel
from . import functional

J14 = SKELETONS['j14']
H36M17 = SKELETONS['h36m17']

#: tuple[int]: Joints of J14 whose mean is the origin for METRO's MPJPE.
HIPS = (J14.index('right_hip'), J14.index('left_hip'))

PROTOCOLS = ('metro', 'spin')


def mesh_root(vertices: Tensor, body: BodyModel) -> Tensor:
    """The Human3.6M pelvis of each mesh, (B, V, 3) -> (B, 1, 3)."""
    root = H36M17.index('pelvis')
    return body.regress_joints(vertices, 'h36m17')[:, root:root + 1]


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
            functional.centre(pred, HIPS), functional.centre(target, HIPS),
            weights),
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
    return functional.mpvpe(pred - mesh_root(pred, body),
                            target - mesh_root(target, body))
