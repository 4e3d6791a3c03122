# Copyright (c) The mpm_postometro authors. All rights reserved.
import json

import numpy as np
import pytest
import torch
from labelled_people import make_people, pose_body, project, take, weighted

from mpm_postometro.bodies.rotations import axis_angle_to_matrix
from mpm_postometro.datasets.body import EFTDataset

PEOPLE = make_people(3, seed=3)


def entries():
    """What EFT has about each person."""
    matrices = axis_angle_to_matrix(torch.from_numpy(PEOPLE.pose)).numpy()
    points = weighted(take(PEOPLE.points, 'j24'))
    openpose = np.full((3, 25, 3), 7.)  # is not looked at
    points = np.concatenate([openpose, points], 1)
    points[0, 25 + 4, 2] = 0  # left knee
    for i in range(3):
        box = PEOPLE.bbox[i]
        yield dict(
            parm_pose=matrices[i].tolist(),
            parm_shape=PEOPLE.betas[i].tolist(),
            parm_cam=[.9, 0., .1],
            bbox_scale=float(1.2 * (box[2:] - box[:2]).max() / 200),
            bbox_center=((box[:2] + box[2:]) / 2).tolist(),
            gt_keypoint_2d=points[i].tolist(),
            joint_validity_openpose18=[1.] * 18,
            smpltype='smpl',
            annotId=[11, 0, 13][i],
            imageName=f'COCO_train2014_{i:012d}.jpg')


def write(path, people=None, **more):
    people = list(entries()) if people is None else people
    path.write_text(json.dumps(dict(ver=.1, data=people, meta='x', **more)))
    return str(path)


def test_eft_file(tmp_path):
    dataset = EFTDataset(
        write(tmp_path / 'a.json'), data_prefix=dict(img='train2014'))
    assert len(dataset) == 3
    for i, item in enumerate(dataset):
        # The body of the rotation matrices is the one of the 2D joints.
        pose = np.concatenate(
            [item['global_orient'][:, None], item['body_pose']], 1)
        joints = pose_body(item['betas'], pose, PEOPLE.transl[i:i + 1])[1]
        seen = item['joints_2d_visible'][0] > 0
        assert np.flatnonzero(~seen).tolist() == ([4] if i == 0 else [])
        landed = project(joints['j14'], PEOPLE.intrinsics)
        np.testing.assert_allclose(
            landed[0][seen], item['joints_2d'][0][seen], atol=2e-2)
        if i:
            np.testing.assert_allclose(
                item['keypoints'][0], PEOPLE.points['coco17'][i], rtol=1e-5)
        assert item['has_smpl'] == 1 and item['has_joints_3d'] == 0
        side = (PEOPLE.bbox[i, 2:] - PEOPLE.bbox[i, :2]).max()
        np.testing.assert_allclose(
            item['bbox'][0, 2:] - item['bbox'][0, :2], side, rtol=1e-4)
    assert dataset.table.annotation_id.tolist() == [11, -1, 13]
    assert dataset[2][
        'img_path'] == 'train2014/COCO_train2014_000000000002.jpg'


def test_fits_of_other_bodies_are_counted(tmp_path):
    people = list(entries())
    people[1]['smpltype'] = 'smplx'
    dataset = EFTDataset(write(tmp_path / 'a.json', people))
    assert dataset.table.annotation_id.tolist() == [11, 13]
    assert dataset.table.drop_report == {'fitted with another body': 1}
    with pytest.raises(ValueError, match='nobody fitted with SMPL; 1 with'):
        EFTDataset(write(tmp_path / 'a.json', people[1:2]))


def change(number, **changes):
    people = list(entries())
    people[number].update(changes)
    return [{k: v for k, v in p.items() if v is not None} for p in people]


@pytest.mark.parametrize('people, message', [
    (change(1, parm_shape=None), r"'data'\[1\] has no 'parm_shape', only"),
    (change(2, parm_pose=[[1.] * 3] * 24),
     r"\[2\]\['parm_pose'\] must be numbers \(24, 3, 3\), got \(24, 3\)"),
    (change(0, parm_shape=[[1], [1, 2]]), 'a list of unequal lists'),
    (change(1, annotId='x'), r"\[1\]\['annotId'\] must be a whole"),
    (change(0, imageName=None), r"\[0\] has no 'imageName'"),
    (change(1, parm_pose=np.ones((24, 3, 3)).tolist()),
     r"'parm_pose' holds no rotations in 1 of 3 entries, the first \[1\]"),
    (change(1, parm_shape=[float('nan')] * 10), "'betas' is not finite"),
    (change(1, gt_keypoint_2d=[[float('nan')] * 3] * 49), 'gt_keypoint_2d'),
    (change(2, bbox_scale=-1.), "'scale' is not positive in 1 of 3 rows"),
    ([[1]], r"'data'\[0\] must be a dictionary, got list"),
])
def test_broken_files_are_refused(tmp_path, people, message):
    path = write(tmp_path / 'broken.json', people)
    with pytest.raises(ValueError, match=message) as caught:
        EFTDataset(path)
    assert 'broken.json' in str(caught.value)


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match='none.json does not exist'):
        EFTDataset(str(tmp_path / 'none.json'))
    path = tmp_path / 'cut.json'
    text = open(write(path)).read()
    path.write_text(text[:len(text) // 2])
    with pytest.raises(
            ValueError, match=r"cut.json: \['data'\]\[1\].* breaks off"):
        EFTDataset(str(path))
    path.write_text('{"other": []}')
    with pytest.raises(ValueError, match="has no list 'data'"):
        EFTDataset(str(path))
