# Copyright (c) The mpm_postometro authors. All rights reserved.
"""AMASS's own files, through a body model."""
from pathlib import Path
from typing import Dict, Optional, Union

import numpy as np
import torch

from mpm_postometro.bodies.body_model import BodyModel
from mpm_postometro.bodies.safe_pickle import load_npz
from .motion import Motion, frame_step

__all__ = ['read_amass']

_BODY_JOINTS = 22  # of SMPL-H, the root included; then come 30 of the hands
_CHUNK = 512  # frames that are posed at once


def read_amass(path: Union[str, Path],
               body: BodyModel,
               fps: Optional[float] = None) -> Motion:
    """Read a sequence of AMASS.

    The file has ``poses`` (N, 156 or 165), axis-angle of SMPL-H's or
    SMPL-X's joints, of which the first 22 are SMPL's; ``trans`` (N, 3);
    ``betas``; and ``mocap_framerate`` or ``mocap_frame_rate``. SMPL's hands
    stay straight. ``betas`` mean what they mean for another body model only
    roughly; load the one that they are for where it matters.

    Args:
        path (str | Path): The .npz file.
        body (BodyModel): With a regressor of Human3.6M's joints.
        fps (float, optional): Wanted frames a second. Defaults to all.

    Returns:
        Motion: With pose and rest offsets.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a key is missing or has another shape, or a frame is
            not finite.
    """
    arrays = _read(Path(path))
    step = frame_step(str(path), arrays['fps'], fps)
    pose = torch.from_numpy(arrays['poses'][::step])
    trans = torch.from_numpy(arrays['trans'][::step])
    betas = torch.from_numpy(arrays['betas'])[None, :body.num_betas]
    joints, roots = [], []
    with torch.no_grad():
        for first in range(0, len(pose), _CHUNK):
            rows = slice(first, first + _CHUNK)
            output = body(betas, pose[rows, 1:], pose[rows, 0], trans[rows])
            joints.append(body.regress_joints(output.vertices, 'h36m17'))
            roots.append(output.joints[:, 0])
        rest = body(betas, torch.zeros_like(pose[:1, 1:]),
                    torch.zeros_like(pose[:1, 0])).joints[0]  # yapf: disable
    parents = [max(p, 0) for p in body.parents]
    return Motion(
        arrays['fps'] / step,
        torch.cat(joints).float().numpy(),
        pose=pose.numpy(),
        trans=torch.cat(roots).float().numpy(),
        rest_offsets=(rest - rest[parents]).float().numpy())


def _read(path: Path) -> Dict[str, Union[np.ndarray, float]]:
    """``poses`` (N, 24, 3), ``trans``, ``betas`` and ``fps``, checked."""
    if not path.is_file():
        raise FileNotFoundError(f'{path} does not exist')
    rates = ('mocap_framerate', 'mocap_frame_rate')
    arrays = load_npz(path, ('poses', 'trans', 'betas', *rates))
    for key in ('poses', 'trans', 'betas'):
        if key not in arrays:
            raise ValueError(f"{path}: has no key '{key}', only "
                             f'{sorted(arrays)} of those that are needed')
    rate = next((arrays[key] for key in rates if key in arrays), None)
    if rate is None:
        raise ValueError(f"{path}: has no key 'mocap_framerate'")
    poses = arrays['poses']
    if poses.ndim != 2 or poses.shape[1] < 3 * _BODY_JOINTS:
        raise ValueError(f"{path}: 'poses' must be (N, 156), got "
                         f'{poses.shape}')
    trans = arrays['trans']
    if trans.shape != (len(poses), 3):
        raise ValueError(f"{path}: 'trans' must be ({len(poses)}, 3) as "
                         f"'poses' says, got {trans.shape}")
    if not len(poses):
        raise ValueError(f"{path}: 'poses' has no frames")
    betas = np.ravel(arrays['betas'])
    finite = np.isfinite(poses).all(1) & np.isfinite(trans).all(1)
    if not finite.all() or not np.isfinite(betas).all():
        broken = np.flatnonzero(~finite)
        raise ValueError(f"{path}: 'poses', 'trans' or 'betas' are not finite "
                         f'in {len(broken)} frames, the first {broken[:5]}')
    full = np.zeros((len(poses), 24, 3), np.float32)
    full[:, :_BODY_JOINTS] = poses[:, :3 * _BODY_JOINTS].reshape(
        len(poses), -1, 3)
    return dict(
        poses=full,
        trans=trans.astype(np.float32),
        betas=betas.astype(np.float32),
        fps=float(rate))
