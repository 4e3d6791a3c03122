# Copyright (c) The mpm_postometro authors. All rights reserved.
"""2D detections of a video, the input that people lift to 3D."""
import json
import re
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Tuple

import numpy as np
from mmpose.registry import DATASETS

from mpm_postometro.bodies.skeletons import SKELETONS
from .pose_sequence import PoseSequence, check_poses
from .pose_sequence_dataset import PoseSequenceDataset

__all__ = ['DETECTOR_LAYOUTS', 'DetectionSequenceDataset', 'to_h36m']

_COCO = SKELETONS['coco17'].joint_names
# Halpe's first 26: COCO's, then these.
_HALPE26 = (*_COCO, 'head', 'neck', 'pelvis', 'left_big_toe', 'right_big_toe',
            'left_small_toe', 'right_small_toe', 'left_heel', 'right_heel')
#: dict: Names of the joints of detectors.
DETECTOR_LAYOUTS = dict(
    coco17=_COCO, halpe26=_HALPE26, h36m17=SKELETONS['h36m17'].joint_names)
# Joints of Human3.6M that detectors do not have: the mean of others, the
# first line whose joints there are.
_MEANS = dict(
    pelvis=(('left_hip', 'right_hip'), ),
    neck=(('left_shoulder', 'right_shoulder'), ),
    torso=(('pelvis', 'neck'), ('left_hip', 'right_hip', 'left_shoulder',
                                'right_shoulder')),
    jaw=(('nose', ), ),
    head=(('left_eye', 'right_eye'), ))


