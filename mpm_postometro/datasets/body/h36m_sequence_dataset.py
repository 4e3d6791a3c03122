# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Human3.6M from the pair of files that VideoPose3D made popular."""
from typing import Any, List, Mapping, Optional, Sequence

import numpy as np
from mmpose.registry import DATASETS

from .npz_tree import read_tree, take
from .pose_sequence import check_poses
from .pose_sequence_dataset import PoseSequenceDataset
from .virtual_camera import FilmedSequence, VirtualCamera, h36m_cameras

__all__ = ['H36MSequenceDataset']

# Those of the capture system's 32 joints that move and are not doubled.
_MOVING = (0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27)


@DATASETS.register_module()
class H36MSequenceDataset(PoseSequenceDataset):
    """Clips of Human3.6M, ``data_3d_h36m.npz`` and ``data_2d_h36m_*.npz``.

    The 3D file has ``positions_3d``: subject -> action -> (N, 32 or 17, 3),
    world, metres. The 2D file has ``positions_2d``: subject -> action -> one
    (N', 17, 2 or 3), pixels and score, for each of the four cameras; frames
    after the N-th are left out. Cameras are our own table of the published
    calibration.

    Sequences are named ``S9/Walking 1/54138969``; their action is 'Walking'.

    Args:
        ann_file (str): The 3D file.
        keypoint_file (str, optional): The 2D file, below ``data_root`` too.
            Without it the true joints are projected, distortion included:
            that is what ``data_2d_h36m_gt.npz`` holds.
        subjects (Sequence[str]): Defaults to the five to train on.
        actions (Sequence[str], optional): Takes only these, e.g. 'Walking'.
        cameras (Sequence[str], optional): Takes only these, e.g. '54138969'.
        **kwargs: See :class:`PoseSequenceDataset`.

    Raises:
        ValueError: If a file has not what was asked for; says where.
    """

    def __init__(self,
                 ann_file: str,
                 keypoint_file: Optional[str] = None,
                 subjects: Sequence[str] = ('S1', 'S5', 'S6', 'S7', 'S8'),
                 actions: Optional[Sequence[str]] = None,
                 cameras: Optional[Sequence[str]] = None,
                 **kwargs) -> None:
        self.subjects = tuple(subjects)
        self.actions = actions
        self.cameras = cameras
        prefix = dict(keypoint_file=keypoint_file) if keypoint_file else {}
        super().__init__(ann_file=ann_file, data_prefix=prefix, **kwargs)

    def load_sequences(self) -> List[FilmedSequence]:
        """Read the files."""
        where = f"{self.ann_file}: 'positions_3d'"
        positions = read_tree(self.ann_file, 'positions_3d')
        detections = self._read_2d()
        cameras = h36m_cameras()
        sequences, known = [], set()
        for subject in self.subjects:
            actions = take(positions, subject, where)
            views = take(cameras, subject, "Human3.6M's cameras")
            for name in sorted(actions):
                action = name.split(' ')[0]
                known.add(action)
                if self.actions is not None and action not in self.actions:
                    continue
                world = self._world(actions[name],
                                    f"{where}['{subject}']['{name}']")
                for index, view in enumerate(views):
                    if self.cameras is None or view.name in self.cameras:
                        sequences.append(
                            self._film(
                                world, view, subject, name,
                                self._pick(detections, subject, name, index,
                                           len(views))))
        self._check_known('actions', self.actions, known)
        self._check_known('cameras', self.cameras, {v.name for v in views})
        return sequences

    def _check_known(self, key: str, wanted: Optional[Sequence[str]],
                     known: set) -> None:
        unknown = sorted(set(wanted or ()) - known)
        if unknown:
            raise ValueError(f'{self.ann_file}: {key}={unknown} are unknown, '
                             f'there are {sorted(known)}')

    def _world(self, array: Any, where: str) -> np.ndarray:
        joints = np.shape(array)[1] if np.ndim(array) == 3 else 17
        world = check_poses(array, where, 32 if joints == 32 else 17, 3)
        if joints == 32:
            world = world[:, _MOVING]
        return self.take_joints(world)

    def _read_2d(self) -> Optional[Mapping]:
        path = self.data_prefix.get('keypoint_file')
        if path is None:
            return None
        detections = read_tree(path, 'positions_2d')
        layout = read_tree(path, 'metadata')
        if layout.get('num_joints', 17) != 17:
            raise ValueError(f"{path}: 'metadata' says num_joints="
                             f"{layout['num_joints']}, expected Human3.6M's "
                             '17')
        return detections

    def _pick(self, detections: Optional[Mapping], subject: str, name: str,
              index: int, num_cameras: int) -> Optional[tuple]:
        """The 2D poses of one camera, and where they are."""
        if detections is None:
            return None
        where = f"{self.data_prefix['keypoint_file']}: 'positions_2d'"
        views = take(take(detections, subject, where), name,
                     f"{where}['{subject}']")  # yapf: disable
        where = f"{where}['{subject}']['{name}']"
        if len(views) != num_cameras:
            raise ValueError(f'{where} must have {num_cameras} cameras, got '
                             f'{len(views)}')
        return views[index], f'{where}[{index}]'

    def _film(self, world: np.ndarray, view: VirtualCamera, subject: str,
              name: str, detected: Optional[tuple]) -> FilmedSequence:
        poses = {}
        if detected is not None:
            array, where = detected
            dims = 3 if np.shape(array)[-1:] == (3, ) else 2
            array = check_poses(array, where, 17, dims)
            if len(array) < len(world):
                raise ValueError(f'{where} has {len(array)} frames, expected '
                                 f'at least the {len(world)} of the 3D file')
            array = self.take_joints(array[:len(world)])
            poses['keypoints_2d'] = np.ascontiguousarray(array[..., :2])
            if dims == 3:
                poses['scores'] = array[..., 2]
        return FilmedSequence(
            f'{subject}/{name}/{view.name}',
            view.image_size,
            camera=view.intrinsics,
            camera_name=view.name,
            subject=subject,
            action=name.split(' ')[0],
            world=world,
            view=view,
            **poses)
