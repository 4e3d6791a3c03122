# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Natural poses from motion primitives, for bodies with SMPL's 24 joints."""
from typing import NamedTuple, Optional

import numpy as np
from scipy.spatial.transform import Rotation

from .gestures import GESTURES, USUAL, Reach, Swing
from .limbs import (arm_from_angles, arm_to_target, limit_angle, mirror,
                    rotation_x, rotation_y, rotation_z, thigh_rotation,
                    trunk_rotation)
from .skinning import NumpyBody
from .stances import STANCES, Leg, Stance

__all__ = ['SampledPose', 'PoseSampler', 'PENETRATION_LIMIT']

# Joints of SMPL's tree.
(PELVIS, L_HIP, R_HIP, SPINE1, L_KNEE, R_KNEE, SPINE2, L_ANKLE, R_ANKLE,
 SPINE3, L_FOOT, R_FOOT, NECK, L_COLLAR, R_COLLAR, HEAD, L_SHOULDER,
 R_SHOULDER, L_ELBOW, R_ELBOW, L_WRIST, R_WRIST, L_HAND, R_HAND) = range(24)

#: Summed overlap of limb capsules (metres) that passes as a touch.
PENETRATION_LIMIT = 0.02
_ATTEMPTS = 4
# Largest rotation of joints that get noise, degrees.
_LIMITS = {
    SPINE1: 38, SPINE2: 32, SPINE3: 30, NECK: 45, HEAD: 42, L_COLLAR: 28,
    R_COLLAR: 28, L_WRIST: 60, R_WRIST: 60, L_ANKLE: 48, R_ANKLE: 48,
    L_FOOT: 35, R_FOOT: 35, L_HAND: 25, R_HAND: 25
}  # yapf: disable
# Capsules (joint, joint, radius in metres); the last one of a limb is
# lengthened to cover hand or crown.
_CAPSULES = (
    (SPINE1, SPINE3, .115), (SPINE3, NECK, .10), (HEAD, HEAD, .105),
    (L_HIP, L_KNEE, .065), (R_HIP, R_KNEE, .065),
    (L_KNEE, L_ANKLE, .05), (R_KNEE, R_ANKLE, .05),
    (L_ELBOW, L_HAND, .038), (R_ELBOW, R_HAND, .038),
    (L_SHOULDER, L_ELBOW, .045), (R_SHOULDER, R_ELBOW, .045),
)  # yapf: disable
_PAIRS = np.array([(0, 7), (0, 8), (1, 7), (1, 8), (2, 7), (2, 8), (7, 8),
                   (3, 7), (4, 8), (3, 8), (4, 7), (5, 7), (6, 8), (5, 6),
                   (3, 6), (4, 5), (0, 3), (0, 4), (2, 9), (2, 10), (7, 10),
                   (8, 9), (0, 9), (0, 10), (1, 3), (1, 4)])
# Upper arms leave from inside the chest, thighs from inside the belly: these
# pairs get shorter reach.
_SHRINK = np.where((_PAIRS[:, 0] < 2) & (_PAIRS[:, 1] > 8), .05, 0.)
_SHRINK = np.where((_PAIRS[:, 0] < 2) & (_PAIRS[:, 1] < 5), .06, _SHRINK)


class SampledPose(NamedTuple):
    """A pose with the person's heading taken out.

    Attributes:
        root (np.ndarray): Rotation of the pelvis in a frame whose y points
            up and in which the person faces +z. Shape (3, 3).
        body_pose (np.ndarray): Axis-angle. Shape (J - 1, 3), float32.
        name (str): The stance it was drawn from.
        penetration (float): Summed overlap of limb capsules, metres.
    """
    root: np.ndarray
    body_pose: np.ndarray
    name: str
    penetration: float


