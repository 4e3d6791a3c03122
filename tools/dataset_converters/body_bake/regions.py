# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Clothing-like regions of the body's surface."""
from typing import Sequence

import numpy as np

GROUP_NAMES = ('skin', 'hair', 'top', 'sleeves', 'trousers', 'lower_legs',
               'shoes', 'eyes', 'brows', 'lips', 'lower_sleeves')


def vertex_groups(vertices: np.ndarray, joints: np.ndarray,
                  weights: np.ndarray, eyes: Sequence[int],
                  lips: np.ndarray) -> np.ndarray:
    """Name the part of an everyday outfit that covers each vertex.

    Skirts and hats are left to the renderer; short sleeves are ``sleeves``
    without ``lower_sleeves``, shorts ``trousers`` without ``lower_legs``.

    Args:
        vertices (np.ndarray): Template in the T pose, shaped (V, 3), metres.
        joints (np.ndarray): Its joints, shaped (24, 3).
        weights (np.ndarray): Skinning weights, shaped (V, 24).
        eyes (Sequence[int]): Vertices on the eyeballs.
        lips (np.ndarray): Which vertices are red of the lips, shaped (V,).

    Returns:
        np.ndarray: Indices into ``GROUP_NAMES``, shaped (V,), uint8.
    """
    x, y, z = np.abs(vertices[:, 0]), vertices[:, 1], vertices[:, 2]

    def share(*parts: int) -> np.ndarray:
        return weights[:, parts].sum(axis=1)

    names = np.full(len(vertices), 'skin', dtype='U16')
    pelvis, hip, knee, ankle = joints[0], joints[1], joints[4], joints[7]
    neck, shoulder = joints[12], joints[16]
    elbow, wrist = joints[18], joints[20]

    arm = share(16, 17, 18, 19, 20, 21, 22, 23) > 0.5
    head = share(12, 15) > 0.5
    body = ~arm & ~head
    # The belt sits a little above the hip joints' pelvis, level all round.
    belt = pelvis[1] + 0.07
    names[body & (y >= belt)] = 'top'
    shorts = knee[1] + 0.18 * (hip[1] - knee[1])
    names[body & (y < belt)] = 'trousers'
    names[body & (y < shorts)] = 'lower_legs'
    names[body & (y < ankle[1] + 0.02)] = 'shoes'
    # A round neck line, lower in front.
    radius = np.hypot(vertices[:, 0], z - neck[2])
    collar = shoulder[1] + 0.025 - 0.25 * np.maximum(z - neck[2], 0.)
    names[body & (y > collar) & (radius < 0.09)] = 'skin'
    length = elbow[0] - shoulder[0]
    names[arm & (x < shoulder[0] + 0.62 * length)] = 'sleeves'
    names[arm & (x >= shoulder[0] + 0.62 * length)] = 'lower_sleeves'
    names[arm & (x >= wrist[0] - 0.01)] = 'skin'

    skull = share(15) > 0.6
    eye = vertices[list(eyes)].mean(axis=0)
    crown = y[skull].max()
    ear = z[skull & (x > x[skull].max() - 0.01)].mean()
    # Hair line: across the forehead, in front of the ears, down the neck.
    forehead = eye[1] + 0.42 * (crown - eye[1])
    names[skull & (y > forehead)] = 'hair'
    names[skull & (z < ear + 0.03) & (y > eye[1] + 0.02)] = 'hair'
    names[skull & (z < ear - 0.012) & (y > eye[1] - 0.065)] = 'hair'
    names[(x > x[skull].max() - 0.016) & skull & (y < eye[1] + 0.03)] = 'skin'
    side = np.abs(vertices[eyes[0], 0])
    brow = (np.abs(x - side) < 0.024) & (np.abs(y - eye[1] - 0.017) < 0.004)
    names[skull & brow & (z > eye[2] - 0.02)] = 'brows'
    names[lips] = 'lips'
    names[list(eyes)] = 'eyes'
    return np.array([GROUP_NAMES.index(n) for n in names], dtype=np.uint8)
