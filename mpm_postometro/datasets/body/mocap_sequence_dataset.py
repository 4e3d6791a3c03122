# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Clips of motion capture, seen by virtual cameras."""
from typing import List, Optional, Sequence

import numpy as np
from mmpose.registry import DATASETS

from .mocap_file import read_mocap
from .pose_sequence_dataset import PoseSequenceDataset
from .virtual_camera import FilmedSequence, film

__all__ = ['MocapSequenceDataset']


@DATASETS.register_module()
class MocapSequenceDataset(PoseSequenceDataset):
    """2D and 3D clips of motion capture.

    Each motion is seen by cameras that stand still somewhere around it, with
    the lenses of Human3.6M, distortion included. They depend on nothing but
    the seed and the name of the motion.

    Args:
        ann_file (str): ``.npz`` file, see :func:`read_mocap`, with
            ``clip_subject`` and ``clip_action`` (C, ) besides.
        num_cameras (int): Cameras about each motion. Defaults to 4.
        subjects (Sequence[str], optional): Takes only these.
        camera_seed (int): Another seed, other cameras. Defaults to 0.
        **kwargs: See :class:`PoseSequenceDataset`.
    """

    def __init__(self,
                 ann_file: str,
                 num_cameras: int = 4,
                 subjects: Optional[Sequence[str]] = None,
                 camera_seed: int = 0,
                 **kwargs) -> None:
        if num_cameras < 1:
            raise ValueError(f'num_cameras must be at least 1, got '
                             f'{num_cameras}')
        self.num_cameras = num_cameras
        self.subjects = subjects
        self.camera_seed = camera_seed
        super().__init__(ann_file=ann_file, **kwargs)

    def load_sequences(self) -> List[FilmedSequence]:
        """Read the file."""
        arrays = read_mocap(self.ann_file, ('clip_subject', 'clip_action'))
        joints = self.take_joints(arrays['joints_3d'])
        found = arrays['clip_subject'].astype(str)
        wanted = found if self.subjects is None else self.subjects
        unknown = sorted(set(map(str, wanted)) - set(found))
        if unknown:
            raise ValueError(f"{self.ann_file}: 'clip_subject' lacks "
                             f'{unknown}, has only {sorted(set(found))}')
        sequences = []
        for i in np.flatnonzero(np.isin(found, list(map(str, wanted)))):
            start = arrays['clip_start'][i]
            world = joints[start:start + arrays['clip_length'][i]]
            sequences += film(
                world,
                str(arrays['clip_name'][i]),
                self.num_cameras,
                self.camera_seed,
                subject=str(found[i]),
                action=str(arrays['clip_action'][i]))
        return sequences