class PoseSampler:
    """Draws natural poses.

    Args:
        body (NumpyBody): Body whose skeleton has SMPL's 24 joints.
        noise (float): Standard deviation of the perturbation of every joint,
            degrees.
        stances (dict, optional): Stance name -> weight, to replace the usual
            frequencies.

    Raises:
        ValueError: If the body has other joints or a stance is unknown.
    """

    def __init__(self,
                 body: NumpyBody,
                 noise: float = 4.,
                 stances: Optional[dict] = None) -> None:
        if body.num_joints != R_HAND + 1:
            raise ValueError('PoseSampler needs a body with SMPL\'s 24 '
                             f'joints, got {body.num_joints}')
        weights = {name: weight for name, (weight, _) in STANCES.items()}
        if stances is not None:
            unknown = set(stances) - set(weights)
            if unknown:
                raise ValueError(f'unknown stances {sorted(unknown)}, known: '
                                 f'{sorted(weights)}')
            weights = dict(stances)
        self.body = body
        self.noise = noise
        self._stances = list(weights)
        self._stance_edges = _edges(weights.values())
        self._usual = list(USUAL)
        self._usual_edges = _edges(USUAL.values())
        rest = body.joints_template.astype(np.float64)
        self.rest = rest
        self._upper = np.linalg.norm(rest[L_ELBOW] - rest[L_SHOULDER])
        self._lower = np.linalg.norm(rest[L_WRIST] - rest[L_ELBOW])
        self._size = (self._upper + self._lower) / 0.5
        self._starts = np.array([a for a, _, _ in _CAPSULES])
        self._ends = np.array([b for _, b, _ in _CAPSULES])
        radii = np.array([r for _, _, r in _CAPSULES]) * self._size
        self._reach = (
            radii[_PAIRS[:, 0]] + radii[_PAIRS[:, 1]] - _SHRINK * self._size)

    def sample(self, rng: np.random.Generator) -> SampledPose:
        """Draw a pose; of a few attempts, the first without limbs inside one
        another, or the best.

        Args:
            rng (np.random.Generator): Source of randomness.

        Returns:
            SampledPose: Root rotation, joint rotations, name of the stance.
        """
        best = None
        pick = np.searchsorted(self._stance_edges, rng.random())
        name = self._stances[pick]
        for _ in range(_ATTEMPTS):
            rotations = self._draw(name, rng)
            penetration = self.penetration(rotations)
            if best is None or penetration < best[0]:
                best = penetration, rotations
            if penetration < PENETRATION_LIMIT:
                break
        penetration, rotations = best
        root, local = rotations[0], rotations[1:]
        pose = Rotation.from_matrix(local).as_rotvec().astype(np.float32)
        if rng.random() < 0.5:  # primitives are written for one side
            root, pose = mirror(root), self._mirror_pose(pose)
        return SampledPose(root, pose, name, penetration)

    def penetration(self, rotations: np.ndarray) -> float:
        """Summed overlap of limb capsules.

        Args:
            rotations (np.ndarray): Local rotations. Shape (24, 3, 3).

        Returns:
            float: Metres.
        """
        _, joints = self.body.forward_kinematics(rotations, self.rest)
        a, b = joints[self._starts], joints[self._ends]
        b = b.copy()
        b[2] += 0.5 * (joints[HEAD] - joints[NECK])
        b[7:9] += 0.8 * (b[7:9] - joints[[L_WRIST, R_WRIST]])
        gap = _segment_distance(a[_PAIRS[:, 0]], b[_PAIRS[:, 0]],
                                a[_PAIRS[:, 1]], b[_PAIRS[:, 1]])
        return float(np.maximum(self._reach - gap, 0).sum())

    def _mirror_pose(self, pose: np.ndarray) -> np.ndarray:
        mirrored = pose[_SWAP] * np.array([1, -1, -1], np.float32)
        return mirrored

    def _draw(self, name: str, rng: np.random.Generator) -> np.ndarray:
        """Local rotations (24, 3, 3), the root's relative to the heading."""
        stance = STANCES[name][1](rng)
        rotations = np.tile(np.eye(3), (24, 1, 1))
        root = rotation_x(stance.lean) @ rotation_z(-stance.side)
        rotations[PELVIS] = root
        flexion, bend, twist = stance.trunk
        lean = min(max(stance.lean, -40.), 60.)
        for joint, share in ((SPINE1, .4), (SPINE2, .33), (SPINE3, .27)):
            rotations[joint] = trunk_rotation(share * flexion, share * bend,
                                              share * twist)
        look = (rng.normal(2, 11) - 0.35 * flexion - 0.25 * lean,
                rng.normal(0, 7), rng.normal(0, 24) - 0.3 * twist)
        for joint, share in ((NECK, .45), (HEAD, .55)):
            rotations[joint] = trunk_rotation(*(share * v for v in look))
        self._legs(rotations, stance, root)
        self._arms(rotations, stance, rng)
        jitter = rng.normal(0, np.pi / 180 * self.noise, (24, 3))
        jitter[[PELVIS, L_KNEE, R_KNEE, L_ELBOW, R_ELBOW]] = 0
        jitter[[L_HAND, R_HAND, L_WRIST, R_WRIST]] *= 2.5
        rotations = rotations @ Rotation.from_rotvec(jitter).as_matrix()
        for joint, limit in _LIMITS.items():
            rotations[joint] = limit_angle(rotations[joint], limit)
        return rotations

    def _legs(self, rotations, stance: Stance, root: np.ndarray) -> None:
        frame = np.eye(3) if stance.legs_follow_pelvis else root.T
        for leg, side in ((stance.left, 0), (stance.right, 1)):
            thigh, knee, ankle = _leg_rotations(leg, side)
            hip = limit_angle(frame @ thigh, 135)
            rotations[L_HIP + side] = hip
            rotations[L_KNEE + side] = knee
            if ankle is None:  # keep the sole level, toes along the shin
                shin = root @ hip @ knee
                toes = np.array([shin[0, 2], 0, shin[2, 2]])
                if np.hypot(toes[0], toes[2]) < 0.2:
                    toes = -np.array([shin[0, 1], 0, shin[2, 1]])
                heading = np.degrees(np.arctan2(toes[0], toes[2]))
                ankle = shin.T @ rotation_y(heading)
            rotations[L_ANKLE + side] = limit_angle(ankle, 42)

    def _arms(self, rotations, stance: Stance,
              rng: np.random.Generator) -> None:
        names = stance.gestures
        if names:
            name = names[int(rng.integers(len(names)))]
        elif stance.swing is not None and rng.random() < 0.65:
            name = 'walk'
        else:
            name = self._usual[np.searchsorted(self._usual_edges,
                                               rng.random())]
        for side in range(2):
            shrug, shoulder, elbow = self._arm(name, side, stance, rng)
            collar = (rotation_z(shrug) @ rotation_y(rng.normal(0, 4)))
            shoulder = collar.T @ shoulder
            parts = (collar, shoulder, elbow)
            if side:
                parts = [mirror(part) for part in parts]
            for joint, part in zip((L_COLLAR, L_SHOULDER, L_ELBOW), parts):
                rotations[joint + side] = part

    def _arm(self, name: str, side: int, stance: Stance,
             rng: np.random.Generator):
        """Lift of the collar, rotation of shoulder and elbow, left side."""
        if name in ('walk', 'jog'):
            # Arms swing against the leg of their side.
            phase = np.cos(2 * np.pi * ((stance.swing or 0.) + 0.5 * side))
            reach = -phase * rng.uniform(18, 34)
            elbow = rng.uniform(8, 30) - 0.4 * min(phase, 0) * 20
            if name == 'jog':
                reach, elbow = 1.4 * reach, rng.uniform(65, 110)
            elevation = np.hypot(reach, 10)
            azimuth = 15. if reach > 0 else 160.
            azimuth += rng.normal(0, 6)
            return (0., *arm_from_angles(elevation, azimuth, rng.uniform(
                5, 35), elbow))
        if name == 'free':
            name = self._usual[int(rng.integers(len(self._usual) - 1))]
        primitive = GESTURES[name][side]
        if isinstance(primitive, Swing):
            elevation = rng.uniform(*primitive.elevation)
            shrug = min(max(0.16 * (elevation - 60), 0.), 18.)
            return (shrug, *arm_from_angles(
                elevation, rng.uniform(*primitive.azimuth),
                rng.uniform(*primitive.rotation),
                rng.uniform(*primitive.elbow), rng.normal(0, 25)))
        return (0., *self._reach_for(primitive, rng))

    def _reach_for(self, primitive: Reach, rng: np.random.Generator):
        target = (np.array(primitive.target) +
                  rng.normal(0, primitive.spread, 3)) * self._size
        pole = np.array(primitive.pole) + rng.normal(0, 0.15, 3)
        shoulder = self.rest[L_SHOULDER] - self.rest[SPINE3]
        return arm_to_target(shoulder, target, pole, self._upper, self._lower,
                             rng.uniform(*primitive.pronation))


