# Copyright (c) The mpm_postometro authors. All rights reserved.
import json

import numpy as np
import pytest
from labelled_people import (SIZE, assert_projects, make_people, pose_body,
                             project)

from mpm_postometro.bodies.skeletons import joint_mapping
from mpm_postometro.datasets.body import MuCoDataset

PEOPLE = make_people(4, seed=7)
# Crown, neck, right arm, left arm, right leg, left leg, pelvis, spine, head,
# hands, toes; names of the joints of J14, and of what stands in for others.
NAMES = ('head neck right_shoulder right_elbow right_wrist left_shoulder '
         'left_elbow left_wrist right_hip right_knee right_ankle left_hip '
         'left_knee left_ankle').split()
LIMBS = list(range(12))
FITS = 'smpl_param.json'


def _joints(i):
    """The 21 joints of a person, metres; those after the ankles anywhere."""
    order = [_J14.index(name) for name in NAMES]
    joints = np.repeat(PEOPLE.transl[i:i + 1], 21, 0)
    joints[:14] = PEOPLE.joints['j14'][i, order]
    joints[14, 2] = PEOPLE.transl[i, 2]
    return joints


_J14 = ('right_ankle right_knee right_hip left_hip left_knee left_ankle '
        'right_wrist right_elbow right_shoulder left_shoulder left_elbow '
        'left_wrist neck head').split()


