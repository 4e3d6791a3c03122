# Copyright (c) The mpm_postometro authors. All rights reserved.
"""How much each joint suffers when a square hides a part of the picture.

As in PARE (Kocabas et al., ICCV 2021), NIKI and PostoMETRO (Appendix D),
after Zeiler and Fergus (ECCV 2014): a square of one colour slides over the
crop, and at each place the error of each 3D joint is measured.
"""
import math
from typing import Callable, NamedTuple, Optional, Sequence

import numpy as np
import torch
from torch import Tensor

from mpm_postometro.bodies.skeletons import J14_HIPS
from . import functional

__all__ = ['JointErrors', 'measure_joint_errors', 'occluder_places']


def occluder_places(occluder: float = 40 / 224,
                    stride: float = 40 / 224,
                    aspect: float = 1.) -> np.ndarray:
    """Where the square goes, the same for crops of all sizes.

    All squares lie within the crop and the first and last touch its edges:
    they are spaced evenly, at ``stride`` or a little less.

    Args:
        occluder (float): Side of the square over the width of the crop.
            Defaults to PARE's, 40 pixels of 224.
        stride (float): Most from one square to the next, over the width of
            the crop. Defaults to PARE's, 40 pixels of 224.
        aspect (float): Width over height of the crop.

    Returns:
        np.ndarray: (rows, columns, 4), left, top, right, bottom over width,
        height, width, height of the crop.

    Raises:
        ValueError: If the square is no smaller than the crop, or there is no
            step between squares.
    """
    sides = occluder, occluder * aspect  # over width, over height
    if not (0 < sides[0] < 1 and 0 < sides[1] < 1 and stride > 0):
        raise ValueError('expected a square that is smaller than the crop '
                         f'and a stride above 0, got {occluder} and {stride} '
                         'of its width')
    starts = []
    for side, step in zip(sides, (stride, stride * aspect)):
        count = math.ceil(round((1 - side) / step, 6)) + 1
        starts.append(np.linspace(0, 1 - side, count))
    left, top = np.meshgrid(*starts)
    return np.stack([left, top, left + sides[0], top + sides[1]], -1)


class JointErrors(NamedTuple):
    """Of one person, in the unit of the joints.

    Attributes:
        clean (np.ndarray): Without a square, (K, ).
        occluded (np.ndarray): With it at each place, (rows, columns, K).
    """
    clean: np.ndarray
    occluded: np.ndarray


@torch.no_grad()
def measure_joint_errors(predict: Callable[[Tensor], Tensor],
                         image: Tensor,
                         target: Tensor,
                         places: np.ndarray,
                         weights: Optional[Tensor] = None,
                         colour: float = 0.,
                         root: Sequence[int] = J14_HIPS,
                         batch_size: int = 37) -> JointErrors:
    """Slide a square over one picture.

    Errors are distances after both poses are moved to their root joints. They
    are not Procrustes aligned: that would hide a body that is turned as a
    whole.

    Args:
        predict (Callable): Pictures (B, 3, H, W) to joints (B, K, 3).
        image (Tensor): As the network sees it, (3, H, W).
        target (Tensor): True joints, (K, 3).
        places (np.ndarray): See :func:`occluder_places`.
        weights (Tensor, optional): (K, ); joints of weight 0 are NaN.
        colour (float): Of the square. Defaults to 0, which is grey for a
            network whose input is normalised.
        root (Sequence[int]): Joints whose mean is the root; METRO's hips.
        batch_size (int): Pictures at once.

    Returns:
        JointErrors: See there.
    """
    height, width = image.shape[-2:]
    rows, columns = places.shape[:2]
    corners = (places.reshape(-1, 4) * [width, height, width, height])
    corners = corners.round().astype(int).tolist()
    target = functional.centre(target[None].double(), root)
    errors = []
    for start in range(-1, len(corners), batch_size):
        stop = min(start + batch_size, len(corners))
        batch = image.repeat(stop - start, 1, 1, 1)
        for k in range(max(start, 0), stop):  # -1 stays clean
            left, top, right, bottom = corners[k]
            batch[k - start, :, top:bottom, left:right] = colour
        joints = predict(batch).to(target)
        error = (functional.centre(joints, root) - target).norm(dim=-1)
        errors.append(error.cpu().numpy())
    errors = np.concatenate(errors)
    if weights is not None:
        errors[:, weights.cpu().numpy() <= 0] = np.nan
    return JointErrors(errors[0], errors[1:].reshape(rows, columns, -1))
