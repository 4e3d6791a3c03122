# Copyright (c) The mpm_postometro authors. All rights reserved.
import pickle

import cv2
import numpy as np
import pytest
import torch
from labelled_people import SIZE, assert_projects, make_people, pose_body

from mpm_postometro.bodies.rotations import (axis_angle_to_matrix,
                                             matrix_to_axis_angle)
from mpm_postometro.datasets.body import UP3DDataset
from mpm_postometro.datasets.body.smpl_labels import LabelBodies

PEOPLE = make_people(3, seed=8)
NAMES = ('00003', '00012', '01000')
# Where in the picture the fit's own picture was, and how much larger that is.
LEFT, TOP, ENLARGED = 30, 14, 1.25


def lens():
    """The camera of the fits: its middle is the middle of its picture."""
    focal = float(PEOPLE.intrinsics[0, 0]) * ENLARGED
    return focal, PEOPLE.intrinsics[:2, 2] + (LEFT, TOP)


def marked(i):
    """LSP's joints of a person in the whole picture."""
    points = PEOPLE.points['j14'][i] + (LEFT, TOP)
    return np.concatenate([points.T, np.ones((1, 14))])


def body_file(i, **changes):
    transl = PEOPLE.transl[i].astype(np.float64)
    body = dict(
        pose=PEOPLE.pose[i].ravel().astype(np.float64),
        betas=PEOPLE.betas[i].astype(np.float64),
        trans=transl * .25,
        rt=np.zeros(3),
        t=transl * .75,
        f=lens()[0])
    body.update(changes)
    return {k: v for k, v in body.items() if v is not None}


def write(root, pictures=True):
    """The files of three people, and a list of them."""
    size = SIZE[0] + LEFT + 7, SIZE[1] + TOP + 5
    for i, name in enumerate(NAMES):
        (root / f'{name}_body.pkl').write_bytes(
            pickle.dumps(body_file(i), protocol=2))
        np.save(root / f'{name}_joints.npy', marked(i))
        (root / f'{name}_fit_crop_info.txt').write_text(
            f'{SIZE[1] * ENLARGED:.0f} {SIZE[0] * ENLARGED:.0f} {TOP} '
            f'{TOP + SIZE[1]} {LEFT} {LEFT + SIZE[0]}\n')
        if pictures:
            cv2.imwrite(
                str(root / f'{name}_image.png'),
                np.full((size[1], size[0], 3), 90, np.uint8))
    path = root / 'trainval.txt'
    path.write_text(''.join(f'/{name}_image.png\n' for name in NAMES))
    return str(path)


def test_with_a_body(tmp_path):
    dataset = UP3DDataset(write(tmp_path), body=dict())
    assert len(dataset) == 3 and not dataset.table.drop_report
    focal, centre = lens()
    for i, item in enumerate(dataset):
        pose = np.concatenate(
            [item['global_orient'][:, None], item['body_pose']], 1)
        vertices, _ = pose_body(item['betas'], pose, item['transl'])
        np.testing.assert_allclose(vertices[0], PEOPLE.vertices[i], atol=1e-4)
        np.testing.assert_allclose(
            item['joints_3d'][0], PEOPLE.joints['j14'][i], atol=1e-4)
        np.testing.assert_allclose(
            item['intrinsics'][0],
            [[focal / ENLARGED, 0, centre[0]],
             [0, focal / ENLARGED, centre[1]], [0, 0, 1]],
            rtol=1e-6)
        item['joints_2d_visible'][:, 13] = 0  # the crown is not J14's head
        assert_projects(item, atol=2e-2)
        np.testing.assert_allclose(
            item['bbox'][0],
            PEOPLE.bbox[i] + [LEFT, TOP, LEFT, TOP],
            atol=2e-2)
        assert item['has_smpl'] == item['has_joints_3d'] == 1
        assert item['gender'] == 'neutral'
        assert item['img_shape'] == (SIZE[1] + TOP + 5, SIZE[0] + LEFT + 7)
        assert item['img_path'] == str(tmp_path / f'{NAMES[i]}_image.png')


def test_without_a_body(tmp_path):
    path = write(tmp_path, pictures=False)
    dataset = UP3DDataset(path, data_prefix=dict(img='pictures'))
    for i, item in enumerate(dataset):
        assert item['has_smpl'] == 1 and item['has_joints_3d'] == 0
        assert item['joints_2d_visible'][0].tolist() == [1] * 13 + [0]
        np.testing.assert_allclose(
            item['joints_2d'][0, :13], marked(i)[:2, :13].T, rtol=1e-5)
        np.testing.assert_allclose(
            item['transl'][0], PEOPLE.transl[i], rtol=1e-5)
        true = PEOPLE.bbox[i] + [LEFT, TOP, LEFT, TOP]
        size = (true[2:] - true[:2]).max()
        assert np.abs(item['bbox'][0] - true).max() < .15 * size
        assert 'img_shape' not in item
        assert item['img_path'] == f'pictures/{NAMES[i]}_image.png'