def labels():
    """Two pictures of two people each; ids are not in their order."""
    images, annotations, fits = [], [], {}
    lens = PEOPLE.intrinsics.astype(float)
    for number, image_id in enumerate((70, 12)):
        images.append(
            dict(
                id=image_id,
                file_name=f'unaugmented_set/1/{number}.jpg',
                width=SIZE[0],
                height=SIZE[1],
                f=[lens[0, 0], lens[1, 1]],
                c=[lens[0, 2], lens[1, 2]],
                R=np.eye(3).tolist(),
                T=[0, 0, 0]))
    for i in (2, 0, 3, 1):
        joints = _joints(i)
        pixels = project(joints, PEOPLE.intrinsics)
        box = PEOPLE.bbox[i].astype(float)
        annotations.append(
            dict(
                id=500 + i,
                image_id=(70, 12)[i // 2],
                bbox=[*box[:2], *(box[2:] - box[:2])],
                keypoints_img=pixels.tolist(),
                keypoints_cam=(joints * 1000).tolist(),
                keypoints_vis=[True] * 21))
        fits[str(500 + i)] = dict(
            pose=PEOPLE.pose[i].ravel().tolist(),
            shape=PEOPLE.betas[i].tolist(),
            trans=PEOPLE.transl[i].tolist())
    return dict(images=images, annotations=annotations), fits


def write(root, change=None):
    content, fits = labels()
    if change is not None:
        change(content, fits)
    (root / FITS).write_text(json.dumps(fits))
    path = root / 'MuCo-3DHP.json'
    path.write_text(json.dumps(content))
    return str(path)


@pytest.mark.parametrize('arguments', [
    dict(),
    dict(fits=FITS),
    dict(fits=FITS, body=dict()),
])
def test_everybody(tmp_path, arguments):
    dataset = MuCoDataset(
        write(tmp_path),
        nearest_only=False,
        data_prefix=dict(img='data/muco'),
        **arguments)
    people = [2, 0, 3, 1]
    assert dataset.table.annotation_id.tolist() == [500 + i for i in people]
    assert not dataset.table.drop_report
    for i, item in zip(people, dataset):
        np.testing.assert_allclose(
            item['joints_3d'][0, LIMBS],
            PEOPLE.joints['j14'][i, LIMBS],
            atol=1e-5)
        assert not item['joints_3d_visible'][0, 12:].any()
        assert not item['joints_2d_visible'][0, 12:].any()
        assert_projects(item)
        order = np.array(joint_mapping('j14', 'coco17', allow_missing=True))
        assert item['keypoints_visible'][0].tolist() == [0] * 5 + [1] * 12
        np.testing.assert_allclose(
            item['keypoints'][0, 5:],
            PEOPLE.points['j14'][i, order[5:]],
            rtol=1e-5)
        np.testing.assert_allclose(item['bbox'][0], PEOPLE.bbox[i], rtol=1e-5)
        assert item['img_shape'] == SIZE[::-1]
        assert item['img_path'] == f'data/muco/unaugmented_set/1/{i // 2}.jpg'
        assert item['has_joints_3d'] == 1
        assert item['has_smpl'] == ('fits' in arguments)
        if arguments:
            pose = np.concatenate(
                [item['global_orient'][:, None], item['body_pose']], 1)
            vertices, _ = pose_body(item['betas'], pose, item['transl'])
            np.testing.assert_allclose(
                vertices[0], PEOPLE.vertices[i], atol=1e-4)


def test_the_nearest(tmp_path):
    table = MuCoDataset(write(tmp_path)).table
    depth = [_joints(i)[14, 2] for i in range(4)]
    nearest = [500 + int(depth[1] < depth[0]), 502 + int(depth[3] < depth[2])]
    assert sorted(table.annotation_id.tolist()) == nearest
    assert table.drop_report == {'not the nearest person of the picture': 2}


def test_labels_that_do_not_project_are_left_out(tmp_path):

    def change(content, fits):
        person = content['annotations'][0]
        points = np.array(person['keypoints_img'])
        person['keypoints_img'] = (points * 2).tolist()

    table = MuCoDataset(write(tmp_path, change), nearest_only=False).table
    assert table.annotation_id.tolist() == [500, 503, 501]
    assert table.drop_report == {
        '3D joints do not project on the 2D joints': 1
    }
    # The other person of the picture is the nearest of those that are kept.
    table = MuCoDataset(write(tmp_path, change)).table
    assert 503 in table.annotation_id and len(table) == 2


def test_fits_that_are_off(tmp_path):

    def change(content, fits):
        fits['502']['pose'][3 * 16 + 1] += 1.5  # a shoulder
        fits['503']['trans'][0] = float('nan')
        del fits['501']

    path = write(tmp_path, change)
    table = MuCoDataset(path, fits=FITS, nearest_only=False, body=dict()).table
    assert table.has_smpl.tolist() == [False, True, False, False]
    assert table.has_joints_3d.all()
    assert table.drop_report == {
        'only the SMPL fit: not finite': 1,
        'only the SMPL fit: more than 50 mm off the measured joints': 1
    }
    assert np.isfinite(
        table.transl).all(1).tolist() == [False, True] + [False] * 2
    assert not table.betas[[0, 2, 3]].any()


def _people(key, value):

    def change(content, fits):
        if value is None:
            del content['annotations'][1][key]
        else:
            content['annotations'][1][key] = value

    return change


NAN = float('nan')


@pytest.mark.parametrize('change, message', [
    (_people('bbox', None), r"'annotations'\[1\] has no 'bbox', only"),
    (_people('image_id', 3), r"'annotations'\[1\]: 'image_id' is that of no"),
    (_people('bbox', [1, 2, 3]), r"\[1\]: 'bbox' must be \(4,\), got \(3,\)"),
    (_people('keypoints_cam', [[0, 0, 1]] * 17),
     r"'keypoints_cam' must be \(21, 3\), got \(17, 3\)"),
    (_people('keypoints_img',
             [[NAN] * 2] * 21), r"\[1\]: 'keypoints_img' is not finite"),
    (_people('keypoints_img', [[1, 2], [3]]), 'must be numbers'),
    (lambda c, f: c['images'][1].pop('f'), r"'images'\[1\] has no 'f'"),
    (lambda c, f: c.pop('annotations'), "'annotations', got 2 and 0 of them"),
    (lambda c, f: f['500'].pop('shape'), "smpl_param.json: '500' has no 'sha"),
    (lambda c, f: f['500'].update(pose=[0]), "'pose' must be 72 numbers"),
    (lambda c, f: [f.pop(k) for k in list(f)], 'has no fit of the people of'),
])
def test_broken_labels(tmp_path, change, message):
    with pytest.raises(ValueError, match=message) as caught:
        MuCoDataset(write(tmp_path, change), fits=FITS, nearest_only=False)
    assert '.json' in str(caught.value)


def test_files_that_are_cut_off_or_missing(tmp_path):
    path = write(tmp_path)
    for name in (FITS, 'MuCo-3DHP.json'):
        file = tmp_path / name
        text = file.read_text()
        file.write_text(text[:-30])
        with pytest.raises(ValueError, match=f'{name}.* breaks off'):
            MuCoDataset(path, fits=FITS)
        file.unlink()
        with pytest.raises(FileNotFoundError, match=f'{name} does not exist'):
            MuCoDataset(path, fits=FITS)
        file.write_text(text)
