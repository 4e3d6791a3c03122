# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Labels of SMPL bodies brought before the camera."""
import json
import zlib
from pathlib import Path
from typing import Dict, Mapping, NamedTuple, Optional, Tuple

import numpy as np
import torch
from mmengine.utils import ProgressBar

from mpm_postometro.bodies import BodyModel, body_identity, load_body
from mpm_postometro.bodies.body_io import read_body
from mpm_postometro.bodies.cameras import perspective_project
from mpm_postometro.bodies.rotations import (axis_angle_to_matrix,
                                             matrix_to_axis_angle)
from mpm_postometro.bodies.skeletons import joint_mapping
from .person_table import GENDERS

__all__ = [
    'LabelBodies', 'PosedBodies', 'boxes_about', 'fit_errors', 'project',
    'turn_to_camera'
]

_BATCH = 64
_SHOW_FROM = 5000  # bodies whose posing takes seconds


def project(points: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """Pixels of points before a camera.

    Args:
        points (np.ndarray): (N, K, 3), metres or any unit.
        intrinsics (np.ndarray): (N, 3, 3).

    Returns:
        np.ndarray: (N, K, 2), float32; anything but finite behind it.
    """
    pixels = perspective_project(
        torch.from_numpy(points.astype(np.float64)),
        torch.from_numpy(intrinsics.astype(np.float64)))
    return pixels.numpy().astype(np.float32)


def turn_to_camera(global_orient: np.ndarray, transl: np.ndarray,
                   rest_root: np.ndarray, rotation: np.ndarray,
                   translation: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """SMPL parameters in the world as SMPL parameters before a camera.

    SMPL turns a body about its root joint, not about the origin: turning the
    orientation leaves the root where it rests, and ``transl`` has to make up
    for that.

    Args:
        global_orient (np.ndarray): (N, 3), axis-angle.
        transl (np.ndarray): (N, 3), metres.
        rest_root (np.ndarray): (N, 3), where the root joint rests for each
            one's betas, metres.
        rotation (np.ndarray): (N, 3, 3), world to camera.
        translation (np.ndarray): (N, 3), metres.

    Returns:
        tuple[np.ndarray, np.ndarray]: The same two, (N, 3), float32.
    """
    turn = torch.from_numpy(rotation.astype(np.float64))
    orient = torch.from_numpy(global_orient.astype(np.float64))
    orient = matrix_to_axis_angle(turn @ axis_angle_to_matrix(orient))
    root = (rest_root + transl).astype(np.float64)
    root = np.einsum('nij,nj->ni', rotation, root) + translation
    return (orient.numpy().astype(np.float32),
            (root - rest_root).astype(np.float32))


def boxes_about(points: np.ndarray,
                intrinsics: np.ndarray,
                margin: float = 0.) -> np.ndarray:
    """Boxes about what is seen of points.

    Args:
        points (np.ndarray): (N, K, 3), the camera's frame.
        intrinsics (np.ndarray): (N, 3, 3).
        margin (float): How much to add on each side, of the longer one.

    Returns:
        np.ndarray: (N, 4) xyxy, pixels; NaN where a point lies behind the
        camera.
    """
    pixels = project(points, intrinsics)
    low, high = pixels.min(1), pixels.max(1)
    margin = margin * (high - low).max(1, keepdims=True)
    boxes = np.concatenate([low - margin, high + margin], 1)
    return np.where((points[..., 2] > 0).all(1)[:, None], boxes, np.nan)


def fit_errors(fitted: np.ndarray, measured: np.ndarray) -> np.ndarray:
    """How far fitted bodies are off what was measured, wherever they stand.

    Args:
        fitted (np.ndarray): (N, K, 3), joints of the fits, metres.
        measured (np.ndarray): (N, K, 4), the same joints and their weights.

    Returns:
        np.ndarray: (N, ), metres; the mean distance of the known joints once
        their means are brought together, as Pose2Mesh and METRO measure it.
        Infinite where none is known.
    """
    known = measured[..., 3:] > 0
    off = np.where(known, fitted - measured[..., :3], 0).astype(np.float64)
    with np.errstate(invalid='ignore', divide='ignore'):
        count = known.sum(1, keepdims=True)
        off -= off.sum(1, keepdims=True) / count
        errors = np.where(known[..., 0], np.linalg.norm(off, axis=-1),
                          0).sum(1) / count[:, 0, 0]
    return np.where(np.isfinite(errors), errors, np.inf)


class PosedBodies(NamedTuple):
    """What meshes say about N people.

    Attributes:
        joints (np.ndarray): (N, 14, 3), J14, metres.
        bbox (np.ndarray): (N, 4) xyxy, pixels, about the whole mesh; NaN for
            a body that reaches behind the camera.
        keypoints (np.ndarray, optional): (N, 17, 3), COCO's, metres, where
            they were asked for.
    """

    joints: np.ndarray
    bbox: np.ndarray
    keypoints: Optional[np.ndarray] = None


class LabelBodies:
    """The SMPL models that labels belong to, one for each gender.

    Args:
        arguments (Mapping): Of :func:`mpm_postometro.bodies.load_body`, but
            for ``gender``; ``path`` is the folder of SMPL's files, or one
            of them, beside which the others are.
    """

    def __init__(self, arguments: Mapping) -> None:
        self._arguments = dict(arguments)
        self._bodies: Dict[int, BodyModel] = {}

    @property
    def settings(self) -> str:
        """str: The arguments, for names of tables that are kept."""
        return json.dumps(self._arguments, default=str, sort_keys=True)

    def stamp(self, *genders: str) -> list:
        """What tells whether bodies are the same, for tables that are kept.

        Contents are compared, not files: which ones are read depends on
        search folders too, and regressors of all kinds have the same size.

        Args:
            *genders (str): Those that are posed.

        Returns:
            list: For each gender the body and the regressors.

        Raises:
            FileNotFoundError: If a body is missing.
        """
        stamp = []
        for gender in genders:
            data = read_body(
                self._path(gender), gender, self._arguments.get('regressors'))
            stamp.append([
                body_identity(data), {
                    name: zlib.crc32(np.ascontiguousarray(matrix, np.float32))
                    for name, matrix in sorted(data.regressors.items())
                }
            ])
        return stamp

    def _path(self, gender: str) -> Optional[str]:
        path = self._arguments.get('path')
        if path and Path(path).suffix and gender != 'neutral':
            # a file is read as whatever gender it is asked for
            return str(Path(path).parent)
        return path

    def _body(self, gender: int) -> BodyModel:
        if gender not in self._bodies:
            name = GENDERS[gender]
            self._bodies[gender] = load_body(
                **{
                    **self._arguments, 'path': self._path(name),
                    'gender': name
                })
        return self._bodies[gender]

    @torch.no_grad()
    def rest_roots(self, betas: np.ndarray, gender: np.ndarray) -> np.ndarray:
        """Where root joints rest.

        Args:
            betas (np.ndarray): (N, S).
            gender (np.ndarray): (N, ) ints, rows of ``GENDERS``.

        Returns:
            np.ndarray: (N, 3), metres.
        """
        roots = np.zeros((len(betas), 3), np.float32)
        for number in np.unique(gender):
            mine = gender == number
            # Linear in the betas: a few bodies tell them all.
            basis = torch.eye(betas.shape[1] + 1, betas.shape[1])
            still = torch.zeros(len(basis), 24, 3)
            body = self._body(int(number))
            found = body(basis, still[:, 1:], still[:, 0]).joints[:, 0].numpy()
            roots[mine] = found[-1] + betas[mine] @ (found[:-1] - found[-1])
        return roots

    @torch.no_grad()
    def pose(self,
             betas: np.ndarray,
             body_pose: np.ndarray,
             global_orient: np.ndarray,
             transl: np.ndarray,
             gender: np.ndarray,
             intrinsics: np.ndarray,
             regressor: str = 'h36m17',
             keypoints: bool = False) -> PosedBodies:
        """Joints and boxes of people before the camera.

        Args:
            betas, body_pose, global_orient, transl (np.ndarray): (N, S), (N,
                23, 3), (N, 3), (N, 3).
            gender (np.ndarray): (N, ) ints, rows of ``GENDERS``.
            intrinsics (np.ndarray): (N, 3, 3).
            regressor (str): Whose rows J14 is made of: 'h36m17', or 'j24' as
                in METRO's labels.
            keypoints (bool): Whether COCO's keypoints are wanted too.

        Returns:
            PosedBodies: See there.
        """
        count = len(betas)
        coco = np.zeros((count, 17, 3), np.float32) if keypoints else None
        order = joint_mapping(regressor, 'j14')
        joints = np.zeros((count, 14, 3), np.float32)
        bbox = np.zeros((count, 4), np.float32)
        batches = [(number, rows[i:i + _BATCH]) for number in np.unique(gender)
                   for rows in [np.flatnonzero(gender == number)]
                   for i in range(0, len(rows), _BATCH)]
        bar = None
        if count >= _SHOW_FROM:
            print(f'Posing {count} labelled bodies:')
            bar = ProgressBar(len(batches))
        for number, rows in batches:
            values = [
                torch.from_numpy(np.ascontiguousarray(x[rows]))
                for x in (betas, body_pose, global_orient, transl)
            ]
            body = self._body(int(number))
            vertices = body(*values).vertices
            joints[rows] = body.regress_joints(vertices,
                                               regressor)[:, order].numpy()
            if coco is not None:
                coco[rows] = body.regress_joints(vertices, 'coco17').numpy()
            bbox[rows] = boxes_about(vertices.numpy(), intrinsics[rows])
            if bar is not None:
                bar.update()
        if bar is not None:
            print()
        return PosedBodies(joints, bbox, coco)
