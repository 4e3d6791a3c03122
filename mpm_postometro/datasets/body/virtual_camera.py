# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Cameras that look at motion capture, and those of Human3.6M."""
import json
import zlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Dict, List, Tuple

import numpy as np
import torch

from mpm_postometro.bodies.cameras import distorted_project
from .pose_sequence import Frames, PoseSequence

__all__ = [
    'FilmedSequence', 'VirtualCamera', 'draw_camera', 'film', 'h36m_cameras',
    'look_from'
]

_H36M_FILE = Path(__file__).parent / 'assets' / 'h36m_cameras.json'
# What a camera is drawn from: about as Human3.6M's stand, and far enough for
# their lenses to see the whole way that the person goes.
_ELEVATION = (-5., 25.)  # degrees above the horizon of the pelvis
_DISTANCE = (4., 6.)  # metres to the middle of the way
_ARMS = 0.7  # metres that a person needs beside the way
_ROOM = (1., 1.25)  # of what the picture shows, by what it must show


@dataclass(frozen=True)
class VirtualCamera:
    """Where a camera stands and what lens it has.

    Attributes:
        name (str): e.g. '54138969'.
        rotation (np.ndarray): (3, 3), world to camera (x right, y down, z
            forward).
        position (np.ndarray): (3, ), world, metres.
        intrinsics (np.ndarray): (9, ), pixels: fx, fy, cx, cy, k1, k2, k3,
            p1, p2.
        image_size (tuple[int, int]): Width and height, pixels.
    """

    name: str
    rotation: np.ndarray
    position: np.ndarray
    intrinsics: np.ndarray
    image_size: Tuple[int, int]

    def to_camera(self, points: np.ndarray) -> np.ndarray:
        """World to camera frame, (..., 3), float32, metres."""
        turned = (points - self.position) @ self.rotation.T
        return turned.astype(np.float32, copy=False)

    def project(self, points: np.ndarray) -> np.ndarray:
        """Camera frame (..., K, 3) to pixels (..., K, 2), float32."""
        return distorted_project(
            torch.from_numpy(points),
            torch.from_numpy(self.intrinsics)).numpy()


def look_from(azimuth: float, elevation: float) -> np.ndarray:
    """Rotation (3, 3) from the world, z up, to a camera that stands in this
    direction from what it looks at; radians."""
    forward = -np.array([
        np.cos(elevation) * np.cos(azimuth),
        np.cos(elevation) * np.sin(azimuth),
        np.sin(elevation)
    ])
    right = np.cross(forward, [0., 0., 1.])
    right /= np.linalg.norm(right)
    return np.stack([right, np.cross(forward, right), forward])


@lru_cache(maxsize=None)
def h36m_cameras() -> Dict[str, List[VirtualCamera]]:
    """Human3.6M's four cameras by subject, in the order of VideoPose3D's
    files.

    Returns:
        dict[str, list[VirtualCamera]]: World: metres, z up.
    """
    facts = json.loads(_H36M_FILE.read_text(encoding='utf-8'))
    lenses = facts['intrinsics']
    return {
        subject: [
            VirtualCamera(name, np.array(place['rotation'], np.float32),
                          np.array(place['position'], np.float32),
                          np.array(lenses[name]['camera'], np.float32),
                          tuple(lenses[name]['image_size']))
            for name, place in places.items()
        ]
        for subject, places in facts['extrinsics'].items()
    }


def draw_camera(root: np.ndarray, seed: int, name: str,
                index: int) -> VirtualCamera:
    """A camera that does not move and sees the whole way of a person.

    It looks at the middle of the way from any side, with the lens and the
    distortion of one of Human3.6M's cameras.

    Args:
        root (np.ndarray): (N, 3), the root joint; world, z up, metres.
        seed (int): Another seed, another camera.
        name (str): Of the sequence. Nothing but these three counts, so that
            a sequence looks the same in whatever file it is.
        index (int): Of the cameras of one sequence. Each of Human3.6M's
            lenses has its turn.

    Returns:
        VirtualCamera: Named by its index.
    """
    key = (zlib.crc32(name.encode()), index)
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
    lenses = next(iter(h36m_cameras().values()))
    lens = lenses[index % len(lenses)]
    middle = (root.min(0) + root.max(0)) / 2
    reach = np.linalg.norm((root - middle)[:, :2], axis=1).max()
    shown = lens.image_size[0] / 2 / lens.intrinsics[0]  # a metre away
    distance = max(
        rng.uniform(*_DISTANCE),
        rng.uniform(*_ROOM) * (reach + _ARMS) / shown)
    rotation = look_from(
        rng.uniform(0, 2 * np.pi), np.radians(rng.uniform(*_ELEVATION)))
    return VirtualCamera(
        str(index), rotation.astype(np.float32),
        (middle - distance * rotation[2]).astype(np.float32), lens.intrinsics,
        lens.image_size)


@dataclass(frozen=True)
class FilmedSequence(PoseSequence):
    """A motion in the world and a camera that sees it; the camera's frame
    is computed for each clip, and the 2D keypoints where there are none.

    Attributes:
        world (np.ndarray): (N, J, 3), world, metres. May be shared by the
            sequences of several cameras.
        view (VirtualCamera): The camera.
    """

    world: np.ndarray = None
    view: VirtualCamera = None

    def __len__(self) -> int:
        return len(self.world)

    def clip(self, frames: Frames) -> Dict[str, np.ndarray]:
        """See :meth:`PoseSequence.clip`."""
        arrays = super().clip(frames)
        points = self.view.to_camera(self.world[frames])
        arrays['keypoints_3d'] = points
        if 'keypoints_2d' not in arrays:
            arrays['keypoints_2d'] = self.view.project(points)
        return arrays


def film(world: np.ndarray, name: str, num_cameras: int, seed: int,
         **info: str) -> List[FilmedSequence]:
    """Let virtual cameras look at a motion.

    Args:
        world (np.ndarray): (N, J, 3), world, z up, metres, root joint first.
        name (str): Of the motion.
        num_cameras (int): One sequence for each.
        seed (int): See :func:`draw_camera`.
        **info (str): ``subject``, ``action``.

    Returns:
        list[FilmedSequence]: Named ``name/0``, ``name/1`` and so on.
    """
    sequences = []
    for index in range(num_cameras):
        view = draw_camera(world[:, 0], seed, name, index)
        sequences.append(
            FilmedSequence(
                f'{name}/{index}',
                view.image_size,
                camera=view.intrinsics,
                camera_name=view.name,
                world=world,
                view=view,
                **info))
    return sequences
