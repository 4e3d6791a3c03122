# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Plain linear blend skinning and random poses, to fit and to judge."""
from typing import Sequence, Tuple

import numpy as np
from scipy.spatial.transform import Rotation

# Spread of the random rotations (radians) about the axes of SMPL's rest pose
# (x left, y up, z forward) for the joints of the middle and of the left side;
# means bring the arms down from the T pose, bend elbows and knees.
POSE_STD = {
    0: (.3, .3, .3),
    1: (.45, .25, .25),
    3: (.2, .15, .12),
    4: (.45, .05, .05),
    6: (.12, .12, .1),
    7: (.25, .15, .12),
    9: (.1, .1, .1),
    10: (.12, .02, .02),
    12: (.2, .25, .15),
    13: (.05, .15, .15),
    15: (.2, .25, .15),
    16: (.4, .45, .55),
    18: (.3, .6, .15),
    20: (.3, .2, .3),
    22: (.1, .1, .25),
}
POSE_MEAN = {
    1: (-.25, 0., .06),
    4: (.45, 0., 0.),
    16: (0., 0., -.7),
    18: (0., -.6, 0.),
    22: (0., 0., -.15),
}


def random_poses(count: int, rng: np.random.Generator,
                 mirror_joints: Sequence[int]) -> np.ndarray:
    """Draw everyday poses, symmetric in distribution.

    Args:
        count (int): Number of poses N.
        rng (np.random.Generator): Source of randomness.
        mirror_joints (Sequence[int]): Partner of each joint.

    Returns:
        np.ndarray: Axis-angle rotations, shaped (N, 24, 3).
    """
    poses = np.zeros((count, len(mirror_joints), 3))
    for joint, partner in enumerate(mirror_joints):
        if joint in POSE_STD:
            side, flip = joint, np.ones(3)
        else:
            side, flip = partner, np.array([1., -1., -1.])
        mean = np.array(POSE_MEAN.get(side, (0., 0., 0.)))
        draw = mean + rng.normal(size=(count, 3)) * POSE_STD[side]
        if side == 4:  # knees do not bend forwards
            draw[:, 0] = np.abs(draw[:, 0])
        poses[:, joint] = draw * flip
    return poses


def skin_joints(joints: np.ndarray, parents: np.ndarray,
                poses: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Forward kinematics.

    Args:
        joints (np.ndarray): Rest joints, shaped (N, J, 3), metres.
        parents (np.ndarray): Parent of each joint, shaped (J,); root -1.
        poses (np.ndarray): Axis-angle rotations, shaped (N, J, 3).

    Returns:
        tuple: World rotations (N, J, 3, 3) and posed joints (N, J, 3).
    """
    count, num_joints = poses.shape[:2]
    local = Rotation.from_rotvec(poses.reshape(-1, 3)).as_matrix()
    local = local.reshape(count, num_joints, 3, 3)
    rotation, position = [local[:, 0]], [joints[:, 0]]
    for j in range(1, num_joints):
        p = int(parents[j])
        rotation.append(rotation[p] @ local[:, j])
        bone = (joints[:, j] - joints[:, p])[..., None]
        position.append(position[p] + (rotation[p] @ bone)[..., 0])
    return np.stack(rotation, axis=1), np.stack(position, axis=1)


def skin(vertices: np.ndarray, joints: np.ndarray, weights: np.ndarray,
         parents: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """Linear blend skinning (SMPL, Loper et al. 2015, Eq. 2 to 4).

    Args:
        vertices (np.ndarray): Rest vertices, shaped (N, V, 3), metres.
        joints (np.ndarray): Rest joints, shaped (N, J, 3), metres.
        weights (np.ndarray): Skinning weights, shaped (V, J).
        parents (np.ndarray): Parent of each joint, shaped (J,); root -1.
        poses (np.ndarray): Axis-angle rotations, shaped (N, J, 3).

    Returns:
        np.ndarray: Posed vertices, shaped (N, V, 3).
    """
    count, num_joints = poses.shape[:2]
    rotation, position = skin_joints(joints, parents, poses)
    offset = position - (rotation @ joints[..., None])[..., 0]
    transform = np.concatenate([rotation, offset[..., None]], axis=-1)
    posed = np.empty_like(vertices)
    for n in range(count):
        blended = (weights @ transform[n].reshape(num_joints, 12)).reshape(
            -1, 3, 4)
        posed[n] = (blended[:, :, :3]
                    @ vertices[n, :, :, None])[..., 0] + blended[:, :, 3]
    return posed
