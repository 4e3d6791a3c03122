# Copyright (c) The mpm_postometro authors. All rights reserved.
"""MPI-INF-3DHP from the files that P-STMO made popular."""
from typing import Any, Iterator, List, Mapping, Optional, Sequence

import numpy as np
from mmpose.registry import DATASETS

from .npz_tree import read_tree, take
from .pose_sequence import PoseSequence, check_poses, check_same_length
from .pose_sequence_dataset import PoseSequenceDataset

__all__ = ['MPIINF3DHPSequenceDataset']

_IMAGE_SIZE = (2048, 2048)
_OTHER_IMAGE_SIZES = dict(TS5=(1920, 1080), TS6=(1920, 1080))
# Their 17 joints in the order of h36m16, after the first one has become the
# middle of the crown and joint 16.
_CROWN, _HEAD = 0, 16
_ORDER = (14, 8, 9, 10, 11, 12, 13, 15, 16, 0, 5, 6, 7, 2, 3, 4)


@DATASETS.register_module()
class MPIINF3DHPSequenceDataset(PoseSequenceDataset):
    """Clips of ``data_train_3dhp.npz`` or ``data_test_3dhp.npz``.

    The files have ``data``: "S1 Seq1" -> [camera -> {``data_3d``,
    ``data_2d``}] to train on, and "TS1" -> {``data_3d``, ``data_2d``,
    ``valid``} to test on; (N, 17, 3) millimetres in the camera's frame and
    (N, 17, 2) pixels. Of the test set only frames marked valid are targets.
    Pictures are 2048x2048, those of TS5 and TS6 1920x1080. Cameras are not in
    the files.

    The 17 joints become the 16 of 'h36m16' as MPM has them.

    Sequences are named ``S1 Seq1/0`` and ``TS1``; their action is 'Seq1' or
    'TS1'.

    Args:
        ann_file (str): The file.
        subjects (Sequence[str], optional): Takes only these, e.g. 'S1', 'TS1'.
        **kwargs: See :class:`PoseSequenceDataset`; ``skeleton`` defaults to
            'h36m16', the only one.

    Raises:
        ValueError: If the file has not what was asked for; says where.
    """

    SOURCE_SKELETON = 'h36m16'

    def __init__(self,
                 ann_file: str,
                 subjects: Optional[Sequence[str]] = None,
                 skeleton: str = 'h36m16',
                 **kwargs) -> None:
        self.subjects = subjects
        super().__init__(ann_file=ann_file, skeleton=skeleton, **kwargs)

    def load_sequences(self) -> List[PoseSequence]:
        """Read the file."""
        data = read_tree(self.ann_file, 'data')
        sequences = [
            sequence for key in sorted(data)
            if self.subjects is None or key.split(' ')[0] in self.subjects
            for sequence in self._sequences(key, data[key])
        ]
        found = {key.split(' ')[0] for key in data}
        unknown = sorted(set(self.subjects or ()) - found)
        if unknown:
            raise ValueError(f"{self.ann_file}: 'data' has no subjects "
                             f'{unknown}, only {sorted(found)}')
        return sequences

    def _sequences(self, key: str, entry: Any) -> Iterator[PoseSequence]:
        where = f"{self.ann_file}: 'data'['{key}']"
        if isinstance(entry, Mapping):  # to test on
            yield self._sequence(key, entry, where, valid=True)
            return
        if not len(entry) or not isinstance(entry[0], Mapping):
            raise ValueError(f'{where} must be a dictionary, or a list with a '
                             f'dictionary of cameras, got {type(entry)}')
        for camera in sorted(entry[0], key=str):
            yield self._sequence(
                f'{key}/{camera}',
                entry[0][camera],
                f"{where}[0]['{camera}']",
                camera_name=str(camera))

    def _sequence(self,
                  name: str,
                  entry: Mapping,
                  where: str,
                  camera_name: str = '',
                  valid: bool = False) -> PoseSequence:
        joints = check_poses(
            take(entry, 'data_3d', where), f"{where}['data_3d']", 17, 3)
        keypoints = check_poses(
            take(entry, 'data_2d', where), f"{where}['data_2d']", 17, 2)
        check_same_length(joints, keypoints, f"{where}['data_3d']",
                          f"{where}['data_2d']")
        if valid:
            flags = np.ravel(take(entry, 'valid', where)).astype(bool)
            check_same_length(joints, flags, f"{where}['data_3d']",
                              f"{where}['valid']")
        subject, _, action = name.split('/')[0].partition(' ')
        return PoseSequence(
            name,
            _OTHER_IMAGE_SIZES.get(subject, _IMAGE_SIZE),
            keypoints_2d=self.take_joints(_reorder(keypoints)),
            keypoints_3d=self.take_joints(_reorder(joints) / 1000),  # mm to m
            valid=flags if valid else None,
            subject=subject,
            action=action or subject,
            camera_name=camera_name)


def _reorder(poses: np.ndarray) -> np.ndarray:
    poses = poses.copy()
    poses[:, _CROWN] = (poses[:, _CROWN] + poses[:, _HEAD]) / 2
    return np.ascontiguousarray(poses[:, _ORDER])
