# Copyright (c) The mpm_postometro authors. All rights reserved.
import numpy as np
import pytest
from labelled_people import (SIZE, make_people, pose_body, project, take,
                             weighted)

from mpm_postometro.datasets.body import SPINDataset

PEOPLE = make_people(4, seed=1)
SKELETON = take(PEOPLE.joints, 'j24')
PELVIS = PEOPLE.joints['h36m17'][:, :1]


def write(path, **changes):
    """A file as SPIN's preprocessing saves it; None leaves a key out."""
    centers = (PEOPLE.bbox[:, :2] + PEOPLE.bbox[:, 2:]) / 2
    sides = (PEOPLE.bbox[:, 2:] - PEOPLE.bbox[:, :2]).max(1)
    arrays = dict(
        imgname=np.array([f'train2014/{i}.jpg' for i in (1, 0, 1, 2)]),
        center=centers.astype(np.float64),
        scale=1.2 * sides.astype(np.float64) / 200,
        part=weighted(take(PEOPLE.points, 'j24')).astype(np.float64),
        openpose=np.zeros((4, 25, 3)),
        S=weighted(SKELETON - PELVIS).astype(np.float64),
        pose=PEOPLE.pose.reshape(4, 72),
        shape=PEOPLE.betas,
        has_smpl=np.ones(4, np.uint8),
        gender=np.array(['m', 'f', 'm', 'f']))
    arrays.update(changes)
    np.savez(path, **{k: v for k, v in arrays.items() if v is not None})
    return str(path)


def body_joints(item):
    """J14 of the body of a sample."""
    pose = np.concatenate([item['global_orient'][:, None], item['body_pose']],
                          1)
    return pose_body(item['betas'], pose, item['transl'])[1]['j14']


def test_spin_file(tmp_path):
    dataset = SPINDataset(
        write(tmp_path / 'a.npz'), data_prefix=dict(img='root'))
    assert len(dataset) == 4
    for i, item in enumerate(dataset):
        # 3D joints are relative to the pelvis.
        landed = project(item['joints_3d'] + PELVIS[i], PEOPLE.intrinsics)
        np.testing.assert_allclose(landed, item['joints_2d'], atol=1e-2)
        np.testing.assert_allclose(item['keypoints'][0],
                                   PEOPLE.points['coco17'][i])
        assert item['joints_2d_visible'].all()
        assert item['joints_3d_visible'].all()
        assert item['has_smpl'] == item['has_joints_3d'] == 1
        assert item['gender'] == ('male', 'female')[i % 2]
        np.testing.assert_array_equal(item['body_pose'][0], PEOPLE.pose[i, 1:])
        np.testing.assert_array_equal(item['betas'][0], PEOPLE.betas[i])
        box = item['bbox'][0]
        middle = (PEOPLE.bbox[i, :2] + PEOPLE.bbox[i, 2:]) / 2
        np.testing.assert_allclose((box[:2] + box[2:]) / 2, middle, rtol=1e-5)
        side = (PEOPLE.bbox[i, 2:] - PEOPLE.bbox[i, :2]).max()
        np.testing.assert_allclose(box[2:] - box[:2], side, rtol=1e-4)
        assert 'transl' not in item and 'intrinsics' not in item
    assert dataset[0]['img_path'] == 'root/train2014/1.jpg'
    assert dataset[2]['img_id'] == dataset[0]['img_id']


def test_cliff_file(tmp_path):
    diagonal = np.hypot(*SIZE)
    dataset = SPINDataset(
        write(
            tmp_path / 'coco2014part_cliffGT.npz',
            S=None,
            openpose=None,
            gender=None,
            has_smpl=None,
            annot_id=np.array([7, 5, 3, 9]),
            global_t=PEOPLE.transl,
            focal_l=np.full(4, diagonal)))
    item = dataset[2]
    assert item['annotation_id'] == 3 and item['gender'] == 'neutral'
    assert item['has_smpl'] == 1 and item['has_joints_3d'] == 0
    # Body and translation are those that the 2D joints were made with.
    np.testing.assert_allclose(
        project(body_joints(item), PEOPLE.intrinsics),
        item['joints_2d'],
        atol=1e-2)


