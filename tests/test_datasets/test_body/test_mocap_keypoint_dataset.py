# Copyright (c) The mpm_postometro authors. All rights reserved.
import numpy as np
import pytest
from mmpose.registry import DATASETS
from torch.utils.data import DataLoader

from mpm_postometro.bodies.skeletons import SKELETONS
from mpm_postometro.datasets.body import MocapKeypointDataset

SKELETON = SKELETONS['h36m17']
CLIPS = dict(
    clip_start=np.array([0, 10]),
    clip_length=np.array([10, 15]),
    clip_name=np.array(['05_01', '05_02']))
# metres, z up: the pelvis first, then whatever
UPRIGHT = np.zeros((17, 3))
UPRIGHT[SKELETON.index('head')] = 0, 0, .7
UPRIGHT[SKELETON.index('left_ankle')] = 0, .1, -.9
UPRIGHT[SKELETON.index('right_ankle')] = 0, -.1, -.9


@pytest.fixture
def mocap(tmp_path):
    """Writes a file, with keys replaced, and returns its path."""
    rng = np.random.default_rng(0)
    place = rng.uniform(-2, 2, (25, 1, 3))
    joints = UPRIGHT + place + rng.normal(0, .02, (25, 17, 3))

    def write(**changes):
        arrays = dict(joints_3d=joints.astype(np.float32), fps=60., **CLIPS)
        arrays.update(changes)
        path = tmp_path / 'mocap.npz'
        np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
        return str(path)

    return write


def test_takes_each_nth_frame_of_each_clip(mocap):
    dataset = DATASETS.build(
        dict(type='MocapKeypointDataset', ann_file=mocap(), stride=4))
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    assert [i['id'] for i in infos] == [0, 4, 8, 10, 14, 18, 22]
    assert infos[3]['img_path'] == '05_02/00000010'
    assert dataset.metainfo['flip_indices'] == list(SKELETON.flip_indices)
    assert infos[0]['flip_indices'] == list(SKELETON.flip_indices)


def test_people_are_seen_upright_and_whole(mocap):
    dataset = MocapKeypointDataset(mocap(), image_size=200)
    head = SKELETON.index('head')
    ankles = [SKELETON.index(f'{side}_ankle') for side in ('left', 'right')]
    left_is_left = []
    for info in dataset:
        keypoints, box = info['keypoints'][0], info['bbox'][0]
        assert info['keypoints'].dtype == np.float32
        assert info['keypoints_visible'].all()
        assert np.abs(keypoints[0] - 99.5).max() < 1e-3  # aimed at the pelvis
        assert keypoints[head, 1] < 99.5 < keypoints[ankles, 1].min()
        assert (keypoints >= box[:2]).all() and (keypoints <= box[2:]).all()
        # 1.6 m at 3 to 8 m, focal lengths of 180 to 320 px
        assert 180 * 1.3 / 8 < np.ptp(keypoints[:, 1]) < 320 * 1.8 / 2.5
        left_is_left.append(keypoints[ankles[0], 0] < keypoints[ankles[1], 0])
    assert 3 < sum(left_is_left) < 22  # from all sides


def test_3d_is_turned_and_nothing_else(mocap):
    path = mocap()
    dataset = MocapKeypointDataset(path, coord_dims=3)
    flat = MocapKeypointDataset(path)
    true = np.load(path)['joints_3d']
    for info, other, joints in zip(dataset, flat, true):
        points = info['keypoints'][0]
        assert points.shape == (17, 3) and not points[0].any()
        assert np.array_equal(info['transformed_keypoints'][0], points)
        assert 'bbox' not in info
        # distances and handedness stay
        joints = joints - joints[0]
        np.testing.assert_allclose(
            points @ points.T, joints @ joints.T, atol=1e-5)
        turn = np.linalg.lstsq(joints, points, rcond=None)[0]
        assert np.linalg.det(turn) == pytest.approx(1, abs=1e-3)
        # y is down
        assert points[SKELETON.index('head'), 1] < 0
        # the same camera as in 2D: from there, a point on the right is right
        x = other['keypoints'][0, :, 0] - 499.5
        assert (np.sign(x) == np.sign(points[:, 0]))[np.abs(x) > .5].all()


def test_depends_on_seed_and_frame_alone(mocap):
    path = mocap()
    every = MocapKeypointDataset(path)
    third = MocapKeypointDataset(path, stride=3)
    part = MocapKeypointDataset(path, indices=[7, 3])
    loader = DataLoader(every, batch_size=4, num_workers=2, collate_fn=list)
    by_id = {i['id']: i['keypoints'] for batch in loader for i in batch}
    assert len(by_id) == 25
    for info in (*third, *part):
        np.testing.assert_array_equal(info['keypoints'], by_id[info['id']])
    other = MocapKeypointDataset(path, seed=1)
    assert np.abs(other[0]['keypoints'] - by_id[0]).max() > 1


def test_broken_files_are_named(mocap, tmp_path):
    missing = tmp_path / 'nowhere.npz'
    with pytest.raises(FileNotFoundError, match='nowhere.npz'):
        MocapKeypointDataset(str(missing))
    with pytest.raises(ValueError, match=r"mocap.npz: lacks \['clip_name'\]"):
        MocapKeypointDataset(mocap(clip_name=None))
    with pytest.raises(ValueError, match=r"'joints_3d' must be \(N, 17, 3\)"):
        MocapKeypointDataset(mocap(joints_3d=np.zeros((25, 16, 3))))
    joints = np.zeros((25, 17, 3))
    joints[[4, 9]] = np.nan
    with pytest.raises(ValueError, match=r'not finite in 2 of 25.*\[4 9\]'):
        MocapKeypointDataset(mocap(joints_3d=joints))
    with pytest.raises(ValueError, match='reach beyond the 25 frames'):
        MocapKeypointDataset(mocap(clip_length=np.array([10, 16])))
    with pytest.raises(ValueError, match="'clip_name' must have one entry"):
        MocapKeypointDataset(mocap(clip_name=np.array(['05_01'])))


@pytest.mark.parametrize('setting', [dict(stride=0), dict(coord_dims=4)])
def test_settings_out_of_range(mocap, setting):
    with pytest.raises(ValueError, match='must be'):
        MocapKeypointDataset(mocap(), **setting)


def test_real_motion_capture(data_dir):
    path = data_dir / 'cmu_mocap' / 'cmu_mocap_val.npz'
    dataset = MocapKeypointDataset(str(path), stride=100)
    assert len(dataset) >= 14755 // 100
    infos = [dataset.get_data_info(i) for i in range(len(dataset))]
    visible = np.concatenate([i['keypoints_visible'] for i in infos])
    assert visible.mean() > .99
    heads = [i['keypoints'][0, SKELETON.index('head'), 1] for i in infos]
    feet = [i['keypoints'][0, SKELETON.index('left_ankle'), 1] for i in infos]
    assert (np.array(heads) < feet).mean() > .98
