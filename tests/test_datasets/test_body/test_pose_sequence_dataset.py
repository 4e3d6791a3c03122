# Copyright (c) The mpm_postometro authors. All rights reserved.
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.dataset import ConcatDataset
from torch.utils.data import DataLoader

from mpm_postometro.datasets.body import PoseSequenceDataset
from mpm_postometro.datasets.body.pose_sequence import (PoseSequence,
                                                        check_poses,
                                                        check_same_length)
from mpm_postometro.datasets.epoch_hook import DatasetEpochHook
from mpm_postometro.datasets.transforms import (FlipSequence, NormalizeScreen,
                                                PackPoseSequence,
                                                RandomSpatioTemporalMask,
                                                RootRelative,
                                                collate_sequences)


def sequence(name, num_frames, joints=17, **changes):
    """Coordinates that say which frame and joint they are of."""
    grid = np.stack(
        np.meshgrid(np.arange(num_frames), np.arange(joints), indexing='ij'),
        -1).astype(np.float32)
    arrays = dict(
        keypoints_2d=grid,
        keypoints_3d=np.concatenate([grid, grid[..., :1] + 2], -1),
        scores=grid[..., 0],
        camera=np.arange(9, dtype=np.float32))
    arrays.update(changes)
    return PoseSequence(name, (1000, 1002), subject='S1', **arrays)


class Counted(PoseSequenceDataset):
    """Two sequences of 7 and 30 frames."""

    def load_sequences(self):
        return self.sequences_ if hasattr(self, 'sequences_') else [
            sequence('short', 7), sequence('long', 30)]  # yapf: disable


class Only3D(PoseSequenceDataset):

    def load_sequences(self):
        return [sequence('3d', 12, keypoints_2d=None, scores=None)]


class Empty(PoseSequenceDataset):

    def load_sequences(self):
        return [sequence('bad', 5, valid=np.zeros(5, bool))]


class Joined(PoseSequenceDataset):
    """The order of the joints can be read from the coordinates."""

    def load_sequences(self):
        s = sequence('long', 30)
        return [
            PoseSequence(
                s.name,
                s.image_size,
                keypoints_3d=self.take_joints(s.keypoints_3d))
        ]


def frames_of(item):
    frames = item['keypoints_2d'][:, 0, 0].astype(int).tolist()
    assert frames == item['frame_indices'].tolist()
    return frames


@pytest.mark.parametrize('keypoints, text', [
    (dict(), '17 joints in 2D and 17 joints in 3D'),
    (dict(keypoints_3d=None), '17 joints in 2D'),
    (dict(keypoints_2d=None), '17 joints in 3D'),
])
def test_sequences_are_printed_in_a_line(keypoints, text):
    assert str(sequence(
        'S1/Walking', 7,
        **keypoints)) == (f"PoseSequence('S1/Walking', 7 frames, {text})")


def test_clips_about_each_frame_with_repeated_ends():
    dataset = Counted(seq_len=5)
    assert len(dataset) == 37 and len(list(dataset)) == 37
    assert frames_of(dataset[0]) == [0, 0, 0, 1, 2]
    assert frames_of(dataset[3]) == [1, 2, 3, 4, 5]
    assert frames_of(dataset[6]) == [4, 5, 6, 6, 6]
    assert frames_of(dataset[7]) == [0, 0, 0, 1, 2]
    assert frames_of(dataset[-1]) == [27, 28, 29, 29, 29]
    assert dataset[-1]['id'] == 36
    item = dataset[3]
    assert item['target_index'] == 2 and item['sequence'] == 'short'
    assert item['keypoints_2d'].shape == (5, 17, 2)
    assert item['keypoints_3d'].shape == (5, 17, 3)
    assert item['keypoints_2d_scores'].shape == (5, 17)
    assert item['image_size'] == (1000, 1002)
    with pytest.raises(IndexError):
        dataset[37]


@pytest.mark.parametrize('settings, index, frames', [
    (dict(frame_step=3), 7 + 15, [9, 12, 15, 18, 21]),
    (dict(frame_step=3), 7 + 4, [0, 1, 4, 7, 10]),
    (dict(causal=True), 7 + 15, [11, 12, 13, 14, 15]),
    (dict(causal=True, frame_step=2), 2, [0, 0, 0, 0, 2]),
    (dict(seq_len=1), 9, [2]),
    (dict(seq_len=4), 7 + 4, [2, 3, 4, 5]),
    (dict(seq_len=45), 7 + 2, [0] * 20 + list(range(25))),
    (dict(clip_step=5), 3, [3, 4, 5, 6, 7]),
    (dict(indices=[3, 8]), 1, [0, 0, 1, 2, 3]),
])
def test_steps_causality_and_lengths(settings, index, frames):
    dataset = Counted(**{'seq_len': 5, **settings})
    assert frames_of(dataset[index]) == frames
    assert frames[dataset.target_index] == dataset[index]['frame_indices'][
        dataset.target_index]


def test_counts_of_clips():
    assert len(Counted(seq_len=9, clip_step=4)) == 2 + 8
    assert len(Counted(seq_len=9, indices=5)) == 5
    valid = np.zeros(30, bool)
    valid[[3, 4, 20]] = True
    dataset = Counted(seq_len=5, lazy_init=True)
    dataset.sequences_ = [sequence('some', 30, valid=valid)]
    assert [i['frame_indices'][2] for i in dataset] == [3, 4, 20]
    with pytest.raises(ValueError, match='has no clip, in 1 sequences'):
        Empty(seq_len=5)


