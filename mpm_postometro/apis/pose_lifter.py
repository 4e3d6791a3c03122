# Copyright (c) The mpm_postometro authors. All rights reserved.
"""From 2D poses of a video, or 3D poses with holes, to 3D poses.

::

    inferencer = PoseSequenceInferencer('config.py', 'weights.pth')
    tracks = inferencer('detections.json', image_size=(1920, 1080))
    tracks.keypoints_3d  # (N, J, 3), metres
"""
import logging
import time
from dataclasses import replace
from pathlib import Path
from typing import (Any, Dict, List, NamedTuple, Optional, Sequence, Tuple,
                    Union)

import numpy as np
import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.registry import init_default_scope

from mpm_postometro.bodies.axes import AXES, turn_axes
from mpm_postometro.bodies.skeletons import SKELETONS
from mpm_postometro.datasets.body.detection_sequence_dataset import (
    DETECTOR_LAYOUTS, DetectionSequenceDataset, check_image_size, not_seen,
    to_h36m)
from mpm_postometro.datasets.body.pose_sequence import PoseSequence
from mpm_postometro.datasets.body.pose_sequence_dataset import \
    PoseSequenceDataset
from mpm_postometro.datasets.transforms import collate_sequences
from mpm_postometro.models.heads import MPMDecoderHead
from mpm_postometro.models.pose_estimators import MPMEstimator
from .model_loading import (find_dataset_setting, find_test_dataset,
                            find_test_pipeline, load_model, open_config)
from .pose_tracks import PoseTracks, read_pose_arrays
from .progress import ProgressLine, format_seconds

__all__ = ['PoseSequenceInferencer']

# What a test hides, spoils or mirrors on purpose.
_TEST_ONLY = ('ConfidenceMask', 'DetectionNoise', 'FlipSequence', 'GivenMask',
              'RandomSpatioTemporalMask', 'TubeMask')
_THRESHOLD = 0.3
# Metres. Nobody's joints are so far from the root.
_REACH = 3.


class _Track(NamedTuple):
    """Poses to be lifted or completed.

    Attributes:
        sequence: As data sets give it; what is hidden in it is 0.
        hidden: (N, J) bool.
        given: (N, J, 2 | 3), as it came.
    """
    sequence: PoseSequence
    hidden: np.ndarray
    given: np.ndarray


