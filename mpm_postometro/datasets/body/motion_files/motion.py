# Copyright (c) The mpm_postometro authors. All rights reserved.
"""What all readers of motion capture give."""
from typing import NamedTuple, Optional

import numpy as np

__all__ = ['Motion', 'to_z_up', 'frame_step']

# y up, as ASF/AMC and most BVH files have it, to z up: x stays.
_Z_UP = np.array([[1., 0, 0], [0, 0, -1], [0, 1, 0]])


class Motion(NamedTuple):
    """N frames of one person; world, z up, metres and radians.

    Attributes:
        fps (float): Frames a second.
        joints (np.ndarray): (N, 17, 3), Human3.6M's joints.
        pose (np.ndarray | None): (N, 24, 3), SMPL's joints: local
            axis-angle, joint 0 in the world. The rest pose is a T, x to the
            left, y up, z forward.
        trans (np.ndarray | None): (N, 3), position of joint 0 of SMPL's tree.
        rest_offsets (np.ndarray | None): (24, 3), from the parent of each of
            SMPL's joints to it, in the rest pose.
    """

    fps: float
    joints: np.ndarray
    pose: Optional[np.ndarray] = None
    trans: Optional[np.ndarray] = None
    rest_offsets: Optional[np.ndarray] = None

    def __repr__(self) -> str:
        pose = '' if self.pose is None else ', with SMPL pose'
        return (f'Motion({len(self.joints)} frames of {self.joints.shape[1]} '
                f'joints at {self.fps:g} a second{pose})')


def to_z_up(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) or, by their last two axes, rotations (..., 3, 3) of a
    world with y up in one with z up."""
    if vectors.ndim > 2 and vectors.shape[-2:] == (3, 3):
        return _Z_UP @ vectors
    return vectors @ _Z_UP.T


def frame_step(path: str, source_fps: float, fps: Optional[float]) -> int:
    """How many frames of a file make one of the wanted rate.

    Args:
        path (str): The file, for the error.
        source_fps (float): Of the file.
        fps (float, optional): Wanted; None takes all frames.

    Returns:
        int: At least 1, so that the rate is met within 5 %.

    Raises:
        ValueError: If there is no such number.
    """
    if fps is None:
        return 1
    step = max(round(source_fps / fps), 1)
    if abs(source_fps / step / fps - 1) > 0.05:
        raise ValueError(f'{path}: has {source_fps:g} frames a second, of '
                         f'which no whole step makes {fps:g}')
    return step