def test_a_camera_that_is_turned(tmp_path):
    path = write(tmp_path)
    turn = np.array([.3, -.2, .5])
    rotation = axis_angle_to_matrix(torch.from_numpy(turn)).numpy()
    # The same body in a world that the camera turns back.
    root = LabelBodies({}).rest_roots(PEOPLE.betas[:1], np.zeros(1, int))[0]
    pose = PEOPLE.pose[0].astype(np.float64)
    pose[0] = matrix_to_axis_angle(
        torch.from_numpy(rotation.T) @ axis_angle_to_matrix(
            torch.from_numpy(pose[0]))).numpy()
    seen = PEOPLE.transl[0] + root
    trans = rotation.T @ (seen - [0, 0, 1]) - root
    body = body_file(0, pose=pose.ravel(), rt=turn, t=[0., 0., 1.])
    body['trans'] = trans
    (tmp_path / '00003_body.pkl').write_bytes(pickle.dumps(body, protocol=2))
    item = UP3DDataset(path, body=dict())[0]
    pose = np.concatenate([item['global_orient'][:, None], item['body_pose']],
                          1)
    vertices, _ = pose_body(item['betas'], pose, item['transl'])
    np.testing.assert_allclose(vertices[0], PEOPLE.vertices[0], atol=1e-4)
    item = UP3DDataset(path)[0]
    assert 'transl' not in item
    np.testing.assert_allclose(item['global_orient'][0], pose[0, 0], atol=1e-5)


def test_who_is_left_out(tmp_path):
    path = write(tmp_path)
    np.save(tmp_path / '00003_joints.npy', marked(0)[:, ::-1])
    joints = marked(1)
    joints[2] = 0
    np.save(tmp_path / '00012_joints.npy', joints)
    dataset = UP3DDataset(path, body=dict())
    assert [x['img_path'][-15:]
            for x in dataset] == ['00012_image.png', '01000_image.png']
    assert dataset.table.drop_report == {
        'fit does not project on the marked joints': 1
    }
    assert not dataset.table.joints_2d[0].any()
    table = UP3DDataset(path).table
    assert len(table) == 2
    assert table.drop_report == {'fewer than two joints marked': 1}
    body = body_file(2, t=np.array([0., 0., -9]))
    (tmp_path / '01000_body.pkl').write_bytes(pickle.dumps(body, protocol=2))
    table = UP3DDataset(path, body=dict()).table
    assert table.drop_report == {
        'fit reaches behind the camera': 1,
        'fit does not project on the marked joints': 1
    }


def test_joints_without_the_row_of_flags(tmp_path):
    path = write(tmp_path)
    joints = marked(1)[:2]
    joints[:, 4] = 0
    np.save(tmp_path / '00012_joints.npy', joints)
    known = UP3DDataset(path)[1]['joints_2d_visible'][0]
    assert known.tolist() == [1] * 4 + [0] + [1] * 8 + [0]


class Evil:

    def __reduce__(self):
        return print, ('called', )


@pytest.mark.parametrize('ending, content, message', [
    ('_body.pkl', body_file(0, betas=None), "00003_body.pkl has no 'betas'"),
    ('_body.pkl', body_file(
        0, pose=np.zeros(69)), r"'pose' must be \(72,\), got \(69,\)"),
    ('_body.pkl', body_file(0, t=np.full(
        3, np.nan)), "00003_body.pkl: 't' is not finite"),
    ('_body.pkl', body_file(0, f=0.), r'focal length 0\.0'),
    ('_body.pkl', [1], "must be a dictionary with 'pose', got list"),
    ('_body.pkl', dict(pose=Evil()), '00003_body.pkl'),
    ('_body.pkl', pickle.dumps(
        body_file(0))[:200], '00003_body.pkl is no pickle of arrays'),
    ('_body.pkl', b'', '00003_body.pkl is no pickle of arrays'),
    ('_joints.npy', np.zeros((4, 14)), r'joints.npy must be \(3, 14\), got'),
    ('_joints.npy', np.full((3, 14), np.nan), 'joints.npy has weights outs'),
    ('_joints.npy', b'\x93NUMPY\x01', 'joints.npy is no .npy file'),
    ('_joints.npy', b'', 'joints.npy is no .npy file'),
    ('_fit_crop_info.txt', b'1 2 3', 'crop_info.txt must be height, width'),
    ('_fit_crop_info.txt', b'9 9 4 4 0 3', 'crop_info.txt must be height'),
])
def test_broken_files(tmp_path, capsys, ending, content, message):
    path = write(tmp_path)
    file = tmp_path / f'00003{ending}'
    if isinstance(content, bytes):
        file.write_bytes(content)
    elif isinstance(content, np.ndarray):
        np.save(file, content)
    else:
        file.write_bytes(pickle.dumps(content, protocol=2))
    with pytest.raises(ValueError, match=message):
        UP3DDataset(path)
    assert 'called' not in capsys.readouterr().out
    file.unlink()
    with pytest.raises(FileNotFoundError, match=f'{file.name} does not exist'):
        UP3DDataset(path)


def test_lists_that_are_none(tmp_path):
    path = tmp_path / 'train.txt'
    with pytest.raises(FileNotFoundError, match='train.txt does not exist'):
        UP3DDataset(str(path))
    path.write_text('\n')
    with pytest.raises(ValueError, match='train.txt has no names'):
        UP3DDataset(str(path))
    path.write_text('/00001_image.png\nperson.jpg\n')
    with pytest.raises(ValueError, match="train.txt, line 2: .*'person.jpg'"):
        UP3DDataset(str(path))
