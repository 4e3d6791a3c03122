# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Clips of fixed length out of sequences of poses of any length."""
from typing import Callable, Dict, List, Optional, Sequence, Union

import numpy as np
import torch
from mmengine.dataset import BaseDataset, force_full_init
from mmpose.datasets.datasets.utils import parse_pose_metainfo

from mpm_postometro.bodies.skeletons import SKELETONS, joint_mapping, metainfo
from .pose_sequence import PoseSequence

__all__ = ['PoseSequenceDataset']


class _ClipList:
    """A list of (sequence, target frame), a few bytes for each."""

    def __init__(self, table: np.ndarray) -> None:
        self._table = table  # (clips, 2)

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, item: Union[int, slice]):
        if isinstance(item, slice):
            return _ClipList(self._table[item])
        sequence, target = self._table[item]
        return dict(sequence=int(sequence), target=int(target))


class PoseSequenceDataset(BaseDataset):
    """Base of the data sets of pose sequences, one subclass for a format.

    A clip has T frames, ``frame_step`` apart, about a target frame or before
    it; beyond the ends of the sequence the frame at the end is repeated.
    Every ``clip_step``-th frame of a sequence is a target, those that the
    sequence calls invalid left out.

    An item has ``keypoints_2d`` (T, J, 2), pixels; ``keypoints_2d_scores``
    (T, J), where a detector gave them; ``keypoints_3d`` (T, J, 3), the
    camera's frame, metres; ``has_2d`` and ``has_3d``, and zeros for what is
    not there; ``camera`` (9,), pixels, zeros if unknown; ``image_size`` (w,
    h); ``frame_indices`` (T,) and ``target_index``; ``sequence``, ``subject``,
    ``action``, ``camera_name``, ``dataset_name``, ``flip_indices``, ``id``
    and ``item_key``, from which transforms draw what is random. Arrays may be
    read-only views of the sequence: transforms make new ones.

    The memory of the sequences is shared by all clips and, on Linux, all
    workers.

    Args:
        ann_file (str): The file or folder; see the subclass.
        seq_len (int): T. Defaults to 243.
        frame_step (int): Frames of the video from one frame of a clip to the
            next. Defaults to 1.
        clip_step (int): Frames from one target to the next. Defaults to 1:
            every frame, as for a test.
        causal (bool): The target is the last frame of the clip in place of
            the middle one. Defaults to False.
        modalities (Sequence[str]): What is shown, of '2d' and '3d'. Defaults
            to both.
        skeleton (str): Joints that are given. Defaults to 'h36m17'; 'h36m16'
            is the same without joint 9.
        seed (int): Another seed, other masks and flips. Defaults to 0.
        metainfo, data_root, data_prefix, pipeline, test_mode, indices,
            lazy_init, max_refetch: As in
            :class:`mmengine.dataset.BaseDataset`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a setting is outside its range, or a file is not what
            was expected; says which file and key.
    """

    #: str: Joints of the files.
    SOURCE_SKELETON = 'h36m17'

    def __init__(self,
                 ann_file: str = '',
                 seq_len: int = 243,
                 frame_step: int = 1,
                 clip_step: int = 1,
                 causal: bool = False,
                 modalities: Sequence[str] = ('2d', '3d'),
                 skeleton: str = 'h36m17',
                 seed: int = 0,
                 metainfo: Optional[dict] = None,
                 data_root: str = '',
                 data_prefix: Optional[dict] = None,
                 pipeline: Sequence[Union[dict, Callable]] = (),
                 test_mode: bool = False,
                 indices: Union[None, int, Sequence[int]] = None,
                 lazy_init: bool = False,
                 max_refetch: int = 1000) -> None:
        for key, value in (('seq_len', seq_len), ('frame_step', frame_step),
                           ('clip_step', clip_step)):
            if value < 1:
                raise ValueError(f'{key} must be at least 1, got {value}')
        if not modalities or set(modalities) - {'2d', '3d'}:
            raise ValueError("modalities must be some of ('2d', '3d'), got "
                             f'{modalities}')
        if skeleton not in SKELETONS:
            raise ValueError(f"unknown skeleton '{skeleton}', expected one of "
                             f'{sorted(SKELETONS)}')
        self.seq_len = seq_len
        self.frame_step = frame_step
        self.clip_step = clip_step
        self.target_index = seq_len - 1 if causal else seq_len // 2
        self.modalities = tuple(modalities)
        self.skeleton = SKELETONS[skeleton]
        self.seed = seed
        self._offsets = (np.arange(seq_len) - self.target_index) * frame_step
        # Shared: workers that live for several epochs see it change.
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()
        super().__init__(
            ann_file=ann_file,
            metainfo=metainfo,
            data_root=data_root,
            data_prefix=data_prefix or {},
            indices=indices,
            serialize_data=False,  # nothing to serialize: see _ClipList
            pipeline=list(pipeline),
            test_mode=test_mode,
            lazy_init=lazy_init,
            max_refetch=max_refetch)

    def _load_metainfo(self, metainfo_: Optional[dict] = None) -> dict:
        return parse_pose_metainfo(metainfo_ or metainfo(self.skeleton))

    def set_epoch(self, epoch: int) -> None:
        """From now on, random numbers of this epoch.

        Args:
            epoch (int): From 0.
        """
        self._epoch.fill_(epoch)

    def load_sequences(self) -> List[PoseSequence]:
        """Read the file.

        Returns:
            list[PoseSequence]: With the joints of ``self.skeleton``.
        """
        raise NotImplementedError

    def take_joints(self, poses: np.ndarray) -> np.ndarray:
        """The wanted joints of poses in the file's skeleton.

        Args:
            poses (np.ndarray): (N, J', ...), joints of ``SOURCE_SKELETON``.

        Returns:
            np.ndarray: (N, J, ...), those of ``self.skeleton``; the same
            array where nothing changes.
        """
        if self.skeleton.name == self.SOURCE_SKELETON:
            return poses
        order = joint_mapping(self.SOURCE_SKELETON, self.skeleton)
        return np.ascontiguousarray(poses[:, order])

    def find_targets(self, sequence: PoseSequence) -> np.ndarray:
        """Target frames of the clips of a sequence, ascending.

        Args:
            sequence (PoseSequence): One of N frames.

        Returns:
            np.ndarray: (clips, ) int64.
        """
        targets = np.arange(0, len(sequence), self.clip_step)
        if sequence.valid is not None:
            targets = targets[sequence.valid[targets]]
        return targets

    def load_data_list(self) -> _ClipList:
        """Read the file; one row for each clip."""
        sequences = self.load_sequences()
        self.sequences = sequences
        rows = [np.zeros((0, 2), np.int64)]
        for i, sequence in enumerate(sequences):
            targets = self.find_targets(sequence)
            rows.append(np.stack([np.full_like(targets, i), targets], 1))
        table = np.concatenate(rows)
        if not len(table):
            raise ValueError(f'{self.ann_file}: has no clip, in '
                             f'{len(sequences)} sequences')
        return _ClipList(table)

    @force_full_init
    def get_data_info(self, idx: int) -> Dict:
        """A clip.

        Args:
            idx (int): Position in the data set.

        Returns:
            dict: See the class.
        """
        info = self.data_list[idx]
        idx = int(idx) % len(self)  # of the clip, counted from the front
        sequence = self.sequences[info['sequence']]
        frames = self._offsets + info['target']
        first, last = frames[0], frames[-1]
        if 0 <= first and last < len(sequence):
            poses = sequence.clip(slice(first, last + 1, self.frame_step))
        else:
            frames = frames.clip(0, len(sequence) - 1)
            poses = sequence.clip(frames)
        item = dict(
            camera=sequence.camera,
            image_size=sequence.image_size,
            frame_indices=frames,
            target_index=self.target_index,
            sequence=sequence.name,
            subject=sequence.subject,
            action=sequence.action,
            camera_name=sequence.camera_name,
            dataset_name=type(self).__name__,
            flip_indices=list(self.skeleton.flip_indices),
            id=idx,
            sample_idx=idx,
            item_key=(self.seed, int(self._epoch), idx))
        for modality, dims in (('2d', 2), ('3d', 3)):
            key = f'keypoints_{modality}'
            item[f'has_{modality}'] = (
                key in poses and modality in self.modalities)
            item[key] = poses[key] if item[f'has_{modality}'] else np.zeros(
                (self.seq_len, self.skeleton.num_joints, dims), np.float32)
        if item['has_2d'] and 'keypoints_2d_scores' in poses:
            item['keypoints_2d_scores'] = poses['keypoints_2d_scores']
        if item['camera'] is None:
            item['camera'] = np.zeros(9, np.float32)
        return item
