# Copyright (c) The mpm_postometro authors. All rights reserved.
"""2D detections of a video, the input that people lift to 3D."""
import json
import re
from pathlib import Path
from typing import Any, Dict, Iterator, List, Mapping, Optional, Tuple, Union

import numpy as np
from mmpose.registry import DATASETS

from mpm_postometro.bodies.skeletons import SKELETONS
from .pose_sequence import PoseSequence, check_poses
from .pose_sequence_dataset import PoseSequenceDataset

__all__ = [
    'DETECTOR_LAYOUTS', 'DetectionSequenceDataset', 'check_image_size',
    'not_seen', 'to_h36m'
]

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
_TRACK_KEYS = ('idx', 'track_id', 'person_id')


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

    Joints at (0, 0) with score (or visibility) 0 were not seen; what is made
    of them is there too, with score 0. People of whom nothing was seen are
    left out.

    Frames in which a track is missing are filled in, straight, with score 0:
    :class:`ConfidenceMask` hides them. After a longer gap a new track begins;
    the parts are called ``TRACK from FRAME``.

    Args:
        ann_file (str): JSON file.
        image_size (tuple[int, int]): Width and height of the video; not
            needed where ``images`` tell it.
        layout (str, optional): 'coco17', 'halpe26' or 'h36m17'. Defaults to
            what the number of joints says; 17 are COCO's.
        min_frames (int): Tracks, or parts of them, with fewer frames are left
            out. Defaults to 1.
        max_gap (int): So many frames in a row are filled in at most.
            Defaults to 30.
        **kwargs: See :class:`PoseSequenceDataset`.

    Raises:
        ValueError: If the file or an argument is not as described; says
            where.
    """

    def __init__(self,
                 ann_file: str,
                 image_size: Optional[Tuple[int, int]] = None,
                 layout: Optional[str] = None,
                 min_frames: int = 1,
                 max_gap: int = 30,
                 **kwargs) -> None:
        if layout is not None and layout not in DETECTOR_LAYOUTS:
            raise ValueError(f"unknown layout '{layout}', expected one of "
                             f'{sorted(DETECTOR_LAYOUTS)}')
        if min_frames < 1:
            raise ValueError(
                f'min_frames must be at least 1, got {min_frames}')
        if max_gap < 0:
            raise ValueError(f'max_gap must be at least 0, got {max_gap}')
        if image_size is not None:
            image_size = check_image_size(image_size, 'image_size')
        self.image_size = image_size
        self.layout = layout
        self.min_frames = min_frames
        self.max_gap = max_gap
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
            score = result.get('score', 0)
            if not isinstance(score, (int, float)) or not np.isfinite(score):
                raise ValueError(f"{where}: 'score' must be a finite number, "
                                 f'got {score!r}')
            key = next((k for k in _TRACK_KEYS if k in result), None)
            track = '' if key is None else str(
                _identifier(result[key], f"{where}: '{key}'"))
            pose = self._keypoints(result, where)
            if not_seen(pose).all():
                continue
            best = tracks.setdefault(track, {})
            if frame not in best or score > best[frame][0]:
                best[frame] = score, pose
        sequences = [
            self._sequence(name, frames, size)
            for track, every in sorted(tracks.items())
            for name, frames in self._parts(track, every)
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
            for key in ('images', 'annotations'):
                if not isinstance(data.get(key, []), list):
                    raise ValueError(f"{path}: '{key}' must be a list, got "
                                     f'{type(data[key]).__name__}')
            names, sizes = {}, set()
            for row, image in enumerate(data.get('images', [])):
                where = f"{path}: 'images', entry {row}"
                if not isinstance(image, Mapping) or 'id' not in image:
                    raise ValueError(f"{where} must have 'id'")
                number = _identifier(image['id'], f"{where}: 'id'")
                names[number] = image.get('file_name', number)
                if 'width' in image and 'height' in image:
                    sizes.add(
                        check_image_size((image['width'], image['height']),
                                         f"{where}: 'width' and 'height'"))
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
        image_id = _identifier(image_id, f"{where}: 'image_id'")
        name = Path(str(names.get(image_id, image_id))).name
        name = name.rsplit('.', 1)[0]
        numbers = re.findall(r'\d+', name)
        if not numbers or len(numbers[-1]) > 18:  # int64
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

    def _parts(self, track: str, frames: Dict) -> Iterator[tuple]:
        """Names and frames of a track, cut where a gap is too long."""
        numbers = np.array(sorted(frames))
        cuts = np.flatnonzero(np.diff(numbers) > self.max_gap + 1) + 1
        for part in np.split(numbers, cuts):
            name = f'{track} from {part[0]}'.strip() if len(cuts) else track
            yield name, {n: frames[n] for n in part.tolist()}

    def _sequence(self, track: str, frames: Mapping[int, tuple],
                  size: Tuple[int, int]) -> PoseSequence:
        numbers = np.array(sorted(frames))
        known = np.stack([frames[n][1] for n in numbers])
        poses = to_h36m(known, self.layout)
        every = np.arange(numbers[0], numbers[-1] + 1)
        if len(every) > len(numbers):
            poses = _fill_in(poses, numbers, every)
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
            have[name][not_seen(stack).any(0)] = 0
        joints.append(have[name])
    return np.stack(joints, 1)


def not_seen(poses: np.ndarray) -> np.ndarray:
    """Joints at (0, 0) with score 0, as COCO writes what nobody could see.

    Args:
        poses (np.ndarray): (..., J, 3): x, y and score or visibility.

    Returns:
        np.ndarray: (..., J) bool.
    """
    return (poses == 0).all(-1)


def check_image_size(size: Any, where: str) -> Tuple[int, int]:
    """Width and height as whole numbers.

    Args:
        size (Any): Should be two numbers, at least 1.
        where (str): File and key, for the error.

    Returns:
        tuple[int, int]: Width and height, pixels.

    Raises:
        ValueError: If it is something else.
    """
    try:
        width, height = (int(x) for x in np.ravel(size))
    except (TypeError, ValueError, OverflowError):
        width = height = 0
    if min(width, height) < 1:
        raise ValueError(f'{where} must be (width, height), pixels, got '
                         f'{size}')
    return width, height


def _identifier(value: Any, where: str) -> Union[int, str]:
    """Of a picture or a person."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if not isinstance(value, (int, str)) or isinstance(value, bool):
        raise ValueError(f'{where} must be a whole number or text, got '
                         f'{value!r}')
    return value


def _fill_in(poses: np.ndarray, numbers: np.ndarray,
             every: np.ndarray) -> np.ndarray:
    """Poses (N, J, 3) of the frames ``numbers``, and those between, in
    which joints move straight, with score 0."""
    gaps = ~np.isin(every, numbers)
    filled = np.zeros((len(every), *poses.shape[1:]), np.float32)
    filled[~gaps] = poses
    for joint, seen in enumerate(~not_seen(poses).T):
        for axis in range(2 if seen.any() else 0):
            filled[gaps, joint, axis] = np.interp(every[gaps], numbers[seen],
                                                  poses[seen, joint, axis])
    return filled
