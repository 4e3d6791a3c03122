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
from mpm_postometro.datasets.body import H36MPersonDataset
from mpm_postometro.datasets.body.virtual_camera import h36m_cameras

PEOPLE = make_people(2, seed=6)
ORDER = joint_mapping('h36m17', 'j14')


def _matrix(axis_angle):
    return axis_angle_to_matrix(
        torch.from_numpy(np.asarray(axis_angle, np.float64))).numpy()


def _to_world(view, points):
    return points @ view.rotation + view.position


def _fit(view, i):
    """The parameters in the world of whom the camera sees as person i."""
    zeros = torch.zeros(1, 24, 3)
    root = body()(torch.from_numpy(PEOPLE.betas[i:i + 1]), zeros[:, 1:],
                  zeros[:, 0]).joints[0, 0].numpy()
    pose = PEOPLE.pose[i].astype(np.float64)
    pose[0] = matrix_to_axis_angle(
        torch.from_numpy(
            view.rotation.T.astype(np.float64) @ _matrix(pose[0]))).numpy()
    transl = _to_world(view, root + PEOPLE.transl[i]) - root
    return dict(
        pose=pose.ravel().tolist(),
        shape=PEOPLE.betas[i].tolist(),
        trans=transl.tolist())


def _lens(view):
    f, c = view.intrinsics[:2], view.intrinsics[2:4]
    return np.array([[f[0], 0, c[0]], [0, f[1], c[1]], [0, 0, 1]])


def write_subject(root, subject=9, order=(0, 1, 2, 3), change=None):
    """Two people, each seen by two cameras, in frames 0 to 6 of an action;
    in frame 5 person 1, in the others person 0.

    ``order`` says which of Human3.6M's cameras are numbers 1 to 4.
    """
    views = [h36m_cameras()[f'S{subject}'][i] for i in order]
    front = next(v for v in views if v.name == '60457274')
    images, annotations = [], []
    joints, fits = {}, {}
    for frame in (0, 3, 5):
        who = int(frame == 5)
        world = _to_world(front, PEOPLE.joints['h36m17'][who])
        joints[str(frame)] = (world * 1000).tolist()
        fits[str(frame)] = _fit(front, who)
        for number, view in enumerate(views, 1):
            folder = f's_{subject:02d}_act_02_subact_01_ca_{number:02d}'
            pixels = project((world - view.position) @ view.rotation.T,
                             _lens(view))
            low, high = pixels.min(0), pixels.max(0)
            image_id = 100 * frame + number
            images.append(
                dict(
                    id=image_id,
                    file_name=f'{folder}/{folder}_{frame + 1:06d}.jpg',
                    width=view.image_size[0],
                    height=view.image_size[1],
                    subject=subject,
                    action_name='Directions',
                    action_idx=2,
                    subaction_idx=1,
                    cam_idx=number,
                    frame_idx=frame))
            annotations.append(
                dict(
                    id=len(annotations),
                    image_id=image_id,
                    keypoints_vis=[True] * 17,
                    bbox=[*low.tolist(), *(high - low).tolist()]))
    files = dict(
        data=dict(images=images, annotations=annotations[::-1]),
        camera={
            str(number):
            dict(
                R=view.rotation.tolist(),
                t=(-view.rotation @ view.position * 1000).tolist(),
                f=view.intrinsics[:2].tolist(),
                c=view.intrinsics[2:4].tolist())
            for number, view in enumerate(views, 1)
        },
        joint_3d={'2': {
            '1': joints
        }},
        smpl_param={'2': {
            '1': fits
        }})
    if change is not None:
        change(files)
    root.mkdir(exist_ok=True)
    for kind, content in files.items():
        path = root / f'Human36M_subject{subject}_{kind}.json'
        path.write_text(json.dumps(content))


def write(root, change=None, **kwargs):
    write_subject(root / 'annotations', 9, change=change, **kwargs)
    write_subject(root / 'annotations', 11, **kwargs)
    return str(root)


