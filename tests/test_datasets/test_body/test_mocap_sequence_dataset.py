# Copyright (c) The mpm_postometro authors. All rights reserved.
import json

import numpy as np
import pytest
import torch
from mmpose.registry import DATASETS

from mpm_postometro.bodies.cameras import distorted_project
from mpm_postometro.datasets.body import MocapSequenceDataset
from mpm_postometro.datasets.body.virtual_camera import (draw_camera,
                                                         h36m_cameras)


@pytest.fixture
def mocap(tmp_path):
    """Writes a file, with keys replaced, and returns its path."""
    rng = np.random.default_rng(0)
    way = np.stack([np.linspace(0, 5, 25)] * 2 + [np.ones(25)], -1)
    joints = way[:, None] + rng.normal(0, .3, (1, 17, 3))

    def write(**changes):
        arrays = dict(
            joints_3d=joints.astype(np.float32),
            clip_start=np.array([0, 10]),
            clip_length=np.array([10, 15]),
            clip_name=np.array(['05_01', '07_02']),
            clip_subject=np.array(['05', '07']),
            clip_action=np.array(['walk', 'jump']),
            fps=60)
        arrays.update(changes)
        path = tmp_path / 'mocap.npz'
        np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
        return str(path)

    return write


def test_each_motion_is_seen_by_each_camera(mocap):
    dataset = DATASETS.build(
        dict(
            type='MocapSequenceDataset',
            ann_file=mocap(),
            num_cameras=3,
            seq_len=5))
    assert len(dataset) == 3 * 25
    names = [s.name for s in dataset.sequences]
    assert names == [f'{n}/{c}' for n in ('05_01', '07_02') for c in range(3)]
    item = dataset[3 * 10]
    assert (item['subject'], item['action'], item['camera_name'],
            item['sequence']) == ('07', 'jump', '0', '07_02/0')
    assert item['image_size'] == (1000, 1002)
    sequences = dataset.sequences
    assert np.shares_memory(sequences[0].world, sequences[2].world)
    assert (sequences[0].view.position != sequences[1].view.position).any()


def test_seen_whole_upright_and_undistorted_in_3d(mocap):
    path = mocap()
    dataset = MocapSequenceDataset(path, seq_len=25)
    true = np.load(path)['joints_3d']
    for sequence in dataset.sequences[4:]:
        points = sequence.clip(slice(None))
        joints, seen = points['keypoints_3d'], points['keypoints_2d']
        np.testing.assert_allclose(  # a rigid motion of the captured joints
            np.linalg.norm(joints[:, :, None] - joints[:, None], axis=-1),
            np.linalg.norm(true[10:, :, None] - true[10:, None], axis=-1),
            atol=1e-5)
        up = sequence.view.rotation @ np.array([0., 0, 1])
        assert up[1] < -.9 and abs(up[0]) < 1e-6  # y is down, no roll
        assert joints[..., 2].min() > 2
        width, height = sequence.image_size
        assert (seen > 0).all() and (seen < [width, height]).all()
        np.testing.assert_allclose(
            seen,
            distorted_project(
                torch.from_numpy(joints),
                torch.from_numpy(sequence.camera.copy())),
            atol=1e-3)


def test_cameras_depend_on_seed_and_name_alone(mocap):
    path = mocap()
    every = MocapSequenceDataset(path, seq_len=3)
    one = MocapSequenceDataset(path, seq_len=3, subjects=['07'], seed=9)
    other = MocapSequenceDataset(path, seq_len=3, camera_seed=1)
    assert len(one) == 15 * 4 and len(one.sequences) == 4
    for a, b in zip(every.sequences[4:], one.sequences):
        np.testing.assert_array_equal(a.view.position, b.view.position)
        np.testing.assert_array_equal(a.view.rotation, b.view.rotation)
    assert (every.sequences[0].view.position
            != other.sequences[0].view.position).any()


def test_lenses_of_human36m_in_turn():
    root = np.zeros((3, 3), np.float32)
    cameras = [draw_camera(root, 0, 'x', i) for i in range(5)]
    lenses = h36m_cameras()['S1']
    for i, camera in enumerate(cameras):
        np.testing.assert_array_equal(camera.intrinsics,
                                      lenses[i % 4].intrinsics)


def test_human36m_numbers(data_dir):
    facts = json.loads((data_dir / 'h36m_cameras.json').read_text())
    cameras = h36m_cameras()
    assert set(cameras) == set(facts['extrinsics'])
    for subject, own in cameras.items():
        for camera in own:
            lens = facts['intrinsics'][camera.name]
            place = facts['extrinsics'][subject][camera.name]
            expected = (
                lens['focal_length'] + lens['center'] +
                lens['radial_distortion'] + lens['tangential_distortion'])
            np.testing.assert_allclose(camera.intrinsics, expected, rtol=1e-6)
            np.testing.assert_allclose(
                camera.rotation, place['R_world_to_cam'], atol=1e-7)
            np.testing.assert_allclose(
                camera.position, place['position'], rtol=1e-6)
            assert camera.image_size == (lens['width'], lens['height'])
            assert np.linalg.det(camera.rotation) == pytest.approx(1)
            # they stand and look into the room, upright
            looks_at = camera.to_camera(np.array([0., 0, 1]))
            assert looks_at[2] > 3 and abs(looks_at[0]) < 1.5
            assert (camera.rotation @ [0, 0, 1])[1] < -.9


def test_sixteen_joints(mocap):
    path = mocap()
    joints = MocapSequenceDataset(path, seq_len=3)[0]['keypoints_3d']
    fewer = MocapSequenceDataset(path, seq_len=3, skeleton='h36m16')[0]
    keep = [i for i in range(17) if i != 9]
    np.testing.assert_array_equal(fewer['keypoints_3d'], joints[:, keep])
    assert fewer['keypoints_2d'].shape == (3, 16, 2)


def test_broken_files_are_named(mocap):
    with pytest.raises(ValueError, match=r"mocap.npz: lacks \['clip_action'"):
        MocapSequenceDataset(mocap(clip_action=None))
    with pytest.raises(ValueError, match=r"'clip_length' is not.*'07_02'"):
        MocapSequenceDataset(mocap(clip_length=np.array([10, 0])))
    with pytest.raises(ValueError, match=r"lacks \['9'\], has only \['05'"):
        MocapSequenceDataset(mocap(), subjects=['9'])
    with pytest.raises(ValueError, match='num_cameras must be'):
        MocapSequenceDataset(mocap(), num_cameras=0)


def test_real_motion_capture(data_dir):
    path = data_dir / 'cmu_mocap' / 'cmu_mocap_val.npz'
    dataset = MocapSequenceDataset(str(path), seq_len=27, clip_step=50)
    seen = np.concatenate([i['keypoints_2d'] for i in dataset])
    assert ((seen > 0) & (seen < 1000)).all(-1).mean() > .999
    height = np.ptp(seen[..., 1], axis=1)
    assert 100 < np.median(height) < 500  # pixels
