# Copyright (c) The mpm_postometro authors. All rights reserved.
"""The .npz file of motion capture that our data sets and converter share."""
from pathlib import Path
from typing import Dict, Sequence, Union

import numpy as np

from mpm_postometro.bodies.skeletons import SKELETONS
from .pose_sequence import check_poses

__all__ = ['read_mocap']

_SKELETON = SKELETONS['h36m17']
_KEYS = ('joints_3d', 'clip_start', 'clip_length', 'clip_name')


def read_mocap(
    path: Union[str, Path], more: Sequence[str] = ()) -> Dict[str, np.ndarray]:
    """Read motion capture: N frames of C clips, all concatenated.

    ======================== ========== ==================================
    ``joints_3d``            (N, 17, 3) Human3.6M's joints; metres, z up
    ``clip_start``           (C, )      first frame of a clip
    ``clip_length``          (C, )      its number of frames
    ``clip_name``            (C, )      its name
    ======================== ========== ==================================

    Args:
        path (str | Path): The .npz file.
        more (Sequence[str]): More keys with one entry for each clip.

    Returns:
        dict[str, np.ndarray]: The arrays, checked.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a key is missing or has another shape, a frame is not
            finite, or a clip is empty or reaches beyond the frames.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'motion capture {path} does not exist')
    keys = (*_KEYS, *more)
    with np.load(path, allow_pickle=False) as file:
        missing = [key for key in keys if key not in file]
        if missing:
            raise ValueError(f'{path}: lacks {missing}, has only '
                             f'{sorted(file)}')
        arrays = {key: file[key] for key in keys}
    arrays['joints_3d'] = check_poses(arrays['joints_3d'],
                                      f"{path}: 'joints_3d'",
                                      _SKELETON.num_joints, 3)
    for key in keys[1:]:
        if arrays[key].shape != arrays['clip_start'].shape:
            raise ValueError(
                f"{path}: '{key}' must have one entry for each clip, "
                f"{arrays['clip_start'].shape}, got {arrays[key].shape}")
    ends = arrays['clip_start'] + arrays['clip_length']
    num_frames = len(arrays['joints_3d'])
    if (arrays['clip_start'] < 0).any() or (ends > num_frames).any():
        raise ValueError(f'{path}: clips reach beyond the {num_frames} '
                         "frames of 'joints_3d'")
    empty = arrays['clip_name'][arrays['clip_length'] < 1]
    if len(empty):
        raise ValueError(f"{path}: 'clip_length' is not positive for "
                         f'{list(empty[:5])}')
    return arrays
