# Copyright (c) The mpm_postometro authors. All rights reserved.
"""MPI-INF-3DHP as P-STMO prepares it, AMASS as MPM does."""
import numpy as np
import pytest
from mmpose.registry import DATASETS

from mpm_postometro.bodies.skeletons import SKELETONS
from mpm_postometro.datasets.body import (AMASSPoseDataset,
                                          MPIINF3DHPSequenceDataset)
from mpm_postometro.datasets.transforms import NormalizeScreen

# MPI-INF-3DHP's 17, as P-STMO has them
NAMES = [
    'head_top', 'neck', 'right_shoulder', 'right_elbow', 'right_wrist',
    'left_shoulder', 'left_elbow', 'left_wrist', 'right_hip', 'right_knee',
    'right_ankle', 'left_hip', 'left_knee', 'left_ankle', 'pelvis', 'spine',
    'head'
]


def poses_3dhp(num_frames, seed=0):
    rng = np.random.default_rng(seed)
    return dict(
        data_3d=rng.normal(0, 500, (num_frames, 17, 3)),
        data_2d=rng.uniform(0, 2048, (num_frames, 17, 2)))


@pytest.fixture
def train(tmp_path):

    def write(change=None):
        data = {
            f'S{s} Seq{q}': [{
                str(c): poses_3dhp(6 + q, 4 * s + c)
                for c in (0, 4)
            }]
            for s in (1, 2)
            for q in (1, 2)
        }
        if change is not None:
            change(data)
        np.savez_compressed(tmp_path / 'data_train_3dhp.npz', data=data)
        return str(tmp_path / 'data_train_3dhp.npz')

    return write


@pytest.fixture
def test_file(tmp_path):

    def write(change=None):
        data = {f'TS{i}': poses_3dhp(8, i) for i in (1, 5)}
        for entry in data.values():
            entry['valid'] = np.array([1, 0, 0, 1, 1, 1, 0, 1.])
        if change is not None:
            change(data)
        np.savez_compressed(tmp_path / 'data_test_3dhp.npz', data=data)
        return str(tmp_path / 'data_test_3dhp.npz')

    return write


def test_3dhp_to_train_on(train):
    dataset = DATASETS.build(
        dict(type='MPIINF3DHPSequenceDataset', ann_file=train(), seq_len=5))
    assert len(dataset) == 2 * 2 * (7 + 8)
    assert [s.name for s in dataset.sequences
            ][:3] == ['S1 Seq1/0', 'S1 Seq1/4', 'S1 Seq2/0']
    item = dataset[7]
    assert (item['subject'], item['action'], item['camera_name'],
            item['image_size']) == ('S1', 'Seq1', '4', (2048, 2048))
    assert not item['camera'].any()
    assert len(MPIINF3DHPSequenceDataset(train(), subjects=['S2'])) == 30


def test_3dhp_joints_and_units(train):
    sequence = MPIINF3DHPSequenceDataset(train()).sequences[0]
    source = poses_3dhp(7, 4)
    names = SKELETONS['h36m16'].joint_names
    for ours, theirs in (('pelvis', 'pelvis'), ('right_hip', 'right_hip'),
                         ('left_ankle', 'left_ankle'), ('torso', 'spine'),
                         ('left_shoulder', 'left_shoulder'),
                         ('right_wrist', 'right_wrist'), ('neck', 'head')):
        i, j = names.index(ours), NAMES.index(theirs)
        np.testing.assert_allclose(
            sequence.keypoints_3d[:, i],
            source['data_3d'][:, j] / 1000,
            rtol=1e-5)
        np.testing.assert_allclose(
            sequence.keypoints_2d[:, i], source['data_2d'][:, j], rtol=1e-5)
    head = source['data_3d'][:, [0, 16]].mean(1) / 1000
    np.testing.assert_allclose(
        sequence.keypoints_3d[:, names.index('head')], head, rtol=1e-4)


def test_3dhp_to_test_on(test_file):
    dataset = MPIINF3DHPSequenceDataset(test_file(), seq_len=3)
    targets = [(i['sequence'], int(i['frame_indices'][1])) for i in dataset]
    assert targets == [(s, f) for s in ('TS1', 'TS5') for f in (0, 3, 4, 5, 7)]
    # invalid frames are context
    assert dataset[1]['frame_indices'].tolist() == [2, 3, 4]
    assert dataset[0]['image_size'] == (2048, 2048)
    assert dataset[-1]['image_size'] == (1920, 1080)