@pytest.mark.parametrize('order', [(0, 1, 2, 3), (3, 2, 1, 0)])
def test_the_frontal_camera(tmp_path, order):
    dataset = H36MPersonDataset(
        data_root=write(tmp_path, order=order),
        split='P2',
        fits='smpl_param',
        body=dict())
    number = order.index(3) + 1
    assert len(dataset) == 4 and not dataset.table.drop_report
    assert dataset.table.frame.tolist() == [0, 5] * 2
    for i, item in enumerate(dataset):
        who, subject = i % 2, (9, 11)[i // 2]
        np.testing.assert_allclose(
            item['joints_3d'][0],
            PEOPLE.joints['h36m17'][who, ORDER],
            atol=2e-5)
        assert_projects(item)
        assert item['joints_3d_visible'].all()
        pose = np.concatenate(
            [item['global_orient'][:, None], item['body_pose']], 1)
        vertices, _ = pose_body(item['betas'], pose, item['transl'])
        np.testing.assert_allclose(
            vertices[0], PEOPLE.vertices[who], atol=1e-4)
        assert item['has_smpl'] == item['has_joints_3d'] == 1
        assert item['gender'] == 'neutral'
        assert item['img_shape'] == (1002, 1000)
        folder = f's_{subject:02d}_act_02_subact_01_ca_{number:02d}'
        assert item['sequence'] == folder
        assert item['img_path'] == str(tmp_path / 'images' / folder /
                                       f'{folder}_00000{1 + 5 * who}.jpg')
        points = project(PEOPLE.joints['h36m17'][who], item['intrinsics'][0])
        np.testing.assert_allclose(
            item['bbox'][0], [*points.min(0), *points.max(0)], atol=.1)
        np.testing.assert_allclose(
            item['keypoints'][0, 5], points[11], atol=.1)


def test_splits_and_frames(tmp_path):
    root = write(tmp_path)
    everything = H36MPersonDataset(data_root=root, split='P1', interval=1)
    assert len(everything) == 2 * 3 * 4
    assert everything.table.has_smpl.sum() == 0
    assert not everything[0]['has_smpl']
    assert 'transl' not in everything[0]
    assert len(H36MPersonDataset(data_root=root, split='P1')) == 2 * 2 * 4
    fits = H36MPersonDataset(
        data_root=root, split='P2', fits='smpl_param')  # without a body
    whole = H36MPersonDataset(
        data_root=root, split='P2', fits='smpl_param', body=dict())
    assert fits.table.has_smpl.all() and fits.table.transl is None
    np.testing.assert_array_equal(fits.table.global_orient,
                                  whole.table.global_orient)
    with pytest.raises(ValueError, match="split must be one of .*'P2'.*'P3'"):
        H36MPersonDataset(data_root=root, split='P3')
    with pytest.raises(
            FileNotFoundError,
            match='subject1_camera.json, .*subj.*and 5 more do not'):
        H36MPersonDataset(data_root=root, split='TRAIN')


def test_no_frames(tmp_path):

    def change(files):
        for image in files['data']['images']:
            image['frame_idx'] += 1

    with pytest.raises(ValueError, match='no frame of .* interval=5'):
        H36MPersonDataset(data_root=write(tmp_path, change=change), split='P2')


def test_fits_that_are_off(tmp_path):

    def change(files):
        fits = files['smpl_param']['2']['1']
        fits['0']['pose'][1 * 3] += 1.5  # a hip
        fits['5']['shape'][3] = float('nan')
        fits['7'] = fits['0']  # a frame that there is not

    root = write(tmp_path, change=change)
    dataset = H36MPersonDataset(
        data_root=root, split='P2', fits='smpl_param', body=dict())
    table = dataset.table
    assert table.has_smpl.tolist() == [False] * 2 + [True] * 2
    assert table.has_joints_3d.all()
    assert table.drop_report == {
        'only the SMPL fit: not finite': 1,
        'only the SMPL fit: more than 50 mm off the measured joints': 1
    }
    assert not table.body_pose[:2].any() and not table.betas[:2].any()
    assert np.isnan(table.transl[:2]).all()
    dataset = H36MPersonDataset(
        data_root=root,
        split='P2',
        fits='smpl_param',
        body=dict(),
        max_fit_error=500.)
    assert dataset.table.has_smpl.tolist() == [True, False, True, True]


def test_another_camera_convention_is_noticed(tmp_path):

    def change(files):  # R (x - t), as some have it
        for camera in files['camera'].values():
            rotation, shift = np.array(camera['R']), np.array(camera['t'])
            camera['t'] = (-rotation.T @ shift).tolist()

    table = H36MPersonDataset(
        data_root=write(tmp_path, change=change), split='P2').table
    assert len(table) == 2  # of the other subject
    assert table.drop_report == {'joints do not project into the box': 2}


def _set(value, *keys):
    """A change that sets, or with None deletes, an entry."""

    def change(files):
        place = files
        for key in keys[:-1]:
            place = place[key]
        if value is None:
            del place[keys[-1]]
        else:
            place[keys[-1]] = value

    return change


NAN = float('nan')


@pytest.mark.parametrize('change, message', [
    (_set(None, 'data', 'images', 2,
          'frame_idx'), r"data.json: 'images'\[2\] has no 'frame_idx'"),
    (_set(7, 'data', 'images', 3, 'cam_idx'), "'cam_idx' has no '7'"),
    (_set([1, 2, NAN, 4], 'data', 'annotations', 1,
          'bbox'), r"'annotations'\[1\]: 'bbox' is not finite"),
    (_set([1, 2], 'data', 'annotations', 1, 'bbox'), r"'bbox' must be \(4,\)"),
    (_set([], 'data', 'annotations'), 'no box of s_09.*ca_04_000001.jpg'),
    (_set([900, 900], 'camera', '2', 'f'), "'2': 'f' and 'c' are those of no"),
    (_set(None, 'camera', '2', 'R'), "camera.json: '2' has no 'R'"),
    (_set(None, 'joint_3d', '2', '1',
          '5'), 'no joints of action 2, subaction 1, frame 5'),
    (_set([[NAN] * 3] * 17, 'joint_3d', '2', '1',
          '0'), "'2', '1', '0' is not finite"),
    (_set([[0.] * 3] * 16, 'joint_3d', '2', '1',
          '0'), r'must be \(17, 3\), got \(16, 3\)'),
    (_set([0.] * 69, 'smpl_param', '2', '1', '0', 'pose'),
     "smpl_param.json: '2', '1', '0': 'pose' must be 72 numbers, got 69"),
    (_set(None, 'smpl_param', '2', '1', '0', 'trans'), "has no 'trans'"),
    (_set([1], 'smpl_param', '2'), 'must be action -> subaction -> frame'),
])
def test_broken_files(tmp_path, change, message):
    root = write(tmp_path, change=change)
    with pytest.raises(ValueError, match=message) as caught:
        H36MPersonDataset(data_root=root, split='P2', fits='smpl_param')
    assert 'Human36M_subject9' in str(caught.value)


@pytest.mark.parametrize('kind', ['data', 'camera', 'joint_3d', 'smpl_param'])
def test_files_that_are_cut_off_or_missing(tmp_path, kind):
    root = write(tmp_path)
    arguments = dict(data_root=root, split='P2', fits='smpl_param')
    path = tmp_path / 'annotations' / f'Human36M_subject9_{kind}.json'
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ValueError, match=f'{kind}.json.* breaks off'):
        H36MPersonDataset(**arguments)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=f'{kind}.json does not'):
        H36MPersonDataset(**arguments)