def _leg_rotations(leg: Leg, side: int):
    thigh = thigh_rotation(leg.flexion, leg.abduction, leg.rotation)
    knee = rotation_x(min(max(leg.knee, 0.), 150.))
    ankle = None if leg.ankle is None else rotation_x(-leg.ankle)
    return (mirror(thigh) if side else thigh), knee, ankle


def _edges(weights) -> np.ndarray:
    total = np.cumsum(list(weights), dtype=np.float64)
    return total / total[-1]


def _segment_distance(p1, q1, p2, q2) -> np.ndarray:
    """Smallest distance of segments p1-q1 and p2-q2, each (N, 3).

    Closest points as in Ericson, *Real-Time Collision Detection*, 5.1.9.
    """
    d1, d2, r = q1 - p1, q2 - p2, p1 - p2
    a = np.einsum('ni,ni->n', d1, d1) + 1e-9
    e = np.einsum('ni,ni->n', d2, d2) + 1e-9
    b = np.einsum('ni,ni->n', d1, d2)
    c = np.einsum('ni,ni->n', d1, r)
    f = np.einsum('ni,ni->n', d2, r)
    s = np.clip((b * f - c * e) / np.maximum(a * e - b * b, 1e-9), 0, 1)
    t = np.clip((b * s + f) / e, 0, 1)
    s = np.clip((b * t - c) / a, 0, 1)
    gap = r + s[:, None] * d1 - t[:, None] * d2
    return np.sqrt(np.einsum('ni,ni->n', gap, gap))


_SWAP = np.array([
    2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20,
    23, 22
]) - 1
