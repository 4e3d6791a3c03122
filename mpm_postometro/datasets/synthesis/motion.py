# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Poses from motion capture in place of the motion primitives."""
import hashlib
from pathlib import Path
from typing import Union

import numpy as np
from scipy.spatial.transform import Rotation

from .limbs import rotation_y
from .poses import SampledPose

__all__ = ['MotionPoses']

# Motion capture has z up, the sampler y up.
_Z_UP_TO_Y_UP = np.array([[1., 0, 0], [0, 0, 1], [0, -1, 0]])


class MotionPoses:
    """Draws frames of a motion-capture file, heading taken out.

    The file is an ``.npz`` with ``pose`` of shape (N, 24, 3): axis-angle,
    SMPL's joint order, joint 0 the world orientation with z up.

    Args:
        path (str | Path): The file.
        noise (float): Standard deviation of the perturbation of every joint,
            degrees.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it has no ``pose`` of that shape, or values that are
            not finite.
    """

    def __init__(self, path: Union[str, Path], noise: float = 3.) -> None:
        path = Path(path)
        if not path.is_file():
            raise FileNotFoundError(f'motion_file {path} does not exist')
        with np.load(path, allow_pickle=False) as arrays:
            if 'pose' not in arrays:
                raise ValueError(f"{path}: has no key 'pose', only "
                                 f'{sorted(arrays)}')
            pose = arrays['pose']
        if pose.ndim != 3 or pose.shape[1:] != (24, 3) or not len(pose):
            raise ValueError(f"{path}: 'pose' must be (N, 24, 3) axis-angle, "
                             f'got {pose.shape}')
        if not np.isfinite(pose).all():
            raise ValueError(f"{path}: 'pose' has values that are not finite")
        self.path = path
        self.pose = np.ascontiguousarray(pose, np.float32)
        self.noise = noise

    def fingerprint(self) -> str:
        """str: Hash of the poses."""
        return hashlib.sha256(self.pose.tobytes()).hexdigest()[:16]

    def sample(self, rng: np.random.Generator) -> SampledPose:
        """Draw a frame.

        Args:
            rng (np.random.Generator): Source of randomness.

        Returns:
            SampledPose: As :meth:`PoseSampler.sample`.
        """
        frame = self.pose[rng.integers(len(self.pose))].astype(np.float64)
        jitter = rng.normal(0, np.pi / 180 * self.noise, (23, 3))
        body = (Rotation.from_rotvec(frame[1:]) *
                Rotation.from_rotvec(jitter)).as_rotvec()
        root = _Z_UP_TO_Y_UP @ Rotation.from_rotvec(frame[0]).as_matrix()
        forward = root[:, 2]
        if np.hypot(forward[0], forward[2]) < 0.3:  # lying: feet to head
            forward = root[:, 1] * -np.sign(forward[1])
        heading = np.degrees(np.arctan2(forward[0], forward[2]))
        return SampledPose(
            rotation_y(-heading) @ root, body.astype(np.float32), 'motion', 0.)
