# Copyright (c) The mpm_postometro authors. All rights reserved.
"""From anatomical angles and hand targets to local joint rotations.

Everything is written for the *left* side in the body frame (x left, y up,
z forward, rest = T pose) and mirrored for the right one, so that both sides
are exact mirror images. Angles are in degrees here, because that is how
anatomy books list joint ranges.
"""
import math
from typing import Sequence

import numpy as np

__all__ = [
    'rotation_x', 'rotation_y', 'rotation_z', 'mirror', 'trunk_rotation',
    'thigh_rotation', 'arm_from_angles', 'arm_to_target', 'limit_angle', 'bump'
]

_MIRROR = np.diag([-1., 1., 1.])


def _cos_sin(degrees: float):
    radians = math.pi / 180 * degrees
    return math.cos(radians), math.sin(radians)


def rotation_x(degrees: float) -> np.ndarray:
    """Turn about x (left): y to z; positive bends the trunk forward."""
    c, s = _cos_sin(degrees)
    return np.array([[1, 0, 0], [0, c, -s], [0, s, c]])


def rotation_y(degrees: float) -> np.ndarray:
    """Turn about y (up): z to x; positive turns to the person's left."""
    c, s = _cos_sin(degrees)
    return np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])


def rotation_z(degrees: float) -> np.ndarray:
    """Turn about z (forward): x to y; positive leans to the right."""
    c, s = _cos_sin(degrees)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def mirror(rotation: np.ndarray) -> np.ndarray:
    """The same movement of the other side of the body."""
    return _MIRROR @ rotation @ _MIRROR


def trunk_rotation(flexion: float, bend: float, twist: float) -> np.ndarray:
    """Rotation of a joint of the spine, neck or head, or of the whole trunk.

    Args:
        flexion (float): Forwards.
        bend (float): To the left.
        twist (float): To the left.
    """
    return rotation_y(twist) @ rotation_x(flexion) @ rotation_z(-bend)


def thigh_rotation(flexion: float, abduction: float,
                   rotation: float) -> np.ndarray:
    """Rotation of the left thigh.

    Args:
        flexion (float): Knee forwards and up.
        abduction (float): Knee outwards.
        rotation (float): Toes outwards.
    """
    return rotation_x(-flexion) @ rotation_z(abduction) @ rotation_y(rotation)


def limit_angle(rotation: np.ndarray, degrees: float) -> np.ndarray:
    """Shorten a rotation to at most an angle about its own axis."""
    trace = float(rotation[0, 0] + rotation[1, 1] + rotation[2, 2])
    limit = math.pi / 180 * degrees
    if (trace - 1) / 2 >= math.cos(limit):
        return rotation
    axis = np.array([
        rotation[2, 1] - rotation[1, 2], rotation[0, 2] - rotation[2, 0],
        rotation[1, 0] - rotation[0, 1]
    ])
    return _about(axis, limit)


def _about(axis: np.ndarray, radians: float) -> np.ndarray:
    """Rodrigues' formula."""
    x, y, z = axis / max(math.sqrt(axis @ axis), 1e-12)
    c, s = math.cos(radians), math.sin(radians)
    d = 1 - c
    return np.array([[c + d * x * x, d * x * y - s * z, d * x * z + s * y],
                     [d * x * y + s * z, c + d * y * y, d * y * z - s * x],
                     [d * x * z - s * y, d * y * z + s * x, c + d * z * z]])


def _arm_frame(upper: np.ndarray, bend: np.ndarray) -> np.ndarray:
    """Shoulder frame whose x runs along the upper arm and whose z points to
    where the forearm goes when the elbow bends."""
    z = bend - (bend @ upper) * upper
    z /= max(math.sqrt(z @ z), 1e-9)
    y = np.array([
        z[1] * upper[2] - z[2] * upper[1], z[2] * upper[0] - z[0] * upper[2],
        z[0] * upper[1] - z[1] * upper[0]
    ])
    return np.stack([upper, y, z], axis=1)


def _elbow(flexion: float, pronation: float) -> np.ndarray:
    return rotation_y(-flexion) @ rotation_x(pronation)


def arm_from_angles(elevation: float,
                    azimuth: float,
                    rotation: float,
                    elbow: float,
                    pronation: float = 0.):
    """Left arm from the direction of the upper arm.

    Args:
        elevation (float): Angle of the upper arm from straight down.
        azimuth (float): Plane in which it was raised: 0 forwards, 90
            sideways, 180 backwards, negative across the chest.
        rotation (float): About its own axis, positive inwards. At 0 the
            elbow bends as it does on the way up from a hanging arm whose
            forearm bends forwards.
        elbow (float): Flexion of the elbow.
        pronation (float): Turn of the forearm about its own axis.

    Returns:
        tuple: rotations of shoulder (relative to the chest) and elbow.
    """
    ce, se = _cos_sin(elevation)
    ca, sa = _cos_sin(azimuth)
    upper = np.array([se * sa, -ce, se * ca])
    lift = _about(np.array([-ca, 0., sa]), np.pi / 180 * elevation)
    cr, sr = _cos_sin(rotation)
    bend = lift @ np.array([-sr, 0., cr])
    return _arm_frame(upper, bend), _elbow(elbow, pronation)


def arm_to_target(shoulder: np.ndarray,
                  target: np.ndarray,
                  pole: Sequence[float],
                  upper_length: float,
                  lower_length: float,
                  pronation: float = 0.):
    """Left arm whose wrist touches a point (two-bone inverse kinematics).

    Args:
        shoulder (np.ndarray): Position of the shoulder. Shape (3, ).
        target (np.ndarray): Wanted position of the wrist; drawn nearer when
            it is out of reach. Shape (3, ).
        pole (Sequence[float]): Direction to which the elbow points.
        upper_length (float): From shoulder to elbow, metres.
        lower_length (float): From elbow to wrist, metres.
        pronation (float): Turn of the forearm about its own axis.

    Returns:
        tuple: rotations of shoulder (relative to the chest) and elbow.
    """
    way = np.asarray(target, float) - shoulder
    distance = math.sqrt(way @ way)
    direction = way / max(distance, 1e-9)
    # The elbow bends to 145 degrees and never locks quite straight.
    nearest = _closing(upper_length, lower_length, 145.)
    farthest = _closing(upper_length, lower_length, 4.)
    distance = min(max(distance, nearest), farthest)
    along = (upper_length**2 - lower_length**2 + distance**2) / (2 * distance)
    height = math.sqrt(max(upper_length**2 - along**2, 0.))
    pole = np.asarray(pole, float)
    side = pole - (pole @ direction) * direction
    side /= max(math.sqrt(side @ side), 1e-9)
    elbow = along * direction + height * side
    upper = elbow / upper_length
    fore = (distance * direction - elbow) / lower_length
    flexion = math.degrees(math.acos(min(max(upper @ fore, -1.), 1.)))
    return _arm_frame(upper, fore), _elbow(flexion, pronation)


def _closing(upper: float, lower: float, flexion: float) -> float:
    """Distance from shoulder to wrist at a flexion of the elbow."""
    return math.sqrt(upper**2 + lower**2 +
                     2 * upper * lower * math.cos(np.pi / 180 * flexion))


def bump(phase: float, centre: float, width: float = 0.12) -> float:
    """Smooth bump of height 1 on the circle of phases [0, 1)."""
    gap = (phase - centre + 0.5) % 1 - 0.5
    return math.exp(-0.5 * (gap / width)**2)
