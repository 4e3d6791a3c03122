# Copyright (c) The mpm_postometro authors. All rights reserved.
import pickle

import numpy as np
import pytest
import torch
from mmpose.registry import DATASETS

from mpm_postometro.bodies.cameras import distorted_project
from mpm_postometro.bodies.safe_pickle import UnsafePickleError
from mpm_postometro.datasets.body import (H36MAnnotationDataset,
                                          H36MSequenceDataset)
from mpm_postometro.datasets.body.virtual_camera import h36m_cameras

CAMERAS = ['54138969', '55011271', '58860488', '60457274']
MOVING = [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]
FRAMES = {'Walking 1': 12, 'WalkDog': 7, 'Eating': 9}


def world_poses(num_frames, joints=32, seed=0):
    """People of about a metre, walking about the middle of the room."""
    rng = np.random.default_rng(seed)
    return (rng.normal(0, .3,
                       (num_frames, joints, 3)) + [0, 0, 1]).astype(np.float32)


def projected(world, view):
    points = (world - view.position) @ view.rotation.T
    return distorted_project(
        torch.from_numpy(points), torch.from_numpy(view.intrinsics)).numpy()


@pytest.fixture
def files(tmp_path):
    """Writes the pair of files; changes are applied to the dictionaries."""

    def write(change=None, joints=32, columns=2):
        positions = {
            subject: {
                name: world_poses(n, joints, i)
                for i, (name, n) in enumerate(FRAMES.items())
            }
            for subject in ('S1', 'S9')
        }
        detections = {}
        for subject, actions in positions.items():
            detections[subject] = {}
            for name, world in actions.items():
                world = world[:, MOVING] if joints == 32 else world
                views = [projected(world, v) for v in h36m_cameras()[subject]]
                if columns == 3:
                    views = [
                        np.concatenate([v, np.full_like(v[..., :1], .5)], -1)
                        for v in views
                    ]
                # detectors see a frame more than the capture system
                detections[subject][name] = [
                    np.concatenate([v, v[-1:]]) for v in views
                ]
        metadata = dict(
            layout_name='h36m',
            num_joints=17,
            keypoints_symmetry=[[4, 5, 6], [1, 2, 3]])
        if change is not None:
            change(positions, detections, metadata)
        np.savez_compressed(tmp_path / '3d.npz', positions_3d=positions)
        np.savez_compressed(
            tmp_path / '2d.npz', positions_2d=detections, metadata=metadata)
        return dict(ann_file='3d.npz', data_root=str(tmp_path))

    return write


def test_the_pair(files):
    dataset = DATASETS.build(
        dict(
            type='H36MSequenceDataset',
            **files(),
            keypoint_file='2d.npz',
            subjects=['S9'],
            seq_len=5))
    assert len(dataset) == 4 * sum(FRAMES.values())
    names = [s.name for s in dataset.sequences]
    assert names[:5] == [f'S9/Eating/{c}'
                         for c in CAMERAS] + [f'S9/WalkDog/{CAMERAS[0]}']
    sequence = dataset.sequences[-3]
    assert (sequence.name, sequence.action) == (f'S9/Walking 1/{CAMERAS[1]}',
                                                'Walking')
    view = h36m_cameras()['S9'][1]
    assert sequence.image_size == (1000, 1000) == view.image_size
    world = world_poses(12)[:, MOVING]
    poses = sequence.clip(slice(None))
    np.testing.assert_allclose(
        poses['keypoints_3d'], (world - view.position) @ view.rotation.T,
        atol=1e-5)
    np.testing.assert_allclose(
        poses['keypoints_2d'], projected(world, view), atol=1e-2)
    assert 'keypoints_2d_scores' not in poses


def test_without_2d_file_the_truth_is_projected(files):
    settings = files()
    given = H36MSequenceDataset(
        **settings, keypoint_file='2d.npz', subjects=['S1'])
    made = H36MSequenceDataset(**settings, subjects=['S1'])
    for a, b in zip(given.sequences, made.sequences):
        assert a.name == b.name and len(a) == len(b)
        np.testing.assert_allclose(
            a.clip(slice(None))['keypoints_2d'],
            b.clip(slice(None))['keypoints_2d'],
            atol=1e-2)


def test_scores_sixteen_joints_and_choice(files):
    dataset = H36MSequenceDataset(
        **files(joints=17, columns=3),
        keypoint_file='2d.npz',
        subjects=['S1', 'S9'],
        actions=['Walking'],
        cameras=CAMERAS[1:3],
        skeleton='h36m16',
        seq_len=3)
    assert len(dataset) == 2 * 2 * 12
    item = dataset[0]
    assert item['keypoints_2d_scores'].shape == (3, 16)
    assert (item['keypoints_2d_scores'] == .5).all()
    assert item['keypoints_2d'].shape == (3, 16, 2)
    assert item['keypoints_3d'].shape == (3, 16, 3)