@DATASETS.register_module()
class DetectionSequenceDataset(PoseSequenceDataset):
    """Clips of detections, to be lifted.

    Reads lists of results, as COCO's evaluation takes them and AlphaPose and
    MMPose write them (``image_id``, ``keypoints`` of 3 numbers a joint,
    ``score``), and COCO annotations (``images``, ``annotations``). The number
    of a frame is the last number in ``image_id`` or, with ``images``, in
    ``file_name``. A track is an ``idx``, ``track_id`` or ``person_id``;
    without them the best person of each frame makes one track.

    Joints of 17 (COCO) or 26 (Halpe) become those of Human3.6M: pelvis and
    neck are the middle of hips and shoulders, unless the detector has them,
    the torso is the middle of the body, the jaw is the nose; a head that is
    not detected is between the eyes. The score is the lowest that takes
    part.

    Frames in which a track is missing are filled in, straight, with score 0:
    :class:`ConfidenceMask` hides them.

    Args:
        ann_file (str): JSON file.
        image_size (tuple[int, int]): Width and height of the video; not
            needed where ``images`` tell it.
        layout (str, optional): 'coco17', 'halpe26' or 'h36m17'. Defaults to
            what the number of joints says; 17 are COCO's.
        min_frames (int): Shorter tracks are left out. Defaults to 1.
        **kwargs: See :class:`PoseSequenceDataset`.

    Raises:
        ValueError: If the file is not as described; says where.
    """

    def __init__(self,
                 ann_file: str,
                 image_size: Optional[Tuple[int, int]] = None,
                 layout: Optional[str] = None,
                 min_frames: int = 1,
                 **kwargs) -> None:
        if layout is not None and layout not in DETECTOR_LAYOUTS:
            raise ValueError(f"unknown layout '{layout}', expected one of "
                             f'{sorted(DETECTOR_LAYOUTS)}')
        self.image_size = image_size
        self.layout = layout
        self.min_frames = min_frames
        super().__init__(ann_file=ann_file, **kwargs)

    def load_sequences(self) -> List[PoseSequence]:
        """Read the file."""
        results, names, size = self._read()
        if size is None:
            raise ValueError(f'{self.ann_file}: does not tell the size of the '
                             'video; image_size=(width, height) is needed')
        tracks: Dict[str, Dict[int, tuple]] = {}
        for row, result in enumerate(results):
            where = f'{self.ann_file}: entry {row}'
            if not isinstance(result, Mapping) or not {
                    'image_id', 'keypoints'
            } <= set(result):
                raise ValueError(f"{where} must have 'image_id' and "
                                 "'keypoints'")
            frame = self._frame(result['image_id'], names, where)
            score = float(result.get('score', 0))
            track = next(
                (str(result[k])
                 for k in ('idx', 'track_id', 'person_id') if k in result), '')
            best = tracks.setdefault(track, {})
            if frame not in best or score > best[frame][0]:
                best[frame] = score, self._keypoints(result, where)
        sequences = [
            self._sequence(track, frames, size)
            for track, frames in sorted(tracks.items())
            if len(frames) >= self.min_frames
        ]
        if not sequences:
            raise ValueError(f'{self.ann_file}: has no person in at least '
                             f'{self.min_frames} frames')
        return sequences

    def _read(self) -> Tuple[list, Dict[Any, str], Optional[tuple]]:
        """Results, file names by image id, size of the pictures."""
        path = Path(self.ann_file)
        if not path.is_file():
            raise FileNotFoundError(f'{path} does not exist')
        try:
            data = json.loads(path.read_text(encoding='utf-8'))
        except ValueError as error:
            raise ValueError(f'{path} is no JSON file: {error}') from None
        if isinstance(data, Mapping) and 'annotations' in data:
            images = data.get('images', [])
            names = {x['id']: x.get('file_name', x['id']) for x in images}
            sizes = {(x['width'], x['height'])
                     for x in images if 'width' in x and 'height' in x}
            if len(sizes) > 1 and self.image_size is None:
                raise ValueError(f"{path}: 'images' have several sizes, "
                                 f'{sorted(sizes)[:3]}: not one video')
            size = self.image_size or next(iter(sizes), None)
            return data['annotations'], names, size
        if not isinstance(data, list):
            raise ValueError(f'{path} must be a list of results, or have '
                             f"'annotations', got {type(data).__name__}")
        return data, {}, self.image_size

    @staticmethod
    def _frame(image_id: Any, names: Mapping, where: str) -> int:
        name = Path(str(names.get(image_id, image_id))).name
        name = name.rsplit('.', 1)[0]
        numbers = re.findall(r'\d+', name)
        if not numbers:
            raise ValueError(f"{where}: 'image_id' must have the number of "
                             f"the frame, got '{name}'")
        return int(numbers[-1])

    def _keypoints(self, result: Mapping, where: str) -> np.ndarray:
        """(J, 3) in the layout of the detector: x, y and score."""
        try:
            flat = np.ravel(np.asarray(result['keypoints'], np.float32))
        except (TypeError, ValueError):
            raise ValueError(f"{where}: 'keypoints' must be numbers") from None
        if self.layout is None:
            known = {
                3 * len(v): k
                for k, v in reversed(DETECTOR_LAYOUTS.items())
            }
            if len(flat) not in known:
                raise ValueError(
                    f"{where}: 'keypoints' has {len(flat)} numbers, expected "
                    '3 for each of 17 (COCO) or 26 (Halpe) joints')
            self.layout = known[len(flat)]
        joints = len(DETECTOR_LAYOUTS[self.layout])
        if len(flat) != 3 * joints:
            raise ValueError(f"{where}: 'keypoints' has {len(flat)} numbers, "
                             f'expected 3 for each of {joints} joints of '
                             f"'{self.layout}'")
        return check_poses(
            flat.reshape(1, joints, 3), f"{where}: 'keypoints'", joints, 3)[0]

    def _sequence(self, track: str, frames: Mapping[int, tuple],
                  size: Tuple[int, int]) -> PoseSequence:
        numbers = np.array(sorted(frames))
        known = np.stack([frames[n][1] for n in numbers])
        poses = to_h36m(known, self.layout)
        every = np.arange(numbers[0], numbers[-1] + 1)
        if len(every) > len(numbers):  # fill in
            flat = poses.reshape(len(numbers), -1)
            filled = np.stack([np.interp(every, numbers, c) for c in flat.T],
                              1).reshape(len(every), *poses.shape[1:])
            filled[~np.isin(every, numbers), :, 2] = 0
            poses = filled.astype(np.float32)
        poses = self.take_joints(poses)
        name = Path(self.ann_file).stem
        return PoseSequence(
            f'{name}/{track}' if track else name,
            tuple(size),
            keypoints_2d=np.ascontiguousarray(poses[..., :2]),
            scores=np.ascontiguousarray(poses[..., 2]),
            subject=track,
            first_frame=int(numbers[0]))


def to_h36m(poses: np.ndarray, layout: str) -> np.ndarray:
    """Joints of a detector to those of Human3.6M.

    Args:
        poses (np.ndarray): (N, J', 3): x, y and score.
        layout (str): One of ``DETECTOR_LAYOUTS``, with J' joints.

    Returns:
        np.ndarray: (N, 17, 3). How, see :class:`DetectionSequenceDataset`.
    """
    names = DETECTOR_LAYOUTS[layout]
    have = {name: poses[:, i] for i, name in enumerate(names)}
    joints = []
    for name in SKELETONS['h36m17'].joint_names:
        if name not in have:
            parts = next(p for p in _MEANS[name] if set(p) <= set(have))
            stack = np.stack([have[p] for p in parts])
            have[name] = stack.mean(0)
            have[name][:, 2] = stack[..., 2].min(0)
        joints.append(have[name])
    return np.stack(joints, 1)
