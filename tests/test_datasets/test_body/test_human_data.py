# Copyright (c) The mpm_postometro authors. All rights reserved.
import numpy as np
import pytest
from labelled_people import SIZE, assert_projects, make_people, take, weighted

from mpm_postometro.bodies.safe_pickle import UnsafePickleError
from mpm_postometro.datasets.body import HumanDataDataset

PEOPLE = make_people(4, seed=2)
# Places of the joints in HumanData's list of 190, as MMHuman3D publishes it.
J24 = dict(
    right_ankle=8, right_knee=5, right_hip=144, left_hip=145, left_knee=4,
    left_ankle=7, right_wrist=21, right_elbow=19, right_shoulder=17,
    left_shoulder=16, left_elbow=18, left_wrist=20, neck=146, head_top=147,
    pelvis=148, thorax=149, torso=150, jaw=151, head=152, nose=55,
    left_eye=57, right_eye=56, left_ear=59, right_ear=58)  # yapf: disable


def spread(points, positions):
    """Points at their places among the 190, and the mask."""
    whole = np.zeros((len(points), 190, points.shape[-1]))
    mask = np.zeros(190, np.uint8)
    whole[:, list(positions)] = points
    mask[list(positions)] = 1
    return whole, mask


def write(path, compressed=True, **changes):
    """A file as ``HumanData.dump`` writes it; None leaves a key out."""
    box = PEOPLE.bbox
    size = box[:, 2:] - box[:, :2]
    arrays = {
        '__key_strict__':
        False,
        '__data_len__':
        4,
        '__keypoints_compressed__':
        compressed,
        'image_path': ['a/0.jpg', 'a/1.jpg', 'b/2.jpg', 'a/0.jpg'],
        'bbox_xywh':
        np.concatenate([box[:, :2], size, np.ones((4, 1))], 1),
        'config':
        'pw3d',
        'smpl':
        dict(
            body_pose=PEOPLE.pose[:, 1:],
            global_orient=PEOPLE.pose[:, 0],
            betas=PEOPLE.betas,
            transl=PEOPLE.transl),
        'meta':
        dict(gender=np.array(['m', 'f', 'neutral', 'f'])),
        'cam_param': [
            dict(K=PEOPLE.intrinsics.tolist(), W=SIZE[0], H=SIZE[1])
            for _ in range(4)
        ],
    }
    for key, places in (('keypoints2d', PEOPLE.points), ('keypoints3d',
                                                         PEOPLE.joints)):
        points, mask = spread(weighted(take(places, 'j24')), J24.values())
        arrays[key] = points[:, mask > 0] if compressed else points
        arrays[f'{key}_mask'] = mask
    arrays.update(changes)
    np.savez_compressed(path, **{
        k: v
        for k, v in arrays.items() if v is not None
    })
    return str(path)


@pytest.mark.parametrize('compressed', [True, False])
def test_human_data(tmp_path, compressed):
    dataset = HumanDataDataset(
        write(tmp_path / 'a.npz', compressed), data_prefix=dict(img='root'))
    assert len(dataset) == 4
    for i, item in enumerate(dataset):
        assert_projects(item)
        assert item['joints_2d_visible'].all()
        np.testing.assert_allclose(item['joints_2d'][0],
                                   PEOPLE.points['j14'][i])
        np.testing.assert_allclose(item['keypoints'][0],
                                   PEOPLE.points['coco17'][i])
        np.testing.assert_allclose(item['bbox'][0], PEOPLE.bbox[i], rtol=1e-5)
        for key, value in (('body_pose', PEOPLE.pose[i, 1:]),
                           ('global_orient', PEOPLE.pose[i, 0]),
                           ('betas', PEOPLE.betas[i]), ('transl',
                                                        PEOPLE.transl[i])):
            np.testing.assert_array_equal(item[key][0], value)
        assert item['img_shape'] == (SIZE[1], SIZE[0])
        assert item['has_smpl'] == item['has_joints_3d'] == 1
        assert item['gender'] == ('male', 'female', 'neutral', 'female')[i]
    assert dataset[3]['img_path'] == 'root/a/0.jpg'


def test_compressed_without_a_flag(tmp_path):
    path = write(tmp_path / 'a.npz', __keypoints_compressed__=None)
    assert_projects(HumanDataDataset(path)[1])


def test_kinds_of_joints(tmp_path):
    points, mask = spread(
        weighted(PEOPLE.points['coco17'] + 3),
        [55, 57, 56, 59, 58, 16, 17, 18, 19, 20, 21, 1, 2, 4, 5, 7, 8])
    path = write(
        tmp_path / 'a.npz',
        compressed=False,
        keypoints2d_original=points,
        keypoints2d_original_mask=mask)
    item = HumanDataDataset(path)[0]
    np.testing.assert_allclose(item['keypoints'][0],
                               PEOPLE.points['coco17'][0] + 3)
    # COCO has neither neck nor head.
    assert item['joints_2d_visible'][0].tolist() == [1] * 12 + [0, 0]
    item = HumanDataDataset(path, keypoints_2d='keypoints2d')[0]
    assert_projects(item)


