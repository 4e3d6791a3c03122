# Copyright (c) The mpm_postometro authors. All rights reserved.
import pickle

import numpy as np
import pytest
import torch
from labelled_people import (assert_projects, body, make_people, pose_body,
                             project, take, write_smpl)

from mpm_postometro.bodies import load_body
from mpm_postometro.bodies.rotations import (axis_angle_to_matrix,
                                             matrix_to_axis_angle)
from mpm_postometro.bodies.skeletons import joint_mapping
from mpm_postometro.datasets.body import ThreeDPWDataset

FRAMES = 3


def _two_people():
    """Two people in three frames each, who keep their shape."""
    people = make_people(2 * FRAMES, seed=3)
    betas = people.betas[[0] * FRAMES + [FRAMES] * FRAMES]
    vertices, joints = pose_body(betas, people.pose, people.transl)
    outline = project(vertices, people.intrinsics)
    return people._replace(
        betas=betas,
        vertices=vertices,
        joints=joints,
        points={
            k: project(v, people.intrinsics)
            for k, v in joints.items()
        },
        bbox=np.concatenate([outline.min(1), outline.max(1)], 1))


PEOPLE = _two_people()
LIMBS = list(range(12))


def _matrices(axis_angle):
    return axis_angle_to_matrix(
        torch.from_numpy(np.asarray(axis_angle, np.float64))).numpy()


def _rest_roots():
    still = np.zeros((len(PEOPLE.betas), 24, 3), np.float32)
    joints = body()(torch.from_numpy(PEOPLE.betas),
                    torch.from_numpy(still[:, 1:]),
                    torch.from_numpy(still[:, 0])).joints
    return joints[:, 0].numpy().astype(np.float64)


def sequence(**changes):
    """What a sequence file holds, with the world far from the camera."""
    rng = np.random.RandomState(0)
    cameras = np.tile(np.eye(4), (FRAMES, 1, 1))
    cameras[:, :3, :3] = _matrices(rng.normal(0, 1, (FRAMES, 3)))
    cameras[:, :3, 3] = rng.normal(0, 3, (FRAMES, 3))
    turns = np.tile(cameras[:, :3, :3], (2, 1, 1)).transpose(0, 2, 1)
    shift = np.tile(cameras[:, :3, 3], (2, 1))

    def to_world(points):
        return np.einsum('nij,nkj->nki', turns, points - shift[:, None])

    # The orientation turns about the root joint.
    roots = _rest_roots()
    pose = PEOPLE.pose.astype(np.float64)
    pose[:, 0] = matrix_to_axis_angle(
        torch.from_numpy(turns @ _matrices(pose[:, 0]))).numpy()
    transl = to_world((PEOPLE.transl + roots)[:, None])[:, 0] - roots
    joints = to_world(PEOPLE.joints['smpl24'].astype(np.float64))
    # exactly SMPL's own root, which a regressor of a posed mesh misses
    joints[:, 0] = transl + roots
    points = take(PEOPLE.points, 'openpose18')
    points[:, 1] = 5  # the neck
    detected = np.concatenate([points, np.full_like(points[..., :1], .8)], -1)
    split = np.split
    data = dict(
        sequence='courtyard_box_00',
        betas=[x[0].astype(np.float64) for x in split(PEOPLE.betas, 2)],
        poses=split(pose.reshape(-1, 72), 2),
        trans=split(transl, 2),
        poses_60Hz=[np.zeros((7, 72))] * 2,
        trans_60Hz=[np.zeros((7, 3))] * 2,
        betas_clothed=[np.zeros(10)] * 2,
        v_template_clothed=[np.zeros((20, 3))] * 2,
        genders=['m', 'f'],
        texture_maps=[],
        poses2d=split(detected.transpose(0, 2, 1).astype(np.float64), 2),
        jointPositions=split(joints.reshape(-1, 72), 2),
        img_frame_ids=np.arange(FRAMES) * 2,
        cam_poses=cameras,
        campose_valid=[np.ones(FRAMES, bool)] * 2,
        cam_intrinsics=PEOPLE.intrinsics.astype(np.float64))
    data.update(changes)
    return {k: v for k, v in data.items() if v is not None}