def shorten(positions, detections, metadata):
    detections['S1']['Eating'][2] = detections['S1']['Eating'][2][:5]


def drop_camera(positions, detections, metadata):
    del detections['S1']['Eating'][2]


def drop_action(positions, detections, metadata):
    del detections['S1']['Eating']


def drop_subject(positions, detections, metadata):
    del positions['S1']


def break_2d(positions, detections, metadata):
    detections['S1']['Eating'][1][4, 3] = np.nan


def break_3d(positions, detections, metadata):
    positions['S1']['WalkDog'][[2, 3]] = np.inf


def other_joints(positions, detections, metadata):
    positions['S1']['WalkDog'] = np.zeros((5, 24, 3))


def other_layout(positions, detections, metadata):
    metadata['num_joints'] = 16


def no_frames(positions, detections, metadata):
    positions['S1']['WalkDog'] = np.zeros((0, 32, 3))


@pytest.mark.parametrize('change, message', [
    (shorten, r"2d.npz: 'positions_2d'\['S1'\]\['Eating'\]\[2\] has 5 frames, "
     'expected at least the 9'),
    (drop_camera, r"\['S1'\]\['Eating'\] must have 4 cameras, got 3"),
    (drop_action, r"'positions_2d'\['S1'\] has no 'Eating', only"),
    (drop_subject, r"3d.npz: 'positions_3d' has no 'S1', only \['S9'\]"),
    (break_2d, r"\['S1'\]\['Eating'\]\[1\] is not finite in 1 of 10.*\[4\]"),
    (break_3d, r"3d.npz: 'positions_3d'\['S1'\]\['WalkDog'\] is not finite"),
    (other_joints, r"\['WalkDog'\] must be \(N, 17, 3\), got \(5, 24, 3\)"),
    (other_layout, "2d.npz: 'metadata' says num_joints=16"),
    (no_frames, r"\['WalkDog'\] has no frames"),
])
def test_what_is_wrong_is_named(files, change, message):
    with pytest.raises(ValueError, match=message):
        H36MSequenceDataset(
            **files(change), keypoint_file='2d.npz', subjects=['S1'])


def test_unknown_choices_and_files(files, tmp_path):
    settings = {**files(), 'subjects': ['S1']}
    with pytest.raises(ValueError, match=r"actions=\['Flying'\] are unknown"):
        H36MSequenceDataset(**settings, actions=['Flying'])
    with pytest.raises(ValueError, match=r"cameras=\['7'\] are unknown"):
        H36MSequenceDataset(**settings, cameras=['7'])
    with pytest.raises(FileNotFoundError, match='nowhere.npz'):
        H36MSequenceDataset(str(tmp_path / 'nowhere.npz'))
    with pytest.raises(ValueError, match="'positions_3d', only.*'metadata'"):
        H36MSequenceDataset(str(tmp_path / '2d.npz'))
    np.savez(tmp_path / 'flat.npz', positions_3d=np.zeros(3))
    with pytest.raises(ValueError, match='must be a dictionary, got ndarray'):
        H36MSequenceDataset(str(tmp_path / 'flat.npz'))
    (tmp_path / 'text.npz').write_text('no')
    with pytest.raises(ValueError, match='text.npz is no .npz file'):
        H36MSequenceDataset(str(tmp_path / 'text.npz'))


class Evil:

    def __reduce__(self):
        return print, ('run',)  # yapf: disable


def test_nothing_in_a_file_is_run(tmp_path, capsys):
    np.savez(tmp_path / '3d.npz', positions_3d=dict(S1=Evil()))
    with pytest.raises(UnsafePickleError, match='3d.npz.*refused to load'):
        H36MSequenceDataset(str(tmp_path / '3d.npz'))
    assert 'run' not in capsys.readouterr().out


