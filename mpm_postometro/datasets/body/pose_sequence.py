# Copyright (c) The mpm_postometro authors. All rights reserved.
"""One person in one video, and the checks that its arrays pass."""
from dataclasses import dataclass, fields
from typing import Any, Dict, Optional, Tuple, Union

import numpy as np

__all__ = ['PoseSequence', 'check_poses', 'check_same_length']

Frames = Union[slice, np.ndarray]


@dataclass(frozen=True)
class PoseSequence:
    """N frames of one person, seen by one camera. Arrays are read-only.

    Attributes:
        name (str): Tells it apart from the others of its data set.
        image_size (tuple[int, int]): Width and height, pixels.
        keypoints_2d (np.ndarray | None): (N, J, 2), pixels.
        scores (np.ndarray | None): (N, J), of the detector.
        keypoints_3d (np.ndarray | None): (N, J, 3), the camera's frame (x
            right, y down, z forward), metres, the root joint first.
        camera (np.ndarray | None): (9, ), pixels: fx, fy, cx, cy, k1, k2, k3,
            p1, p2. See :func:`bodies.cameras.distorted_project`.
        valid (np.ndarray | None): (N, ), bool; whether a frame may be a
            target.
        subject, action, camera_name (str): Where known.
        first_frame (int): Number of the first frame in its video.
    """

    name: str
    image_size: Tuple[int, int]
    keypoints_2d: Optional[np.ndarray] = None
    scores: Optional[np.ndarray] = None
    keypoints_3d: Optional[np.ndarray] = None
    camera: Optional[np.ndarray] = None
    valid: Optional[np.ndarray] = None
    subject: str = ''
    action: str = ''
    camera_name: str = ''
    first_frame: int = 0

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.ndarray):  # shared by all clips
                value = value.view()
                value.setflags(write=False)
                object.__setattr__(self, field.name, value)

    def __len__(self) -> int:
        poses = self.keypoints_3d
        return len(self.keypoints_2d if poses is None else poses)

    def __repr__(self) -> str:
        poses = [
            f'{array.shape[1]} joints in {dims}D'
            for dims, array in ((2, self.keypoints_2d), (3, self.keypoints_3d))
            if array is not None
        ]
        return (f'PoseSequence({self.name!r}, {len(self)} frames, '
                f'{" and ".join(poses)})')

    def clip(self, frames: Frames) -> Dict[str, np.ndarray]:
        """The poses of some frames.

        Args:
            frames (slice | np.ndarray): Which; a slice copies nothing.

        Returns:
            dict[str, np.ndarray]: ``keypoints_2d``, ``keypoints_3d`` and
            ``keypoints_2d_scores``, those that there are.
        """
        arrays = dict(
            keypoints_2d=self.keypoints_2d,
            keypoints_3d=self.keypoints_3d,
            keypoints_2d_scores=self.scores)
        return {k: v[frames] for k, v in arrays.items() if v is not None}


def check_poses(array: Any, where: str, num_joints: int,
                dims: int) -> np.ndarray:
    """An array of poses as float32, or an error that says what is wrong.

    Args:
        array (Any): Should be (N, num_joints, dims) with N > 0, finite.
        where (str): File and key, for the error.
        num_joints (int): J.
        dims (int): Numbers for each joint.

    Returns:
        np.ndarray: (N, num_joints, dims), float32.

    Raises:
        ValueError: If it is something else.
    """
    try:
        poses = np.asarray(array)
        poses = poses if poses.dtype == np.float32 else poses.astype(
            np.float32)
    except (TypeError, ValueError):
        raise ValueError(f'{where} must be numbers (N, {num_joints}, {dims}), '
                         f'got {type(array).__name__}') from None
    if poses.shape[1:] != (num_joints, dims):
        raise ValueError(f'{where} must be (N, {num_joints}, {dims}), got '
                         f'{poses.shape}')
    if not len(poses):
        raise ValueError(f'{where} has no frames')
    broken = np.flatnonzero(~np.isfinite(poses).all((1, 2)))
    if len(broken):
        raise ValueError(f'{where} is not finite in {len(broken)} of '
                         f'{len(poses)} frames, the first {broken[:5]}')
    return poses


def check_same_length(first: np.ndarray, second: np.ndarray, where_first: str,
                      where_second: str) -> None:
    """Two arrays about the same frames.

    Raises:
        ValueError: If they have not the same length.
    """
    if len(first) != len(second):
        raise ValueError(f'{where_second} has {len(second)} frames, expected '
                         f'the {len(first)} of {where_first}')
