# Copyright (c) The mpm_postometro authors. All rights reserved.
import json

import numpy as np
import pytest
import torch
from labelled_people import (assert_projects, body, make_people, pose_body,
                             project)

from mpm_postometro.bodies.rotations import (axis_angle_to_matrix,
                                             matrix_to_axis_angle)
from mpm_postometro.bodies.skeletons import joint_mapping
from mpm_postometro.datasets.body import ThreeDOHDataset

PEOPLE = make_people(3, seed=4)
SCALE = np.array([7., 6.9, 7.2])  # units of the calibration in a metre


def _matrix(axis_angle):
    return axis_angle_to_matrix(
        torch.from_numpy(np.asarray(axis_angle, np.float64)))


def annotations():
    """What annots.json holds, with a camera that is turned and shifted."""
    people = {}
    # J14 has the head where LSP has the crown, which the reader leaves alone
    lsp = PEOPLE.joints['j14']
    # The joints of SMPL's tree; a regressor finds the root elsewhere.
    tree = PEOPLE.joints['smpl24'].copy()
    for i in range(3):
        tree[i, 0] = _root(PEOPLE.betas[i]) + PEOPLE.transl[i]
        camera = np.eye(4)
        camera[:3, :3] = _matrix([.3, -.8, .2])
        camera[:3, 3] = 3, -2, 20
        pose = PEOPLE.pose[i].astype(np.float64)
        pose[0] = matrix_to_axis_angle(
            torch.from_numpy(camera[:3, :3].T) @ _matrix(pose[0])).numpy()
        joints = dict(lsp=lsp[i], smpl=tree[i])
        person = dict(
            extri=camera.tolist(),
            intri=PEOPLE.intrinsics.astype(float).tolist(),
            img_path=f'images\\0000{i}.jpg',
            mask_path=f'masks\\0000{i}.jpg',
            bbox=PEOPLE.bbox[i].reshape(2, 2).tolist(),
            betas=PEOPLE.betas[i:i + 1].tolist(),
            pose=pose.reshape(1, 72).tolist(),
            trans=[[1., 2., 3.]],
            scale=float(SCALE[i]))
        for name, points in joints.items():
            pixels = project(points, PEOPLE.intrinsics)
            person[f'{name}_joints_2d'] = pixels.tolist()
            person[f'{name}_joints_3d'] = (points * SCALE[i]).tolist()
        people[f'{i:05d}'] = person
    return people


def _root(betas):
    """Where SMPL's root rests."""
    zeros = torch.zeros(1, 24, 3)
    return body()(torch.from_numpy(betas)[None], zeros[:, 1:],
                  zeros[:, 0]).joints[0, 0].numpy()


def write(path, people):
    path.write_text(json.dumps(people))
    return str(path)


def test_with_a_body(tmp_path):
    path = write(tmp_path / 'annots.json', annotations())
    dataset = ThreeDOHDataset(
        path, body=dict(), data_prefix=dict(img='3DOH/testset'))
    assert len(dataset) == 3
    for i, item in enumerate(dataset):
        pose = np.concatenate(
            [item['global_orient'][:, None], item['body_pose']], 1)
        vertices, _ = pose_body(item['betas'], pose, item['transl'])
        np.testing.assert_allclose(vertices[0], PEOPLE.vertices[i], atol=1e-4)
        np.testing.assert_allclose(
            item['joints_3d'][0], PEOPLE.joints['j14'][i], atol=1e-4)
        np.testing.assert_allclose(
            item['joints_2d'][0], PEOPLE.points['j14'][i], atol=2e-2)
        np.testing.assert_allclose(item['bbox'][0], PEOPLE.bbox[i], rtol=1e-6)
        assert_projects(item)
        assert item['has_smpl'] == item['has_joints_3d'] == 1
        assert item['img_path'] == f'3DOH/testset/images/0000{i}.jpg'


def test_without_a_body(tmp_path):
    dataset = ThreeDOHDataset(write(tmp_path / 'annots.json', annotations()))
    for i, item in enumerate(dataset):
        known = item['joints_3d_visible'][0] > 0
        assert known[:13].all() and not known[13]
        np.testing.assert_allclose(
            item['joints_3d'][0, known],
            PEOPLE.joints['j14'][i][known],
            atol=1e-4)
        assert_projects(item)
        limbs = item['keypoints_visible'][0] > 0
        assert limbs.tolist() == [False] * 5 + [True] * 12
        order = np.array(joint_mapping('j14', 'coco17', allow_missing=True))
        np.testing.assert_allclose(
            item['keypoints'][0, limbs],
            PEOPLE.points['j14'][i, order[limbs]],
            rtol=1e-5)
        assert 'transl' not in item


def test_joints_with_weights(tmp_path):
    people = annotations()
    for name in ('lsp', 'smpl'):
        for dims in ('2d', '3d'):
            key = f'{name}_joints_{dims}'
            for person in people.values():
                person[key] = [x + [1] for x in person[key]]
    people['00001']['lsp_joints_2d'][0] = [-1, -1, 0]
    dataset = ThreeDOHDataset(write(tmp_path / 'annots.json', people))
    assert len(dataset) == 3
    item = dataset[1]
    assert item['joints_2d_visible'][0].tolist() == [0] + [1] * 12 + [0]
    assert item['joints_3d_visible'][0].tolist() == [1] * 13 + [0]
    assert_projects(item)


def test_labels_in_another_frame_are_left_out(tmp_path):
    people = annotations()
    for key in ('lsp_joints_3d', 'smpl_joints_3d'):
        people['00001'][key] = (np.array(people['00001'][key]) +
                                [3, -2, 20]).tolist()
    path = write(tmp_path / 'annots.json', people)
    table = ThreeDOHDataset(path).table
    assert len(table) == 2 and table.image_name(1) == 'images/00002.jpg'
    reason = '3D joints do not project on the 2D joints'
    assert table.drop_report == {reason: 1}
    path = write(tmp_path / 'annots.json', dict(a=people['00001']))
    with pytest.raises(ValueError, match=f'nobody to show; .*{reason}'):
        ThreeDOHDataset(path)


@pytest.mark.parametrize('changes, message', [
    (dict(intri=None), "'00001' has no 'intri', only"),
    (dict(pose=[[0.] * 69]), r"'00001': 'pose' must be \(72,\)"),
    (dict(betas=[[float('nan')] * 10]), "'00001': 'betas' is not finite"),
    (dict(scale=0), "'00001': 'scale' must be positive, got 0"),
    (dict(bbox='box'), "'00001': 'bbox' must be"),
])
def test_broken_labels(tmp_path, changes, message):
    people = annotations()
    people['00001'].update(changes)
    people['00001'] = {
        k: v
        for k, v in people['00001'].items() if v is not None
    }
    path = write(tmp_path / 'annots.json', people)
    with pytest.raises(ValueError, match=f'annots.json: {message}'):
        ThreeDOHDataset(path)


def test_files_that_are_none(tmp_path):
    path = tmp_path / 'annots.json'
    with pytest.raises(FileNotFoundError, match='annots.json does not exist'):
        ThreeDOHDataset(str(path))
    path.write_text(json.dumps(annotations())[:-50])
    with pytest.raises(ValueError, match='annots.json is no JSON file'):
        ThreeDOHDataset(str(path))
    path.write_text('[]')
    with pytest.raises(ValueError, match='must be a dictionary of people'):
        ThreeDOHDataset(str(path))
