# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Human3.6M from MMPose's annotation files."""
import re
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple

import numpy as np
from mmpose.registry import DATASETS

from mpm_postometro.bodies.safe_pickle import load_pickle
from .npz_tree import take
from .pose_sequence import PoseSequence, check_poses, check_same_length
from .pose_sequence_dataset import PoseSequenceDataset
from .virtual_camera import h36m_cameras

__all__ = ['H36MAnnotationDataset']

# S1_Directions_1.54138969_000001.jpg
_IMAGE_NAME = re.compile(r'(S\d+)_(.+)\.(\d+)_(\d+)\.\w+')


@DATASETS.register_module()
class H36MAnnotationDataset(PoseSequenceDataset):
    """Clips of ``h36m_{train,test}.npz``, as MMPose's converter writes them
    and its ``Human36mDataset`` reads them.

    The file has ``imgname`` (N,), from which subject, action, camera and
    frame are read, ``part`` (N, 17, 3) pixels and ``S`` (N, 17, 4), the
    camera's frame, metres.

    Sequences are named ``S9/Walking_1/54138969``; their action is 'Walking'.

    Args:
        ann_file (str): The .npz file.
        keypoint_2d_det_file (str, optional): ``.npy`` file (N, 17, 3) of
            detections, x, y and score, in place of ``part``.
        camera_param_file (str, optional): ``cameras.pkl``. Without it our
            own table of the published calibration is used.
        subjects (Sequence[str], optional): Takes only these.
        **kwargs: See :class:`PoseSequenceDataset`.

    Raises:
        ValueError: If a file has not what was asked for; says where.
    """

    def __init__(self,
                 ann_file: str,
                 keypoint_2d_det_file: Optional[str] = None,
                 camera_param_file: Optional[str] = None,
                 subjects: Optional[Sequence[str]] = None,
                 **kwargs) -> None:
        self.subjects = subjects
        prefix = dict(
            detections=keypoint_2d_det_file, cameras=camera_param_file)
        prefix = {key: path for key, path in prefix.items() if path}
        super().__init__(ann_file=ann_file, data_prefix=prefix, **kwargs)

    def load_sequences(self) -> List[PoseSequence]:
        """Read the files."""
        names, keypoints, scores, joints = self._read()
        lenses = self._lenses()
        sequences = []
        for (subject, name, camera), rows in self._videos(names).items():
            if self.subjects is not None and subject not in self.subjects:
                continue
            lens, size = take(lenses, (subject, camera), 'the cameras')
            sequences.append(
                PoseSequence(
                    f'{subject}/{name}/{camera}',
                    size,
                    keypoints_2d=keypoints[rows],
                    scores=None if scores is None else scores[rows],
                    keypoints_3d=joints[rows],
                    camera=lens,
                    subject=subject,
                    action=name.split('_')[0],
                    camera_name=camera))
        if not sequences:
            raise ValueError(f"{self.ann_file}: 'imgname' has none of the "
                             f'subjects {self.subjects}')
        return sequences

    def _read(self) -> tuple:
        """Image names, 2D keypoints, scores and 3D joints."""
        path = Path(self.ann_file)
        if not path.is_file():
            raise FileNotFoundError(f'{path} does not exist')
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: take(file, key, path) for key in ('imgname', 'S')}
            if 'detections' not in self.data_prefix:
                arrays['part'] = take(file, 'part', path)
        names, where = arrays['imgname'].astype(str), f"{path}: 'imgname'"
        joints = check_poses(arrays['S'], f"{path}: 'S'", 17, 4)[..., :3]
        check_same_length(names, joints, where, f"{path}: 'S'")
        if 'detections' in self.data_prefix:
            source = self.data_prefix['detections']
            if not Path(source).is_file():
                raise FileNotFoundError(f'{source} does not exist')
            part = check_poses(
                np.load(source, allow_pickle=False), source, 17, 3)
        else:
            source = f"{path}: 'part'"
            part = check_poses(arrays['part'], source, 17, 3)
        check_same_length(names, part, where, source)
        part = self.take_joints(part)
        scores = part[..., 2] if 'detections' in self.data_prefix else None
        keypoints = np.ascontiguousarray(part[..., :2])
        return names, keypoints, scores, self.take_joints(
            np.ascontiguousarray(joints))

    def _videos(self, names: np.ndarray) -> Dict[tuple, slice]:
        """Rows of each (subject, action, camera)."""
        videos: Dict[tuple, list] = {}
        for row, name in enumerate(names):
            match = _IMAGE_NAME.fullmatch(name.rsplit('/', 1)[-1])
            if match is None:
                raise ValueError(
                    f"{self.ann_file}: 'imgname' {row} is '{name}', expected "
                    'a name like S1_Directions_1.54138969_000001.jpg')
            videos.setdefault(match.group(1, 2, 3), []).append(
                (int(match.group(4)), row))
        rows = {}
        for video, frames in videos.items():
            order = [row for _, row in frames]
            first, last = order[0], order[-1]
            if order != list(range(first,
                                   last + 1)) or frames != sorted(frames):
                raise ValueError(f"{self.ann_file}: 'imgname' has the frames "
                                 f"of {'/'.join(video)} not in their order")
            rows[video] = slice(first, last + 1)
        return rows

    def _lenses(self) -> Dict[tuple, Tuple[np.ndarray, Tuple[int, int]]]:
        """Intrinsics and image size by (subject, camera)."""
        path = self.data_prefix.get('cameras')
        if path is None:
            return {
                (subject, view.name): (view.intrinsics, view.image_size)
                for subject, views in h36m_cameras().items()
                for view in views
            }
        if not Path(path).is_file():
            raise FileNotFoundError(f'{path} does not exist')
        lenses = {}
        for key, camera in load_pickle(path).items():
            values = [
                np.ravel(take(camera, part, f'{path}: {key}'))
                for part in ('f', 'c', 'k', 'p', 'w', 'h')
            ]
            lens = np.concatenate(values[:4]).astype(np.float32)
            if lens.shape != (9, ):
                raise ValueError(f'{path}: {key} must have 2 f, 2 c, 3 k and '
                                 f'2 p, got {len(lens)} numbers')
            lenses[key] = lens, (int(values[4][0]), int(values[5][0]))
        return lenses
