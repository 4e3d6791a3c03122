# Copyright (c) The mpm_postometro authors. All rights reserved.
"""From MakeHuman's A pose to SMPL's T pose."""
from typing import Sequence, Tuple

import numpy as np
from scipy.spatial.transform import Rotation

# The shoulder girdle rises when an arm is lifted (radians).
CLAVICLE_LIFT = 0.22
# Joints of the left side: clavicle, shoulder, elbow, wrist, hand.
LEFT_ARM = (13, 16, 18, 20, 22)
LEFT_LEG = (1, 4, 7, 10)


def shortest_arc(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Rotation matrix (3, 3) that turns one direction into another."""
    source = source / np.linalg.norm(source)
    target = target / np.linalg.norm(target)
    axis = np.cross(source, target)
    sine, cosine = np.linalg.norm(axis), float(source @ target)
    if sine < 1e-12:
        return np.eye(3)
    return Rotation.from_rotvec(axis / sine *
                                np.arctan2(sine, cosine)).as_matrix()


def _roll(direction: np.ndarray, goal: np.ndarray) -> float:
    """Angle about x that turns ``direction`` towards ``goal`` (yz plane)."""
    return float(
        np.arctan2(goal[2], goal[1]) - np.arctan2(direction[2], direction[1]))


def _wrap(angle: float) -> float:
    return float((angle + np.pi) % (2 * np.pi) - np.pi)


def bone_rotations(joints: np.ndarray, across_palm: np.ndarray) -> np.ndarray:
    """World rotation of every bone from the A pose to the T pose.

    Args:
        joints (np.ndarray): Joints in the A pose, shaped (24, 3).
        across_palm (np.ndarray): From the little finger's to the index
            finger's first joint of the left hand, shaped (3,).

    Returns:
        np.ndarray: Rotations, shaped (24, 3, 3); the right side is left to
        the caller.
    """
    rotations = np.tile(np.eye(3), (24, 1, 1))
    left = np.array([1., 0., 0.])
    clavicle, shoulder, elbow, wrist, hand = LEFT_ARM
    rotations[clavicle] = Rotation.from_rotvec([0, 0,
                                                CLAVICLE_LIFT]).as_matrix()
    upper = shortest_arc(joints[elbow] - joints[shoulder], left)
    fore = shortest_arc(joints[wrist] - joints[elbow], left)
    # The elbow is authored slightly bent: its axis must point down (-y), so
    # that bending brings the forearm forwards.
    hinge = upper @ np.cross(joints[elbow] - joints[shoulder],
                             joints[wrist] - joints[elbow])
    elbow_roll = _wrap(_roll(hinge, np.array([0., -1., 0.])))
    # Palms down: the index finger lies in front of the little finger.
    palm = shortest_arc(joints[hand] - joints[wrist], left)
    palm_roll = _wrap(_roll(palm @ across_palm, np.array([0., 0., 1.])))
    about = (lambda a: Rotation.from_rotvec([a, 0, 0]).as_matrix())
    rotations[shoulder] = about(elbow_roll) @ upper
    # The forearm twists with the hand.
    rotations[elbow] = about(0.5 * (elbow_roll + palm_roll)) @ fore
    rotations[wrist] = rotations[hand] = about(palm_roll) @ palm
    # Legs: straight down seen from the front, as authored from the side.
    for joint, child in ((1, 4), (4, 7)):
        bone = joints[child] - joints[joint]
        flat = np.array([bone[0], bone[1], 0.])
        rotations[joint] = shortest_arc(flat, np.array([0., -1., 0.]))
    return rotations


def to_t_pose(vertices: np.ndarray, joints: np.ndarray,
              across_palm: np.ndarray, weights: np.ndarray,
              parents: np.ndarray,
              mirror_joints: Sequence[int]) -> Tuple[np.ndarray, np.ndarray]:
    """Undo the A pose so that skinning back to it gives the authored body.

    Skinning into the T pose and out again would lose volume twice at the
    shoulders. Instead the T pose is solved for: linear blend skinning of the
    result into the A pose returns ``vertices`` exactly.

    Args:
        vertices (np.ndarray): Vertices in the A pose, shaped (V, 3).
        joints (np.ndarray): Joints in the A pose, shaped (24, 3).
        across_palm (np.ndarray): See :func:`bone_rotations`.
        weights (np.ndarray): Skinning weights, shaped (V, 24).
        parents (np.ndarray): Parent of each joint, shaped (24,).
        mirror_joints (Sequence[int]): Partner of each joint, shaped (24,).

    Returns:
        tuple: Vertices (V, 3) and joints (24, 3) in the T pose, pelvis kept.
    """
    rotations = bone_rotations(joints, across_palm)
    flip = np.diag([-1., 1., 1.])
    for joint in LEFT_ARM + LEFT_LEG:
        rotations[mirror_joints[joint]] = flip @ rotations[joint] @ flip
    posed = joints.copy()
    for joint in range(1, len(parents)):
        parent = parents[joint]
        posed[joint] = posed[parent] + rotations[parent] @ (
            joints[joint] - joints[parent])
    back = rotations.transpose(0, 2, 1)  # T pose to A pose
    offset = joints - np.einsum('jab,jb->ja', back, posed)
    blended = np.einsum('vj,jab->vab', weights, back)
    rest = np.linalg.solve(blended,
                           (vertices - weights @ offset)[..., None])[..., 0]
    return rest, posed