class PoseSequenceInferencer:
    """Lifts 2D poses of a video to 3D, or fills the holes of 3D poses.

    Which it does depends on the model: one of MPM's lifting or 2D-to-3D
    completion reads 2D poses, one of 3D completion reads 3D poses.

    - Number of frames: N; of a window of the network: T
    - Number of joints: J

    Videos of any length are seen in windows; beyond the ends the frame at the
    end is repeated. A model with a target frame has a window for every frame.
    One that predicts all frames has overlapping windows, whose predictions
    are averaged; the middle of a window counts most.

    Args:
        config (str | Path | Config): Of the model; its test pipeline prepares
            the poses. What the test hides or adds as noise is left out.
        checkpoint (str | Path, optional): Weights, read without running code
            from the file. None keeps what the config initialises (for
            trials).
        device (str | torch.device, optional): By default the GPU where there
            is one.
        batch_size (int): Windows at once.

    Raises:
        FileNotFoundError: If config or checkpoint is missing.
        pickle.UnpicklingError: If the checkpoint is damaged or would need
            more than tensors to be read.
        ValueError: If the config is not of a model that predicts 3D poses
            of sequences, or the checkpoint belongs to another model.
    """

    def __init__(self,
                 config: Union[str, Path, Config],
                 checkpoint: Optional[Union[str, Path]] = None,
                 device: Optional[Union[str, torch.device]] = None,
                 *,
                 batch_size: int = 64) -> None:
        if batch_size < 1:
            raise ValueError(f'batch_size must be positive, got {batch_size}')
        self.config = open_config(config)
        self.batch_size = batch_size
        if device is None:
            device = 'cuda' if torch.cuda.is_available() else 'cpu'
        self.device = torch.device(device)
        init_default_scope(self.config.get('default_scope', 'mmpose'))
        model = load_model(self.config, checkpoint).to(self.device).eval()
        name = self.config.filename
        if not isinstance(model, MPMEstimator) or model.test_source is None:
            raise ValueError(
                f'{name}: expected the config of an MPMEstimator that '
                'predicts 3D poses from one modality (see '
                f'test_cfg.source), got {type(model).__name__}')
        if model.refiner is not None:
            print_log(
                'the refiner needs the true depth of the root and is left '
                'out', 'current', logging.WARNING)
            model.refiner = None
        self.model = model
        #: bool: Whether the model completes 3D poses rather than lifts.
        self.completes = model.test_source == '3d'
        self.masking = getattr(model.backbone, 'masking', False)
        dataset = find_test_dataset(self.config)
        skeleton, self.causal, seq_len = (
            find_dataset_setting(dataset, key, PoseSequenceDataset)
            for key in ('skeleton', 'causal', 'seq_len'))
        self.skeleton = SKELETONS[skeleton]
        self.seq_len = getattr(model.backbone, 'num_frames', seq_len)
        num_joints = getattr(model.backbone, 'num_joints',
                             self.skeleton.num_joints)
        if num_joints != self.skeleton.num_joints:
            raise ValueError(
                f'{name}: the model has {num_joints} joints, its test data '
                f'{self.skeleton.num_joints}')
        pipeline = find_test_pipeline(self.config)
        self.pipeline = [t for t in pipeline if t['type'] not in _TEST_ONLY]
        self.score_threshold = next(
            (t.get('threshold', _THRESHOLD)
             for t in pipeline if t['type'] == 'ConfidenceMask'), _THRESHOLD)

    def __call__(self,
                 poses: Union[np.ndarray, Sequence, str, Path],
                 image_size: Optional[Tuple[int, int]] = None,
                 scores: Optional[np.ndarray] = None,
                 hidden: Optional[np.ndarray] = None,
                 *,
                 layout: Optional[str] = None,
                 min_frames: int = 1,
                 max_gap: int = 30,
                 axes: str = 'camera',
                 frame_step: int = 1,
                 window_step: Optional[int] = None,
                 score_threshold: Optional[float] = None,
                 show_progress: bool = False) -> PoseTracks:
        """Lift or complete poses.

        Args:
            poses: To be lifted: (N, J, 2), pixels, or (N, J, 3) with scores;
                a ``.json`` of detections (see
                :class:`DetectionSequenceDataset`); ``.npy``, or ``.npz`` with
                ``keypoints`` or ``keypoints_2d`` and, if there are,
                ``keypoint_scores``, ``image_size`` and ``hidden``. To be
                completed: (N, J, 3), metres, NaN where a joint is missing;
                ``.npy``, or ``.npz`` with ``joints_3d`` or ``keypoints_3d``
                and, if there are, ``hidden`` and the clips of a file of
                motion capture.
            image_size (tuple[int, int], optional): Width and height of the
                video, pixels. Needed to lift, unless the file tells.
            scores (array-like, optional): (N, J), of the detector.
            hidden (array-like, optional): (N, J) bool, joints that are not to
                be used. Hidden anyway are NaN, and 2D joints at (0, 0) with
                score 0: nobody saw them.
            layout (str, optional): Joints of 2D poses: 'coco17', 'halpe26' or
                'h36m17'. Defaults to the model's own; for ``.json`` to what
                the number of joints says.
            min_frames (int): Shorter tracks of detections are left out.
            max_gap (int): So many frames in a row that a track of detections
                leaves out are filled in. After a longer gap a new track
                begins.
            axes (str): Of the 3D poses, those that come in as well as those
                that go out: 'camera', 'y-up' or 'z-up'.
            frame_step (int): Frames of the video from one frame of a window
                to the next: its frame rate divided by the model's.
            window_step (int, optional): Frames from one window to the next.
                By default a model with a target frame has a window for
                each frame; one without has T // 3. A number, at most T,
                makes any model predict all frames of its windows.
            score_threshold (float, optional): Joints with lower scores are
                hidden, if the model can do without them (``masking``);
                otherwise all are used. Defaults to that of the config's
                ``ConfidenceMask``, or 0.3.
            show_progress (bool): Show how far it is.

        Returns:
            PoseTracks: One pose for each that came in, and for the frames
            that a track of detections leaves out.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If poses or arguments are not as described; says
                what.
        """
        if axes not in AXES:
            raise ValueError(f"unknown axes '{axes}', expected one of "
                             f'{list(AXES)}')
        if not self.masking and score_threshold is not None:
            raise ValueError(self._wants_all('score_threshold hides some'))
        if self.completes:
            tracks = self._read_3d(poses, hidden, axes)
        else:
            threshold = (
                self.score_threshold
                if score_threshold is None else score_threshold)
            tracks = self._read_2d(poses, image_size, scores, hidden, layout,
                                   min_frames, max_gap, threshold)
        predicted = self._predict(tracks, frame_step, window_step,
                                  show_progress)
        return self._collect(tracks, predicted, axes)

    def _wants_all(self, but: str) -> str:
        return (f'{self.config.filename}: this model needs all joints '
                f'(masking=False), but {but}')

    # ----------------------------- reading -----------------------------
    def _read_2d(self, poses, image_size, scores, hidden, layout, min_frames,
                 max_gap, threshold) -> List[_Track]:
        if layout is not None and layout not in DETECTOR_LAYOUTS:
            raise ValueError(f"unknown layout '{layout}', expected one of "
                             f'{sorted(DETECTOR_LAYOUTS)}')
        where = 'poses'
        if isinstance(poses, (str, Path)):
            where = str(poses)
            if Path(poses).suffix == '.json':
                if scores is not None or hidden is not None:
                    raise ValueError(f'{where} has scores of its own; scores '
                                     'and hidden belong to arrays')
                sequences = DetectionSequenceDataset(
                    where,
                    image_size,
                    layout,
                    min_frames,
                    max_gap,
                    skeleton=self.skeleton.name,
                    lazy_init=True).load_sequences()
                return [
                    self._track_2d(where, s, s.keypoints_2d, None, threshold)
                    for s in sequences
                ]
            arrays = read_pose_arrays(poses)
            poses = _first(arrays, where, 'poses', 'keypoints', 'keypoints_2d')
            scores = arrays.get(
                'keypoint_scores') if scores is None else scores
            hidden = arrays.get('hidden') if hidden is None else hidden
            if image_size is None:
                image_size = arrays.get('image_size')
        if image_size is None:
            raise ValueError(f'{where}: image_size=(width, height) is needed '
                             'to lift')
        size = check_image_size(image_size, 'image_size')
        num_joints = (
            len(DETECTOR_LAYOUTS[layout])
            if layout else self.skeleton.num_joints)
        poses = _numbers(poses, where, (num_joints, 2), (num_joints, 3))
        if poses.shape[2] == 3:
            if scores is not None:
                raise ValueError(f'{where} are {poses.shape}: x, y and score; '
                                 'scores= belongs to (N, J, 2)')
            poses, scores = poses[..., :2], poses[..., 2]
        if layout:
            all_scores = np.ones(poses.shape[:2]) if scores is None else scores
            all_scores = _numbers(all_scores, 'scores', poses.shape[1:2])
            poses = to_h36m(
                np.concatenate([poses, all_scores[..., None]], 2), layout)
            dataset = DetectionSequenceDataset(
                where, skeleton=self.skeleton.name, lazy_init=True)
            poses = dataset.take_joints(poses)
            scores = None if scores is None else poses[..., 2]
            poses = poses[..., :2]
        if scores is not None:
            scores = _numbers(scores, 'scores', poses.shape[1:2])
            if len(scores) != len(poses):
                raise ValueError(f'scores are of {len(scores)} frames, poses '
                                 f'of {len(poses)}')
        known = poses[np.isfinite(poses)]
        if known.size and np.abs(known).max() <= 2 < max(size):
            raise ValueError(f'{where}: expected pixels of a picture of '
                             f'{size}, but nothing is larger than 2')
        sequence = PoseSequence('poses', size, poses, scores)
        return [self._track_2d(where, sequence, poses, hidden, threshold)]

    def _track_2d(self, where: str, sequence: PoseSequence, poses: np.ndarray,
                  hidden: Any, threshold: float) -> _Track:
        missing = ~np.isfinite(poses).all(-1) | _hidden(hidden, poses)
        if sequence.scores is not None:
            unseen = not_seen(
                np.concatenate([poses, sequence.scores[..., None]], -1))
            missing |= unseen
            poses = np.where(unseen[..., None], np.float32(np.nan), poses)
        if not self.masking:
            if missing.any():
                frames = np.flatnonzero(missing.any(1)) + sequence.first_frame
                raise ValueError(
                    self._wants_all(
                        f'{where} lack some in {len(frames)} of {len(poses)} '
                        f'frames, the first {frames[:5]}: NaN, hidden, or at '
                        '(0, 0) with score 0'))
        else:
            if sequence.scores is not None:
                missing |= ~(sequence.scores >= threshold)
            if missing.all():
                raise ValueError(f'{where}: all joints are hidden')
        seen = np.where(missing[..., None], 0, poses).astype(np.float32)
        return _Track(replace(sequence, keypoints_2d=seen), missing, poses)

    def _read_3d(self, poses, hidden, axes: str) -> List[_Track]:
        where, names, parts = 'poses', [''], None
        if isinstance(poses, (str, Path)):
            where = str(poses)
            if Path(poses).suffix == '.json':
                raise ValueError(f'{where}: this model completes 3D poses; '
                                 'detections want one that lifts')
            arrays = read_pose_arrays(poses)
            poses = _first(arrays, where, 'poses', 'joints_3d', 'keypoints_3d')
            hidden = arrays.get('hidden') if hidden is None else hidden
            if 'clip_start' in arrays:
                names, parts = _clips(arrays, where)
        poses = _numbers(poses, where, (self.skeleton.num_joints, 3))
        hidden = _hidden(hidden, poses) | ~np.isfinite(poses).all(-1)
        parts = parts or [slice(0, len(poses))]
        if any(not 0 <= p.start < p.stop <= len(poses) for p in parts):
            raise ValueError(f'{where}: clips are empty or reach beyond the '
                             f'{len(poses)} frames')
        missing = np.flatnonzero(hidden[:, 0])
        if len(missing):
            raise ValueError(
                f'{where}: joint 0 ({self.skeleton.joint_names[0]}) is '
                f'missing in {len(missing)} of {len(poses)} frames, the first '
                f'{missing[:5]}; poses are completed about it, so it must be '
                'known')
        if hidden[:, 1:].all():
            raise ValueError(f'{where}: all joints but joint 0 are missing')
        reach = np.linalg.norm(poses - poses[:, :1], axis=-1)[~hidden]
        if np.percentile(reach, 90) > _REACH:
            raise ValueError(
                f'{where}: expected metres, but joints are '
                f'{np.percentile(reach, 90):.3g} away from joint 0')
        camera = turn_axes(poses, axes, 'camera')
        seen = np.where(hidden[..., None], 0, camera).astype(np.float32)
        return [
            _Track(
                PoseSequence(
                    f'{where}: {name}', (2, 2),
                    keypoints_3d=seen[part],
                    subject=str(name)), hidden[part], poses[part])
            for name, part in zip(names, parts)
        ]

    # ---------------------------- predicting ----------------------------
    @torch.no_grad()
    def _predict(self, tracks: List[_Track], frame_step: int,
                 window_step: Optional[int],
                 show_progress: bool) -> List[np.ndarray]:
        """(N, J, 3) of each track, camera's axes, root at the origin."""
        if window_step is not None and not 1 <= window_step <= self.seq_len:
            raise ValueError(
                f'window_step must be from 1 to {self.seq_len}, the frames of '
                f'a window, or some frames have none; got {window_step}')
        every = window_step is not None or isinstance(self.model.heads['3d'],
                                                      MPMDecoderHead)
        if every and window_step is None:
            window_step = max(self.seq_len // 3, 1)
        windows = _Windows(
            tracks,
            self.model.test_source,
            window_step,
            seq_len=self.seq_len,
            frame_step=frame_step,
            causal=self.causal,
            skeleton=self.skeleton.name,
            pipeline=self.pipeline,
            test_mode=True)
        sums = [np.zeros((*t.hidden.shape, 3)) for t in tracks]
        weights = [np.zeros(len(t.hidden)) for t in tracks]
        # Highest in the middle, and nowhere 0: an edge frame may have no
        # other window.
        tent = np.minimum(
            np.arange(self.seq_len) + 1.,
            self.seq_len - np.arange(self.seq_len))
        key = 'keypoints_3d_all' if every else 'keypoints_3d'
        self.model.all_frames = every
        progress = ProgressLine() if show_progress else None
        start, num_poses = time.monotonic(), sum(map(len, weights))
        for first in range(0, len(windows), self.batch_size):
            numbers = range(first, min(first + self.batch_size, len(windows)))
            batch = collate_sequences([windows[i] for i in numbers])
            samples = self.model.test_step(batch)
            poses = torch.cat([s.pred_instances[key] for s in samples])
            for i, pose in zip(numbers, poses.cpu().numpy()):
                track, target, frames = windows.frames_of(i)
                if not every:
                    sums[track][target] = pose
                    weights[track][target] = 1
                    continue
                inside = (frames >= 0) & (frames < len(weights[track]))
                sums[track][frames[inside]] += (
                    tent[inside, None, None] * pose[inside])
                weights[track][frames[inside]] += tent[inside]
            if progress is not None:
                done = (numbers[-1] + 1) / len(windows)
                spent = time.monotonic() - start
                progress.update(
                    'lifting' if not self.completes else 'completing', done,
                    f'{int(done * num_poses)}/{num_poses} poses, '
                    f'{format_seconds(spent / done - spent)} left')
        if progress is not None:
            spent = time.monotonic() - start
            progress.say(f'{num_poses} poses in {format_seconds(spent)}, '
                         f'{num_poses / spent:.0f} poses/s')
        return [(s / w[:, None, None]).astype(np.float32)
                for s, w in zip(sums, weights)]

    def _collect(self, tracks: List[_Track], predicted: List[np.ndarray],
                 axes: str) -> PoseTracks:
        rows: Dict[str, List[np.ndarray]] = {}
        for track, poses in zip(tracks, predicted):
            poses = turn_axes(poses, 'camera', axes)
            sequence, given = track.sequence, track.given
            if self.completes:
                poses = np.where(track.hidden[..., None], poses + given[:, :1],
                                 given)
            hidden = track.hidden
            if not self.masking and sequence.scores is not None:
                hidden = sequence.scores == 0
            columns = dict(
                keypoints_3d=poses,
                hidden=hidden,
                frame_indices=np.arange(len(poses)) + sequence.first_frame,
                track_ids=np.full(len(poses), sequence.subject))
            if not self.completes:
                columns['keypoints_2d'] = given
            if sequence.scores is not None:
                columns['keypoint_scores'] = sequence.scores
            for key, value in columns.items():
                rows.setdefault(key, []).append(value)
        size = None if self.completes else tracks[0].sequence.image_size
        return PoseTracks(
            joint_names=self.skeleton.joint_names,
            axes=axes,
            image_size=size,
            **{
                k: np.concatenate(v)
                for k, v in rows.items()
            })


class _Windows(PoseSequenceDataset):
    """Clips of tracks in memory.

    Args:
        tracks (list[_Track]): The tracks.
        modality (str): What is hidden, '2d' or '3d'.
        step (int, optional): From one window to the next. None makes every
            frame the target of a window.
        **kwargs: See :class:`PoseSequenceDataset`.
    """

    def __init__(self, tracks: List[_Track], modality: str,
                 step: Optional[int], **kwargs) -> None:
        self._tracks = tracks
        self._modality = modality
        self._step = step
        super().__init__(**kwargs)

    def load_sequences(self) -> List[PoseSequence]:
        """Those of the tracks."""
        return [track.sequence for track in self._tracks]

    def find_targets(self, sequence: PoseSequence) -> np.ndarray:
        """See the class."""
        if self._step is None:
            return super().find_targets(sequence)
        targets = []
        for phase in range(min(self.frame_step, len(sequence))):
            free = len(range(phase, len(sequence),
                             self.frame_step)) - self.seq_len
            if free <= 0:  # one window, padded at both ends
                starts = np.array([free - free // 2])
            else:
                starts = np.append(np.arange(0, free, self._step), free)
            targets.append(phase +
                           (starts + self.target_index) * self.frame_step)
        return np.concatenate(targets)

    def frames_of(self, index: int) -> Tuple[int, int, np.ndarray]:
        """Track, target frame and all frames (T, ) of a window; padding has
        numbers outside of the track."""
        row = self.data_list[index]
        return row['sequence'], row['target'], row['target'] + self._offsets

    def get_data_info(self, idx: int) -> Dict:
        """A clip, and what is hidden in it."""
        item = super().get_data_info(idx)
        hidden = self._tracks[self.data_list[idx]['sequence']].hidden
        item[f'joint_mask_{self._modality}'] = hidden[item['frame_indices']]
        return item


def _first(arrays: Dict[str, np.ndarray], where: str, *keys:
           str) -> np.ndarray:
    """The first array that there is."""
    for key in keys:
        if key in arrays:
            return arrays[key]
    raise ValueError(f'{where}: expected {" or ".join(map(repr, keys[-2:]))}, '
                     f'got {sorted(arrays)}')


def _clips(arrays: Dict[str, np.ndarray], where: str) -> tuple:
    """Names and slices of the clips of a file."""
    starts, lengths, names = (
        _first(arrays, where, f'clip_{key}').tolist()
        for key in ('start', 'length', 'name'))
    if not len(starts) == len(lengths) == len(names):
        raise ValueError(f"{where}: 'clip_start', 'clip_length' and "
                         "'clip_name' must have one entry for each clip, got "
                         f'{len(starts)}, {len(lengths)} and {len(names)}')
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"{where}: 'clip_name' must tell clips apart, got "
                         f'{twice[:5]} more than once')
    return names, [slice(a, a + n) for a, n in zip(starts, lengths)]


def _numbers(array: Any, where: str, *shapes: Tuple[int, ...]) -> np.ndarray:
    """(N, ...) float32 of one of these shapes, N > 0; may be NaN."""
    expected = ' or '.join(f"(N, {', '.join(map(str, s))})" for s in shapes)
    try:
        array = np.asarray(array, np.float32)
    except (TypeError, ValueError):
        raise ValueError(f'{where} must be numbers {expected}, got '
                         f'{type(array).__name__}') from None
    if array.shape[1:] not in shapes or not len(array):
        raise ValueError(f'{where} must be {expected} with N > 0, got '
                         f'{array.shape}')
    return array


def _hidden(hidden: Any, poses: np.ndarray) -> np.ndarray:
    """(N, J) bool; nothing where None is given."""
    if hidden is None:
        return np.zeros(poses.shape[:2], bool)
    hidden = np.asarray(hidden)
    if hidden.shape != poses.shape[:2] or hidden.dtype != bool:
        raise ValueError(f'hidden must be bool {poses.shape[:2]}, got '
                         f'{hidden.dtype} {hidden.shape}')
    return hidden