def test_missing_labels_of_some(tmp_path):
    pose = PEOPLE.pose.reshape(4, 72).copy()
    pose[1] = np.nan
    joints = weighted(SKELETON)
    joints[2] = 0
    has_smpl = np.array([[1.], [0.], [1.], [1.]])
    dataset = SPINDataset(
        write(tmp_path / 'a.npz', pose=pose, S=joints, has_smpl=has_smpl))
    assert dataset.table.has_smpl.tolist() == [True, False, True, True]
    assert dataset.table.has_joints_3d.tolist() == [True, True, False, True]
    assert not dataset[1]['body_pose'].any()
    bare = SPINDataset(
        write(
            tmp_path / 'b.npz',
            **dict.fromkeys(('part', 'openpose', 'S', 'pose', 'shape',
                             'has_smpl', 'gender'))))
    assert bare.table.nbytes < 4 * 100 and not bare[0]['keypoints'].any()


def test_detections_fill_in_where_wanted(tmp_path):
    part = weighted(take(PEOPLE.points, 'j24'))
    part[0, 19:] = 0  # the face
    detections = np.zeros((4, 25, 3))
    detections[0, 15] = 11, 12, .9  # right eye
    detections[0, 16] = 13, 14, .1
    path = write(tmp_path / 'a.npz', part=part, openpose=detections)
    assert not SPINDataset(path)[0]['keypoints_visible'][0, :5].any()
    item = SPINDataset(path, openpose_threshold=.5)[0]
    np.testing.assert_allclose(
        item['keypoints_visible'][0, :5], [0, 0, .9, 0, 0], rtol=1e-6)
    assert item['keypoints'][0, 2].tolist() == [11, 12]


def test_names_in_bytes_and_objects(tmp_path):
    for names in (np.array([b'a.jpg'] * 4),
                  np.array(['a.jpg', 'b\\c.jpg', 'a.jpg', 'a.jpg'], object)):
        dataset = SPINDataset(write(tmp_path / 'a.npz', imgname=names))
        assert dataset[0]['img_path'] == 'a.jpg'
    assert dataset[1]['img_path'] == 'b/c.jpg'


@pytest.mark.parametrize('changes, message', [
    (dict(center=None), r"has no \['center'\], only"),
    (dict(pose=np.zeros((4, 69))), r"'pose' must be \(4, 72\), got \(4, 69\)"),
    (dict(shape=np.zeros((3, 10))), "'shape' must be about 4 people"),
    (dict(part=np.full((4, 24, 3), np.nan)), "'part' has weights"),
    (dict(S=np.zeros((4, 24, 3))), r"'S' must be \(4, 24, 4\)"),
    (dict(scale=np.array([1, 1, 0, 1.])), "'scale' is not positive in 1 of 4"),
    (dict(gender=np.array(list('mfxm'))), "'gender' must be 4 of"),
    (dict(shape=np.full((4, 10), np.inf)), "'shape' is not finite in 4 of 4"),
    (dict(annot_id=np.array(list('abcd'))), "'annot_id' must be whole"),
])
def test_broken_files_are_refused(tmp_path, changes, message):
    path = write(tmp_path / 'broken.npz', **changes)
    with pytest.raises(ValueError, match=message) as caught:
        SPINDataset(path)
    assert 'broken.npz' in str(caught.value)


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match='none.npz does not exist'):
        SPINDataset(str(tmp_path / 'none.npz'))
    path = write(tmp_path / 'cut.npz')
    whole = open(path, 'rb').read()
    open(path, 'wb').write(whole[:len(whole) // 2])
    with pytest.raises(ValueError, match='cut.npz is no whole .npz file'):
        SPINDataset(path)