def test_masked_joints_are_unknown(tmp_path):
    points, mask = spread(weighted(take(PEOPLE.points, 'j24')), J24.values())
    mask[J24['left_knee']] = 0
    for compressed in (True, False):
        path = write(
            tmp_path / 'a.npz',
            compressed,
            keypoints2d=points[:, mask > 0] if compressed else points,
            keypoints2d_mask=mask)
        item = HumanDataDataset(path)[0]
        assert np.flatnonzero(item['joints_2d_visible'][0] == 0).tolist() == [
            4
        ]
        assert_projects(item)


def test_labels_of_openpose_and_human36m(tmp_path):
    """Those that HumanData keeps at places of their own."""
    for skeleton, start in (('openpose25', 153), ('h36m17', None)):
        positions = range(start, start + 25) if start else [
            148, 144, 5, 8, 145, 4, 7, 150, 146, 185, 186, 16, 18, 20, 17, 19,
            21
        ]
        points, mask = spread(
            weighted(take(PEOPLE.points, skeleton)), positions)
        path = write(
            tmp_path / 'a.npz',
            compressed=False,
            keypoints2d=points,
            keypoints2d_mask=mask)
        item = HumanDataDataset(path)[0]
        seen = item['joints_2d_visible'][0] > 0
        assert seen[:12].all() and seen[12:].all() == (skeleton == 'h36m17')
        np.testing.assert_allclose(item['joints_2d'][0][seen],
                                   PEOPLE.points['j14'][0][seen])


def test_without_bodies_and_cameras(tmp_path):
    path = write(
        tmp_path / 'a.npz',
        **dict.fromkeys(
            ('smpl', 'meta', 'cam_param', 'keypoints3d', 'keypoints3d_mask')))
    item = HumanDataDataset(path)[0]
    assert item['has_smpl'] == item['has_joints_3d'] == 0
    assert 'intrinsics' not in item and item['gender'] == 'neutral'
    path = write(
        tmp_path / 'a.npz',
        has_smpl=np.array([1, 0, 1, 1]),
        meta=dict(gender='male'))
    dataset = HumanDataDataset(path)
    assert dataset.table.has_smpl.tolist() == [True, False, True, True]
    assert 'transl' not in dataset[1] and dataset[1]['gender'] == 'male'


def smpl(**changes):
    arrays = dict(
        body_pose=PEOPLE.pose[:, 1:],
        global_orient=PEOPLE.pose[:, 0],
        betas=PEOPLE.betas)
    return {k: v for k, v in dict(arrays, **changes).items() if v is not None}


@pytest.mark.parametrize('changes, message', [
    (dict(image_path=None), r"has no \['image_path'\]"),
    (dict(bbox_xywh=np.zeros((3, 5))), "'bbox_xywh' must be about 4 people"),
    (dict(bbox_xywh=np.full((4, 5), np.nan)), "'bbox_xywh' is not finite"),
    (dict(keypoints2d_mask=np.ones(144)), r"_mask' must be \(190,\)"),
    (dict(keypoints2d=np.zeros((4, 23, 3))),
     r"'keypoints2d' must be \(4, 24, 3\), compressed by its mask"),
    (dict(smpl=smpl(betas=None)), "'smpl' has no 'betas'"),
    (dict(smpl=smpl(body_pose=np.zeros((4, 21, 3)))),
     r"\['body_pose'\] must be \(4, 23, 3\)"),
    (dict(smpl=smpl(betas=np.full((4, 10), np.nan))),
     r"\['betas'\] is not finite in 4 of 4"),
    (dict(meta=dict(gender=['m'])), r"\['gender'\] must be 4"),
    (dict(has_smpl=np.ones(5)), "'has_smpl' must be about 4"),
    (dict(cam_param=[dict(K=[[1, 2], [3, 4]])] * 4), r"'cam_param'\[0\]"),
])
def test_broken_files_are_refused(tmp_path, changes, message):
    path = write(tmp_path / 'broken.npz', **changes)
    with pytest.raises(ValueError, match=message) as caught:
        HumanDataDataset(path)
    assert 'broken.npz' in str(caught.value)


def test_named_joints_must_be_there(tmp_path):
    with pytest.raises(ValueError, match='keypoints3d_smplx'):
        HumanDataDataset(
            write(tmp_path / 'a.npz'), keypoints_3d='keypoints3d_smplx')


class _Evil:

    def __reduce__(self):
        return (print, ('run', ))


def test_pickles_run_nothing(tmp_path, capsys):
    path = write(tmp_path / 'a.npz', meta=dict(gender=_Evil()))
    with pytest.raises(UnsafePickleError, match='a.npz'):
        HumanDataDataset(path)
    assert 'run' not in capsys.readouterr().out