def write(root, data=None, folder='test', name='courtyard_box_00'):
    for other in ('train', 'validation', 'test'):
        (root / 'sequenceFiles' / other).mkdir(parents=True, exist_ok=True)
    path = root / 'sequenceFiles' / folder / f'{name}.pkl'
    path.write_bytes(
        pickle.dumps(sequence() if data is None else data, protocol=2))
    return root


def test_bodies_are_before_the_camera(tmp_path):
    dataset = ThreeDPWDataset(data_root=str(write(tmp_path)), body=dict())
    assert len(dataset) == 2 * FRAMES
    for i, item in enumerate(dataset):
        pose = np.concatenate(
            [item['global_orient'][:, None], item['body_pose']], 1)
        vertices, joints = pose_body(item['betas'], pose, item['transl'])
        np.testing.assert_allclose(vertices[0], PEOPLE.vertices[i], atol=1e-4)
        np.testing.assert_allclose(
            item['joints_3d'][0], PEOPLE.joints['j14'][i], atol=1e-4)
        np.testing.assert_allclose(
            item['joints_2d'][0], PEOPLE.points['j14'][i], atol=2e-2)
        np.testing.assert_allclose(item['bbox'][0], PEOPLE.bbox[i], atol=2e-2)
        np.testing.assert_allclose(
            item['keypoints'][0], PEOPLE.points['coco17'][i], rtol=1e-5)
        np.testing.assert_allclose(item['keypoints_visible'], .8, rtol=1e-6)
        assert_projects(item)
        assert item['has_smpl'] == item['has_joints_3d'] == 1
        assert item['gender'] == ('male' if i < FRAMES else 'female')
        assert item['frame'] == i % FRAMES
        assert item['sequence'] == 'courtyard_box_00'
        assert item['img_path'] == str(tmp_path / 'imageFiles' /
                                       'courtyard_box_00' /
                                       f'image_0000{i % FRAMES}.jpg')
    assert dataset[0]['img_id'] == dataset[FRAMES]['img_id']


def test_without_a_body(tmp_path):
    dataset = ThreeDPWDataset(data_root=str(write(tmp_path)))
    order = joint_mapping('smpl24', 'j14', allow_missing=True)
    assert [order.index(-1), order[12:]] == [12, [-1, -1]]
    for i, item in enumerate(dataset):
        pose = np.concatenate(
            [item['global_orient'][:, None], item['body_pose']], 1)
        vertices, _ = pose_body(item['betas'], pose, item['transl'])
        np.testing.assert_allclose(vertices[0], PEOPLE.vertices[i], atol=1e-4)
        np.testing.assert_allclose(
            item['joints_3d'][0, LIMBS],
            PEOPLE.joints['smpl24'][i][order[:12]],
            atol=1e-4)
        assert not item['joints_3d_visible'][0, 12:].any()
        assert not item['joints_2d_visible'][0, 12:].any()
        assert_projects(item)
        true, box = PEOPLE.bbox[i], item['bbox'][0]
        size = (true[2:] - true[:2]).max()
        assert np.abs(box - true).max() < .15 * size


def _mesh(one, item):
    return one(*(torch.from_numpy(item[key])
                 for key in ('betas', 'body_pose', 'global_orient', 'transl')))


