# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Which truth, joints and origins an error is measured with.

Metric and baselines both call these functions, so that their numbers can be
compared.
"""
from typing import Dict, NamedTuple, Optional, Sequence

import torch
from torch import Tensor

from mpm_postometro.bodies import BodyModel
from mpm_postometro.bodies.skeletons import J14_HIPS
from . import functional

__all__ = ['PROTOCOLS', 'Protocol', 'joint_errors', 'mesh_error']


class Protocol(NamedTuple):
    """How a line of papers measures.

    Attributes:
        gendered (bool): True meshes are those of SMPL's male or female body,
            and true joints are regressed from them. Else the neutral body
            makes the true meshes, and true joints are the labels'.
        centred (bool): Each mesh is moved to its own Human3.6M pelvis before
            vertices are compared.
    """

    gendered: bool
    centred: bool


#: dict[str, Protocol]: METRO, FastMETRO, PostoMETRO; SPIN and those after
#: it; PARE, which compares vertices where SMPL without translation puts them.
PROTOCOLS = dict(
    metro=Protocol(gendered=False, centred=True),
    spin=Protocol(gendered=True, centred=True),
    pare=Protocol(gendered=True, centred=False))


def joint_errors(pred: Tensor,
                 target: Tensor,
                 weights: Optional[Tensor] = None,
                 root: Optional[Sequence[int]] = J14_HIPS,
                 pck_threshold: float = 0.15) -> Dict[str, Tensor]:
    """Errors of joints, with their root at the origin or Procrustes aligned.

    Args:
        pred (Tensor): J14 (B, 14, 3), metres, any origin.
        target (Tensor): J14 (B, 14, 3).
        weights (Tensor, optional): (B, 14), joints of weight 0 are left out.
        root (Sequence[int], optional): Joints whose mean is the origin. The
            default is METRO's, the hips. None: both have their root there
            already.
        pck_threshold (float): Metres.

    Returns:
        dict[str, Tensor]: ``mpjpe`` and ``pa_mpjpe`` (B,), metres; ``pck``
        and ``auc`` (B,), in [0, 1]; ``joints`` (B, 14), the distances whose
        mean ``mpjpe`` is.
    """
    errors = dict(pa_mpjpe=functional.pa_mpjpe(pred, target, weights))
    if root is not None:
        pred = functional.centre(pred, root)
        target = functional.centre(target, root)
    errors.update(
        mpjpe=functional.mpjpe(pred, target, weights),
        pck=functional.pck(pred, target, pck_threshold, weights),
        auc=functional.auc(pred, target, weights=weights),
        joints=(pred - target).norm(dim=-1))
    return errors


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