def test_a_clip_is_a_view_that_nobody_can_write_to():
    dataset = Counted(seq_len=5, frame_step=2)
    item = dataset[7 + 15]
    stored = dataset.sequences[1].keypoints_3d
    assert np.shares_memory(item['keypoints_3d'], stored)
    with pytest.raises(ValueError, match='read-only'):
        item['keypoints_3d'][0] = 1


def test_one_modality_only():
    item = Counted(seq_len=5, modalities=('3d', ))[9]
    assert item['has_3d'] and not item['has_2d']
    assert not item['keypoints_2d'].any()
    assert item['keypoints_2d'].shape == (5, 17, 2)
    assert 'keypoints_2d_scores' not in item
    item = Only3D(seq_len=5)[3]
    assert item['has_3d'] and not item['has_2d']
    assert item['keypoints_3d'][2, 0, 0] == 3


def test_sixteen_joints():
    dataset = Joined(seq_len=5, skeleton='h36m16')
    joints = dataset[9]['keypoints_3d'][0, :, 1].astype(int).tolist()
    assert joints == [i for i in range(17) if i != 9]
    assert dataset.metainfo['num_keypoints'] == 16
    assert dataset[0]['flip_indices'] == [
        0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 13, 14, 15, 10, 11, 12
    ]
    with pytest.raises(ValueError, match="lacks.*'left_eye'"):
        Joined(seq_len=5, skeleton='coco17')


@pytest.mark.parametrize('setting, message', [
    (dict(seq_len=0), 'seq_len must be at least 1'),
    (dict(frame_step=0), 'frame_step must be'),
    (dict(clip_step=-1), 'clip_step must be'),
    (dict(modalities=('4d', )), 'modalities must be'),
    (dict(skeleton='martian'), "unknown skeleton 'martian'"),
])
def test_settings_out_of_range(setting, message):
    with pytest.raises(ValueError, match=message):
        Counted(**setting)


PIPELINE = [
    NormalizeScreen(),
    RootRelative(),
    FlipSequence(),
    RandomSpatioTemporalMask(),
    PackPoseSequence()
]


def loaded(dataset, num_workers, epochs=(0, ), order=None):
    """What a loader gives in some epochs, by epoch and clip."""
    loader = DataLoader(
        dataset,
        batch_size=4,
        num_workers=num_workers,
        persistent_workers=num_workers > 0,
        sampler=order,
        collate_fn=collate_sequences)
    hook, found = DatasetEpochHook(), {}
    for epoch in epochs:
        hook.before_train_epoch(
            SimpleNamespace(
                train_dataloader=loader, epoch=epoch, seed=0, rank=0))
        for batch in loader:
            for i, sample in enumerate(batch['data_samples']):
                key = (epoch, sample.dataset_name, sample.id)
                found[key] = [
                    batch['inputs'][k][i].clone()
                    for k in sorted(batch['inputs'])
                ] + [torch.tensor(sample.flip)]
    return found


def test_any_number_of_workers_and_ranks_sees_the_same():
    dataset = Counted(seq_len=9, pipeline=PIPELINE)
    alone = loaded(dataset, 0, (0, 1, 2))
    assert len(alone) == 3 * 37
    workers = loaded(dataset, 2, (0, 1, 2))  # they live for all epochs
    rank = loaded(dataset, 2, (2, ), order=range(35, -1, -2))
    for other in (workers, rank):
        for key, values in other.items():
            assert all(map(torch.equal, values, alone[key]))
    assert workers.keys() == alone.keys() and len(rank) == 18

    def masks(epoch):
        return torch.stack([alone[epoch, 'Counted', i][1] for i in range(37)])

    assert (masks(0) != masks(1)).any() and (masks(1) != masks(2)).any()


def test_mixed_data_sets():
    mixed = ConcatDataset([
        Counted(seq_len=9, pipeline=PIPELINE, modalities=('2d', )),
        Only3D(seq_len=9, pipeline=PIPELINE, seed=1)
    ])
    batch = collate_sequences([mixed[i] for i in range(30, 42)])
    inputs = batch['inputs']
    assert inputs['keypoints_2d'].shape == (12, 9, 17, 2)
    assert inputs['has_2d'].tolist() == [True] * 7 + [False] * 5
    assert inputs['has_3d'].tolist() == [False] * 7 + [True] * 5
    # the same number of hidden frames everywhere
    assert (inputs['frame_mask_2d'].sum(1) == 5).all()
    assert (inputs['frame_mask_3d'].sum(1) == 5).all()
    assert not inputs['keypoints_2d'][7:].any()
    assert len(loaded(mixed, 0, (0, 1))) == 2 * 49


def test_checks_name_what_is_wrong():
    good = np.zeros((5, 17, 3))
    assert check_poses(good, 'a.npz: x', 17, 3).dtype == np.float32
    for bad, message in [
        (np.zeros((5, 16, 3)), r'a.npz: x must be \(N, 17, 3\), got'),
        (np.zeros((0, 17, 3)), 'a.npz: x has no frames'),
        ({}, r'a.npz: x must be numbers \(N, 17, 3\), got dict'),
        (np.array(['a']), 'must be numbers'),
    ]:
        with pytest.raises(ValueError, match=message):
            check_poses(bad, 'a.npz: x', 17, 3)
    good[[1, 3], 5, 2] = np.nan, np.inf
    with pytest.raises(ValueError, match=r'finite in 2 of 5.*\[1 3\]'):
        check_poses(good, 'a.npz: x', 17, 3)
    with pytest.raises(ValueError, match='y has 3 frames, expected the 5 of'):
        check_same_length(good, good[:3], 'x', 'y')
