# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Three ways to name the axes of upright people, and the turns between.

==========  =====================================  =======================
axes        x, y, z                                 as in
==========  =====================================  =======================
``camera``  right, down, forward (from the camera)  OpenCV, MPM
``y-up``    right, up, towards the camera           glTF, most of BVH
``z-up``    right, forward, up                      Human3.6M's world, CMU
==========  =====================================  =======================
"""
import numpy as np

__all__ = ['AXES', 'turn_axes']

# From the camera's axes. Numbers only change place and sign: exact.
_FROM_CAMERA = {
    'camera': np.eye(3),
    'y-up': np.diag([1., -1., -1.]),
    'z-up': np.array([[1., 0., 0.], [0., 0., 1.], [0., -1., 0.]])
}

#: dict[str, str]: Names of the axes, and what they say.
AXES = {
    'camera': 'x right, y down, z forward',
    'y-up': 'x right, y up, z towards the camera',
    'z-up': 'x right, y forward, z up'
}


def turn_axes(points: np.ndarray, source: str, target: str) -> np.ndarray:
    """Turn points about the origin, so that other axes name them.

    World coordinates with z up become those of a level camera that looks
    along the world's y, and so on.

    Args:
        points (np.ndarray): (..., 3).
        source (str): Axes of the points, one of ``AXES``.
        target (str): Axes of the result.

    Returns:
        np.ndarray: (..., 3), of the type of the points.

    Raises:
        ValueError: If there are no such axes.
    """
    for name in (source, target):
        if name not in _FROM_CAMERA:
            raise ValueError(f"unknown axes '{name}', expected one of "
                             f'{list(AXES)}')
    points = np.asarray(points)
    turn = _FROM_CAMERA[target] @ _FROM_CAMERA[source].T
    order = np.abs(turn).argmax(1)
    signs = turn[np.arange(3), order].astype(points.dtype)
    return points[..., order] * signs
