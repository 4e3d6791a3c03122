# Copyright (c) The mpm_postometro authors. All rights reserved.
"""3D poses of people in a video, their file, and the files of poses that
they are made from."""
import zipfile
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Dict, Iterator, Optional, Tuple, Union

import numpy as np

from mpm_postometro.bodies.axes import AXES
from mpm_postometro.files import atomic_write

__all__ = ['PoseTracks', 'read_pose_arrays', 'read_pose_tracks']


@dataclass(frozen=True)
class PoseTracks:
    """N poses of one person or several, one track after the other, frames
    ascending.

    Attributes:
        keypoints_3d (np.ndarray): (N, J, 3) float32, metres. Lifted poses
            have the root joint (pelvis, joint 0) at the origin; completed
            ones stay where they were.
        hidden (np.ndarray): (N, J) bool, joints that were not seen. A network
            that can do without them guessed them from the others; one that
            cannot (``masking=False``) took the 2D joint as it came, here with
            score 0: in frames that were filled in, all of them.
        frame_indices (np.ndarray): (N, ) int64, numbers in the video.
        track_ids (np.ndarray): (N, ) text, the person; '' if there is one
            without a name.
        joint_names (tuple[str]): J names.
        axes (str): 'camera' (x right, y down, z forward), 'y-up' or 'z-up';
            see :mod:`mpm_postometro.bodies.axes`.
        keypoints_2d (np.ndarray, optional): (N, J, 2) float32, what was
            lifted, pixels; NaN where it was not given, or was at (0, 0)
            with score 0.
        keypoint_scores (np.ndarray, optional): (N, J) float32, of the
            detector.
        image_size (tuple[int, int], optional): Width and height, pixels.
    """
    keypoints_3d: np.ndarray
    hidden: np.ndarray
    frame_indices: np.ndarray
    track_ids: np.ndarray
    joint_names: Tuple[str, ...]
    axes: str = 'camera'
    keypoints_2d: Optional[np.ndarray] = None
    keypoint_scores: Optional[np.ndarray] = None
    image_size: Optional[Tuple[int, int]] = None

    def __len__(self) -> int:
        return len(self.keypoints_3d)

    def __repr__(self) -> str:
        names = sorted(set(self.track_ids.tolist()))
        whose = f'track {names[0]!r}' if len(names) == 1 else (
            f'{len(names)} tracks')
        return (f'PoseTracks({whose}, {len(self)} poses of '
                f'{len(self.joint_names)} joints, {self.axes})')

    def tracks(self) -> Iterator['PoseTracks']:
        """One after the other."""
        for track in dict.fromkeys(self.track_ids.tolist()):
            yield self[self.track_ids == track]

    def __getitem__(self, frames) -> 'PoseTracks':
        """Some of the N poses, by slice or index array."""
        rows = ('keypoints_3d', 'hidden', 'frame_indices', 'track_ids',
                'keypoints_2d', 'keypoint_scores')
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        values.update(
            {k: values[k][frames]
             for k in rows if values[k] is not None})
        return PoseTracks(**values)

    def save(self, path: Union[str, Path]) -> Path:
        """Write an .npz file, atomically.

        Its keys are the attributes; those that are None are not in it, and
        ``units`` says ``metres``.

        Args:
            path (str | Path): Ends in ``.npz``.

        Returns:
            Path: The file.

        Raises:
            ValueError: If the name ends in something else.
        """
        path = Path(path)
        if path.suffix != '.npz':
            raise ValueError(f'{path}: files of 3D poses end in .npz')
        arrays = {
            f.name: np.asarray(getattr(self, f.name))
            for f in fields(self) if getattr(self, f.name) is not None
        }
        return atomic_write(
            path, lambda name: np.savez_compressed(
                name, units=np.array('metres'), **arrays))


def read_pose_tracks(path: Union[str, Path]) -> PoseTracks:
    """Read a file of :meth:`PoseTracks.save`.

    Args:
        path (str | Path): The file.

    Returns:
        PoseTracks: As it was saved.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is another file.
    """
    arrays = read_pose_arrays(path)
    names = {f.name for f in fields(PoseTracks)}
    needed = [f.name for f in fields(PoseTracks)][:6]
    missing = sorted(set(needed) - set(arrays))
    if missing or str(arrays['axes']) not in AXES:
        raise ValueError(f'{path}: expected 3D poses with {needed}, got '
                         f'{sorted(arrays)}')
    values = {k: v for k, v in arrays.items() if k in names}
    values['axes'] = str(values['axes'])
    values['joint_names'] = tuple(values['joint_names'].tolist())
    if 'image_size' in values:
        values['image_size'] = tuple(values['image_size'].tolist())
    return PoseTracks(**values)


def read_pose_arrays(path: Union[str, Path]) -> Dict[str, np.ndarray]:
    """Read plain arrays, without running code from the file.

    Args:
        path (str | Path): ``.npy``, whose array gets the key ``poses``, or
            ``.npz``.

    Returns:
        dict[str, np.ndarray]: By the keys of the file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no such file.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file (poses)')
    if path.suffix not in ('.npy', '.npz'):
        raise ValueError(f'{path}: expected poses as .json, .npy or .npz')
    try:
        data = np.load(path, allow_pickle=False)
        if isinstance(data, np.ndarray):
            return dict(poses=data)
        with data:
            return dict(data)
    except (OSError, ValueError, TypeError, EOFError,
            zipfile.BadZipFile) as error:
        raise ValueError(f'{path}: expected plain arrays ({error})') from error