def test_truth_of_metro(tmp_path):
    """The neutral body's, by METRO's regressors, at the person's root."""
    # needs no other; of another size than the person's own
    smpl = write_smpl(tmp_path / 'smpl', neutral=1.5)
    root = str(write(tmp_path))
    neutral = load_body(smpl)
    dataset = ThreeDPWDataset(
        data_root=root,
        body=dict(path=smpl),
        gender='neutral',
        regressor='j24')
    rows = joint_mapping('j24', 'j14')
    assert rows == [*range(13), 18]
    for i, item in enumerate(dataset):
        out = _mesh(neutral, item)
        joints = neutral.regress_joints(out.vertices, 'j24')[:, rows]
        np.testing.assert_allclose(item['joints_3d'], joints, atol=1e-5)
        np.testing.assert_allclose(
            out.joints[0, 0], PEOPLE.transl[i] + _rest_roots()[i], atol=1e-4)
        assert np.abs(item['transl'][0] - PEOPLE.transl[i]).max() > .05
        assert_projects(item)
        # the person's, for protocols that ask for it
        assert item['gender'] == ('male' if i < FRAMES else 'female')


def test_each_person_has_the_body_of_its_gender(tmp_path):
    genders = ['male', 'female']
    smpl = write_smpl(tmp_path / 'smpl', male=1.1, female=.9)
    dataset = ThreeDPWDataset(
        data_root=str(write(tmp_path)), body=dict(path=smpl))
    for i, item in enumerate(dataset):
        own = load_body(smpl, gender=genders[i // FRAMES])
        joints = own.regress_joints(_mesh(own, item).vertices, 'j14')
        np.testing.assert_allclose(item['joints_3d'], joints, atol=1e-5)
        assert_projects(item)
    with pytest.raises(FileNotFoundError, match='SMPL_NEUTRAL'):
        ThreeDPWDataset(
            data_root=str(tmp_path), body=dict(path=smpl), gender='neutral')


@pytest.mark.parametrize('wrong, message', [
    (dict(gender='male', body=dict()), r"gender must be one of \('label', 'n"),
    (dict(regressor='j14', body=dict()), "regressor must be one of .*'j14'"),
    (dict(gender='neutral'), "gender='neutral' is about meshes"),
    (dict(regressor='j24'), "regressor='j24' is about meshes"),
    (dict(regressor='j24', body=dict()), "no joint regressor 'j24'"),
])
def test_wrong_truth(tmp_path, wrong, message):
    with pytest.raises(ValueError, match=message):
        ThreeDPWDataset(data_root=str(write(tmp_path)), **wrong)


def test_the_true_2d_pose(tmp_path):
    write(tmp_path)
    dataset = ThreeDPWDataset(
        data_root=str(tmp_path), body=dict(), keypoints='projected')
    for item, expected in zip(dataset, PEOPLE.points['coco17']):
        np.testing.assert_allclose(item['keypoints'][0], expected, atol=2e-2)
        assert item['keypoints_visible'].all()
    with pytest.raises(ValueError, match="keypoints='projected' is about mes"):
        ThreeDPWDataset(data_root=str(tmp_path), keypoints='projected')


def test_who_is_left_out(tmp_path):
    data = sequence(campose_valid=[[True, False, True], [1, 1, 0]])
    data['poses2d'][1][0, 2, 4:] = 0  # four joints detected
    root = str(write(tmp_path, data))
    table = ThreeDPWDataset(data_root=root).table
    assert table.frame.tolist() == [0, 2, 0, 1]
    lost = 'camera not aligned with the picture'
    assert table.drop_report == {lost: 2}
    table = ThreeDPWDataset(data_root=root, min_keypoints=6).table
    assert table.frame.tolist() == [0, 2, 1]
    assert table.drop_report == {lost: 2, 'too few keypoints detected': 1}


def _still(count):
    """A sequence of one person that is cheap to read."""
    joints = np.random.RandomState(0).normal(0, .3, (count, 24, 3))
    joints[..., 2] += 5
    cameras = np.tile(np.eye(4), (count, 1, 1))
    return dict(
        betas=[np.zeros(300)],
        poses=[np.zeros((count, 72))],
        trans=[np.zeros((count, 3))],
        genders=['f'],
        poses2d=[np.ones((count, 3, 18))],
        jointPositions=[joints.reshape(count, 72)],
        cam_poses=cameras,
        campose_valid=[np.ones(count, bool)],
        cam_intrinsics=np.diag([900., 900., 1.]))


def test_people_behind_the_camera(tmp_path):
    data = _still(3)
    data['cam_poses'][1, 2, 3] = -20
    table = ThreeDPWDataset(data_root=str(write(tmp_path, data))).table
    assert table.frame.tolist() == [0, 2]
    assert table.drop_report == {'reaches behind the camera': 1}


def test_splits(tmp_path):
    sizes = {
        ('train', 'courtyard_basketball_00'): 300,
        ('train', 'courtyard_capoeira_00'): 4,
        ('validation', 'courtyard_hug_00'): 520,
        ('validation', 'outdoors_parcours_01'): 3,
        ('test', 'downtown_stairs_00'): 5,
        ('test', 'downtown_stairsUp_00'): 6,
        ('test', 'flat_guitar_01'): 2,
    }
    for (folder, name), count in sizes.items():
        write(tmp_path, _still(count), folder, name)

    def count(split):
        table = ThreeDPWDataset(data_root=str(tmp_path), split=split).table
        names = [table.sequence_names[i] for i in table.sequence]
        return {x: names.count(x) for x in sorted(set(names))}, table

    assert sum(count('TRAIN')[0].values()) == 304
    assert sum(count('VALIDATION')[0].values()) == 523
    assert sum(count('TEST')[0].values()) == 13
    assert sum(count('ALL')[0].values()) == sum(sizes.values())
    assert count('OCC')[0] == dict(
        courtyard_basketball_00=300,
        outdoors_parcours_01=3,
        downtown_stairs_00=5,
        flat_guitar_01=2)
    crowded, table = count('PC')
    assert crowded == dict(courtyard_basketball_00=80, courtyard_hug_00=400)
    frames = table.frame
    assert (frames.min(), frames.max()) == (100, 499)
    assert frames[:80].tolist() == list(range(200, 280))
    assert not table.drop_report  # frames of other splits are not lost
    assert count('Non-OC')[0] == dict(
        courtyard_capoeira_00=4, courtyard_hug_00=120, downtown_stairsUp_00=6)


def test_published_lists_of_sequences(tmp_path, monkeypatch):
    """OCC as PARE and ROMP, PC as ROMP, spelled out once more."""
    occluded = {
        'courtyard_backpack', 'courtyard_basketball',
        'courtyard_bodyScannerMotions', 'courtyard_box', 'courtyard_golf',
        'courtyard_jacket', 'courtyard_laceShoe', 'downtown_stairs',
        'flat_guitar', 'flat_packBags', 'outdoors_climbing',
        'outdoors_crosscountry', 'outdoors_fencing', 'outdoors_freestyle',
        'outdoors_golf', 'outdoors_parcours', 'outdoors_slalom'
    }
    crowded = {
        'courtyard_basketball_00': range(200, 280),
        'courtyard_captureSelfies_00': range(500, 600),
        'courtyard_dancing_00': range(60, 370),
        'courtyard_dancing_01': range(60, 270),
        'courtyard_hug_00': range(100, 500),
        'downtown_bus_00': range(1620, 1900)
    }
    # others, some of which begin like those of OCC
    others = {
        'courtyard_boxes', 'courtyard_capoeira', 'courtyard_captureSelfies',
        'courtyard_dancing', 'courtyard_hug', 'downtown_bus',
        'downtown_stairsUp', 'downtown_upstairs', 'office_phoneCall',
        'outdoors_golfing'
    }
    folders = ('train', 'validation', 'test')
    for i, name in enumerate(sorted(occluded | others)):
        for number in ('00', '01'):
            full = f'{name}_{number}'
            count = crowded[full].stop + 3 if full in crowded else 1
            write(tmp_path, _still(count), folders[i % 3], full)

    said = []
    monkeypatch.setattr(
        'mpm_postometro.datasets.body.threedpw_dataset.print_log',
        lambda message, **_: said.append(message))

    def frames(split):
        table = ThreeDPWDataset(data_root=str(tmp_path), split=split).table
        found = {}
        for sequence, frame in zip(table.sequence, table.frame):
            found.setdefault(table.sequence_names[sequence],
                             []).append(int(frame))
        return found

    assert set(frames('OCC')) == {
        f'{name}_{number}'
        for name in occluded
        for number in ('00', '01')
    }
    assert '34 sequences of 3DPW-OCC, which has 23' in said.pop()
    assert frames('PC') == {k: list(v) for k, v in crowded.items()}
    assert not said  # all six are there
    free = frames('Non-OC')
    for name, part in crowded.items():
        if name.rsplit('_', 1)[0] not in occluded:
            assert free.pop(name) == [
                x for x in range(part.stop + 3) if x not in part
            ]
    assert set(free) == {
        f'{name}_{number}'
        for name in others
        for number in ('00', '01')
    } - set(crowded)


def test_number_of_people_is_compared_with_the_published_one(
        tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(
        'mpm_postometro.datasets.body.threedpw_dataset.print_log',
        lambda message, **_: said.append(message))
    for i in range(23):
        write(tmp_path, _still(2), 'test', f'a_{i:02d}')
    ThreeDPWDataset(data_root=str(tmp_path))
    write(tmp_path, _still(2), 'test', 'a_23')
    ThreeDPWDataset(data_root=str(tmp_path))
    assert 'has 23 sequences of 3DPW-TEST, which has 24' in said[0]
    assert 'published with 35515 people' in said[1] and '48' in said[1]


@pytest.mark.parametrize('changes, message', [
    (dict(cam_poses=None), "has no 'cam_poses', only"),
    (dict(trans=[np.zeros((FRAMES, 3))]), "'trans' must have an entry a per"),
    (dict(poses=[np.zeros((FRAMES, 69))] * 2), r"'poses'\[0\] must be \(3, 7"),
    (dict(poses=[np.full((FRAMES, 72), np.nan)] * 2),
     r"'poses'\[0\] is not finite in 3 of 3"),
    (dict(betas=[np.zeros(5)] * 2), r"'betas'\[0\] must be \(1, 10\)"),
    (dict(genders=['m', 'x']), "'genders' must be 2 of 'm', 'f'"),
    (dict(campose_valid=[np.ones(2)] * 2), r"'campose_valid'\[0\] must be"),
    (dict(cam_intrinsics=np.eye(4)), "'cam_intrinsics' must be"),
    (dict(poses2d=[np.zeros((FRAMES, 17, 3))] * 2), r"'poses2d'\[0\] must"),
])
def test_broken_sequences(tmp_path, changes, message):
    root = write(tmp_path, sequence(**changes))
    with pytest.raises(ValueError, match=f'courtyard_box_00.pkl.*{message}'):
        ThreeDPWDataset(data_root=str(root))


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match='sequenceFiles/test does not'):
        ThreeDPWDataset(data_root=str(tmp_path))
    root = write(tmp_path)
    with pytest.raises(FileNotFoundError, match='no sequence .* 3DPW-PC'):
        ThreeDPWDataset(data_root=str(root), split='PC')
    with pytest.raises(ValueError, match="split must be one of .*got 'test'"):
        ThreeDPWDataset(data_root=str(root), split='test')
    path = root / 'sequenceFiles/test/courtyard_box_00.pkl'
    path.write_bytes(path.read_bytes()[:900])
    with pytest.raises(ValueError, match='box_00.pkl: not a pickle'):
        ThreeDPWDataset(data_root=str(root))
    path.write_bytes(b'cos\nsystem\n(S"true"\ntR.')
    with pytest.raises(ValueError, match="box_00.pkl: refused .*'os.system'"):
        ThreeDPWDataset(data_root=str(root))
