# Copyright (c) The mpm_postometro authors. All rights reserved.
"""AMASS as MPM prepares it: poses in 2D and 3D, without bodies."""
from typing import List

import numpy as np
from mmpose.registry import DATASETS

from .npz_tree import read_tree, take
from .pose_sequence import PoseSequence, check_poses, check_same_length
from .pose_sequence_dataset import PoseSequenceDataset

__all__ = ['AMASSPoseDataset']

# The file's 2D is in units of half the width already; of whatever pictures,
# these give back the same numbers.
_IMAGE_SIZE = (1000, 1000)


@DATASETS.register_module()
class AMASSPoseDataset(PoseSequenceDataset):
    """Clips of ``amass.npz``.

    The file has ``poses``: sequence -> {``pose2d`` (N, J, 2) in units of half
    the picture's width, ``pose3d`` (N, J, 3) in metres about the root,
    ``length`` N}, with J = 16 joints of 'h36m16'. Where the camera stood is
    not in it. Original AMASS files are better converted to motion capture,
    see ``tools/dataset_converters/mocap.py``.

    Args:
        ann_file (str): The file.
        **kwargs: See :class:`PoseSequenceDataset`; ``skeleton`` defaults to
            'h36m16', the only one.

    Raises:
        ValueError: If the file is not as described; says where.
    """

    SOURCE_SKELETON = 'h36m16'

    def __init__(self,
                 ann_file: str,
                 skeleton: str = 'h36m16',
                 **kwargs) -> None:
        super().__init__(ann_file=ann_file, skeleton=skeleton, **kwargs)

    def load_sequences(self) -> List[PoseSequence]:
        """Read the file."""
        poses = read_tree(self.ann_file, 'poses')
        middle = np.array([1, _IMAGE_SIZE[1] / _IMAGE_SIZE[0]], np.float32)
        sequences = []
        for name in poses:
            where = f"{self.ann_file}: 'poses'['{name}']"
            arrays = [
                check_poses(
                    take(poses[name], key, where), f"{where}['{key}']", 16,
                    dims) for key, dims in (('pose2d', 2), ('pose3d', 3))
            ]
            check_same_length(*arrays, f"{where}['pose2d']",
                              f"{where}['pose3d']")
            length = int(take(poses[name], 'length', where))
            if length != len(arrays[0]):
                raise ValueError(f"{where}['length'] is {length}, but there "
                                 f'are {len(arrays[0])} frames')
            pixels = (arrays[0] + middle) * (_IMAGE_SIZE[0] / 2)
            sequences.append(
                PoseSequence(
                    str(name),
                    _IMAGE_SIZE,
                    keypoints_2d=self.take_joints(pixels.astype(np.float32)),
                    keypoints_3d=self.take_joints(arrays[1])))
        return sequences