@pytest.fixture
def annotations(tmp_path):
    """Writes a file as MMPose's converter does, keys replaced."""
    names, parts, joints = [], [], []
    for subject, action, camera in (('S1', 'Directions_1', 0),
                                    ('S1', 'Directions_1', 2), ('S5', 'Eating',
                                                                1)):
        view = h36m_cameras()[subject][camera]
        world = world_poses(6, 17)
        base = f'{subject}_{action}.{view.name}'
        names += [f'{subject}/{base}/{base}_{i + 1:06d}.jpg' for i in range(6)]
        parts.append(projected(world, view))
        joints.append((world - view.position) @ view.rotation.T)
    ones = np.ones((18, 17, 1))
    arrays = dict(
        imgname=np.array(names),
        center=np.zeros((18, 2)),
        scale=np.ones(18),
        part=np.concatenate([np.concatenate(parts), ones], -1),
        S=np.concatenate([np.concatenate(joints), ones], -1))

    def write(**changes):
        kept = {k: v for k, v in {**arrays, **changes}.items()
                if v is not None}  # yapf: disable
        np.savez(tmp_path / 'h36m_train.npz', **kept)
        return dict(ann_file=str(tmp_path / 'h36m_train.npz'))

    return write


def test_annotations_of_mmpose(annotations, tmp_path):
    dataset = DATASETS.build(
        dict(type='H36MAnnotationDataset', **annotations(), seq_len=3))
    assert [s.name for s in dataset.sequences] == [
        f'S1/Directions_1/{CAMERAS[0]}', f'S1/Directions_1/{CAMERAS[2]}',
        f'S5/Eating/{CAMERAS[1]}'
    ]
    assert len(dataset) == 18
    item = dataset[-1]
    assert (item['action'], item['subject'], item['camera_name']) == (
        'Eating', 'S5', CAMERAS[1])  # yapf: disable
    # the camera belongs to the poses
    for sequence in dataset.sequences:
        np.testing.assert_allclose(
            distorted_project(
                torch.tensor(sequence.keypoints_3d),
                torch.tensor(sequence.camera)),
            sequence.keypoints_2d,
            atol=1e-2)
    only = H36MAnnotationDataset(**annotations(), subjects=['S5'], seq_len=3)
    assert len(only) == 6
    assert only[0]['image_size'] == (1000, 1000)


def test_annotations_with_detections_and_cameras(annotations, tmp_path):
    detections = np.random.default_rng(0).random((18, 17, 3))
    np.save(tmp_path / 'cpn.npy', detections)
    cameras = {
        (subject, name):
        dict(
            R=np.eye(3),
            T=np.zeros((3, 1)),
            f=np.array([[1.], [2]]),
            c=np.array([[3.], [4]]),
            k=np.array([[5.], [6], [7]]),
            p=np.array([[8.], [9]]),
            w=640,
            h=480)
        for subject in ('S1', 'S5')
        for name in CAMERAS
    }
    with open(tmp_path / 'cameras.pkl', 'wb') as file:
        pickle.dump(cameras, file)
    settings = dict(
        **annotations(part=None),
        keypoint_2d_det_file=str(tmp_path / 'cpn.npy'),
        camera_param_file=str(tmp_path / 'cameras.pkl'),
        seq_len=1)
    item = H36MAnnotationDataset(**settings)[7]
    np.testing.assert_allclose(item['keypoints_2d'][0], detections[7, :, :2])
    np.testing.assert_allclose(item['keypoints_2d_scores'][0], detections[7, :,
                                                                          2])
    assert item['camera'].tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert item['image_size'] == (640, 480)
    np.save(tmp_path / 'cpn.npy', detections[:5])
    with pytest.raises(ValueError, match='cpn.npy has 5 frames, expected'):
        H36MAnnotationDataset(**settings)
    del cameras['S5', CAMERAS[1]]
    np.save(tmp_path / 'cpn.npy', detections)
    with open(tmp_path / 'cameras.pkl', 'wb') as file:
        pickle.dump(cameras, file)
    with pytest.raises(ValueError, match="the cameras has no .*'S5'"):
        H36MAnnotationDataset(**settings)


@pytest.mark.parametrize('changes, message', [
    (dict(S=None), "h36m_train.npz has no 'S', only"),
    (dict(S=np.zeros((17, 17, 4))), "'S' has 17 frames, expected the 18"),
    (dict(S=np.full((18, 17, 4), np.nan)), "'S' is not finite in 18 of 18"),
    (dict(part=np.zeros((18, 16, 3))),
     r"'part' must be \(N, 17, 3\), got \(18, 16, 3\)"),
    (dict(imgname=np.array(['a.jpg'] * 18)), "'imgname' 0 is 'a.jpg', exp"),
    (dict(
        imgname=np.array(['S1_Eating.54138969_000001.jpg'] * 2 +
                         ['S5_Eating.54138969_000001.jpg'] * 14 +
                         ['S1_Eating.54138969_000003.jpg'] * 2)),
     'not in their order'),
])
def test_annotations_that_are_wrong(annotations, changes, message):
    with pytest.raises(ValueError, match=message):
        H36MAnnotationDataset(**annotations(**changes))