def change(path, value):

    def apply(data):
        *keys, last = path
        for key in keys:
            data = data[key]
        if value is None:
            del data[last]
        else:
            data[last] = value

    return apply


BROKEN = poses_3dhp(7)['data_3d']
BROKEN[[2, 5], 3] = np.nan


@pytest.mark.parametrize('path, value, message', [
    (('S1 Seq1', 0, '4', 'data_3d'), None,
     r"data_train_3dhp.npz: 'data'\['S1 Seq1'\]\[0\]\['4'\] has no 'data_3d'"),
    (('S1 Seq1', 0, '4', 'data_3d'), BROKEN,
     r"\['data_3d'\] is not finite in 2 of 7 frames, the first \[2 5\]"),
    (('S1 Seq1', 0, '4', 'data_2d'), np.zeros(
        (5, 17, 2)), r"\['data_2d'\] has 5 frames, expected the 7"),
    (('S1 Seq1', 0, '4', 'data_2d'), np.zeros(
        (7, 28, 2)), r'must be \(N, 17, 2\), got \(7, 28, 2\)'),
    (('S1 Seq1', 0, '4', 'data_3d'), np.zeros((0, 17, 3)), 'has no frames'),
    (('S1 Seq1', ), [], r"'S1 Seq1'\] must be a dictionary, or a list"),
])
def test_3dhp_that_is_wrong(train, path, value, message):
    with pytest.raises(ValueError, match=message):
        MPIINF3DHPSequenceDataset(train(change(path, value)))


def test_3dhp_test_set_that_is_wrong(test_file):
    with pytest.raises(ValueError, match=r"'data'\['TS1'\] has no 'valid'"):
        MPIINF3DHPSequenceDataset(test_file(change(('TS1', 'valid'), None)))
    with pytest.raises(ValueError, match=r"\['valid'\] has 3 frames, exp"):
        MPIINF3DHPSequenceDataset(
            test_file(change(('TS1', 'valid'), np.ones(3))))
    with pytest.raises(ValueError, match=r"no subjects \['TS9'\], only"):
        MPIINF3DHPSequenceDataset(test_file(), subjects=['TS9'])
    with pytest.raises(ValueError, match="'h36m16' lacks.*'jaw'"):
        MPIINF3DHPSequenceDataset(test_file(), skeleton='h36m17')


@pytest.fixture
def amass(tmp_path):

    def write(change=None):
        rng = np.random.default_rng(0)
        poses = {
            name:
            dict(
                pose2d=rng.uniform(-1, 1, (n, 16, 2)),
                pose3d=rng.normal(0, .5, (n, 16, 3)),
                length=n)
            for name, n in (('ACCAD/walk', 9), ('CMU/01_01', 14))
        }
        if change is not None:
            change(poses)
        np.savez_compressed(tmp_path / 'amass.npz', poses=poses)
        return str(tmp_path / 'amass.npz'), poses

    return write


def test_amass_as_prepared(amass):
    path, poses = amass()
    dataset = DATASETS.build(
        dict(type='AMASSPoseDataset', ann_file=path, seq_len=9))
    assert len(dataset) == 23
    item = NormalizeScreen()(dataset[4])
    source = poses['ACCAD/walk']
    np.testing.assert_allclose(
        item['keypoints_2d'], source['pose2d'], atol=1e-6)
    np.testing.assert_allclose(
        item['keypoints_3d'], source['pose3d'], rtol=1e-6)
    assert item['sequence'] == 'ACCAD/walk'


@pytest.mark.parametrize('path, value, message', [
    (('CMU/01_01', 'length'), 12,
     r"amass.npz: 'poses'\['CMU/01_01'\]\['length'\] is 12, but there are 14"),
    (('CMU/01_01', 'pose3d'), None, r"'CMU/01_01'\] has no 'pose3d', only"),
    (('CMU/01_01', 'pose3d'), np.zeros((9, 16, 3)), 'has 9 frames, expected'),
    (('CMU/01_01', 'pose2d'), np.zeros((14, 22, 2)), r'must be \(N, 16, 2\)'),
    (('CMU/01_01', 'pose2d'), np.full((14, 16, 2), np.nan), 'not finite'),
    (('CMU/01_01', 'pose2d'), np.zeros((0, 16, 2)), 'has no frames'),
])
def test_amass_that_is_wrong(amass, path, value, message):
    with pytest.raises(ValueError, match=message):
        AMASSPoseDataset(amass(change(path, value))[0])
