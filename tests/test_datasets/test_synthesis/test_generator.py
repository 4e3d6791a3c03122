# Copyright (c) The mpm_postometro authors. All rights reserved.
import numpy as np
import pytest
import torch

from mpm_postometro.bodies import load_body
from mpm_postometro.datasets.synthesis.generator import ItemGenerator

SIZE = 64


@pytest.fixture(scope='module')
def generator():
    return ItemGenerator(image_size=SIZE)


@pytest.fixture(scope='module')
def items(generator):
    return [generator.item(index) for index in range(48)]


@pytest.fixture(scope='module')
def labels(generator):
    rows = [generator.labels(index) for index in range(400)]
    return {k: np.concatenate([row[k] for row in rows]) for k in rows[0]}


def test_projected_body_lands_on_the_labels(labels):
    """The promise of docs/design.md: parameters, camera, points agree."""
    body = load_body().double()
    few = {k: torch.from_numpy(v[:60]).double() for k, v in labels.items()}
    out = body(few['betas'], few['body_pose'], few['global_orient'],
               few['transl'])
    for regressor, key in (('coco17', 'keypoints'), ('j14', 'joints_2d')):
        joints = body.regress_joints(out.vertices, regressor)
        points = torch.einsum('bij,bkj->bki', few['intrinsics'], joints)
        points = points[..., :2] / points[..., 2:]
        assert (points - few[key]).abs().max() < 1e-3
    joints = body.regress_joints(out.vertices, 'j14')
    assert (joints - few['joints_3d']).abs().max() < 1e-5
    points = torch.einsum('bij,bkj->bki', few['intrinsics'], out.vertices)
    points = points[..., :2] / points[..., 2:]
    box = torch.cat([points.amin(1), points.amax(1)], 1)
    assert (box - few['bbox']).abs().max() < 2e-3
    assert out.vertices[..., 2].min() > .5  # before the camera


def test_drawn_person_is_where_the_labels_say():
    """Seen pixels fill the box, and joints lie on the person."""
    generator = ItemGenerator(image_size=96, occlusion_probability=0.)
    for index in range(12):
        scene = generator.scene(index)
        rendered = generator.renderer.render(scene, np.random.default_rng(0))
        rows, columns = np.nonzero(rendered.shown)
        found = [columns.min(), rows.min(), columns.max(), rows.max()]
        box = np.clip(scene.bbox, 0, 95)
        np.testing.assert_allclose(found, box, atol=3.)  # clothes stand off
        points = generator.labels(index)['joints_2d'][0]
        points = np.round(points[(points >= 0).all(1)
                                 & (points <= 95).all(1)]).astype(int)
        on = rendered.shown[points[:, 1], points[:, 0]]
        assert on.mean() > .85
        assert rendered.occlusion < .05


def test_item_depends_on_split_seed_and_index_alone(generator, items):
    again = ItemGenerator(image_size=SIZE)
    for index in (7, 3, 7):  # any order, repeated
        item = again.item(index)
        assert set(item) == set(items[index])
        for key, value in item.items():
            np.testing.assert_array_equal(value, items[index][key], key)
    for other in (ItemGenerator(image_size=SIZE, seed=1),
                  ItemGenerator(image_size=SIZE, split='val'),
                  ItemGenerator(image_size=SIZE, split='test')):
        item = other.labels(3)
        assert abs(item['body_pose'] - items[3]['body_pose']).max() > .05
    assert abs(items[4]['body_pose'] - items[3]['body_pose']).max() > .05


def test_labels_without_drawing_are_the_same(generator, items):
    for index, item in enumerate(items[:20]):
        labels = generator.labels(index)
        assert set(labels) == set(item) - {'img'}
        for key, value in labels.items():
            if key not in ('keypoints_occluded', 'occlusion'):
                np.testing.assert_array_equal(value, item[key], key)
        # Objects can only hide more than the picture's edge does.
        assert (item['keypoints_occluded']
                >= labels['keypoints_occluded']).all()


def test_shapes_and_types(generator, items):
    item = items[0]
    shapes = dict(
        img=(SIZE, SIZE, 3),
        bbox=(1, 4),
        bbox_score=(1, ),
        keypoints=(1, 17, 2),
        keypoints_visible=(1, 17),
        keypoints_occluded=(1, 17),
        occlusion=(1, ),
        joints_2d=(1, 14, 2),
        joints_2d_visible=(1, 14),
        joints_3d=(1, 14, 3),
        joints_3d_visible=(1, 14),
        global_orient=(1, 3),
        body_pose=(1, 23, 3),
        betas=(1, 10),
        transl=(1, 3),
        intrinsics=(1, 3, 3),
        has_smpl=(1, ),
        has_joints_3d=(1, ))
    assert {key: value.shape for key, value in item.items()} == shapes
    assert item['img'].dtype == np.uint8
    assert all(v.dtype == np.float32 for k, v in item.items() if k != 'img')
    assert all(np.isfinite(v).all() for i in items for v in i.values())


def test_pictures_differ_and_are_not_flat(items):
    images = np.stack([item['img'] for item in items]).astype(float)
    assert images.std((1, 2)).mean() > 15
    assert 70 < images.mean() < 180
    assert images.mean((1, 2)).std(0).min() > 15


def test_visibility(items, labels):
    for item in items:
        points = item['keypoints'][0]
        inside = ((points >= -.5) & (points < SIZE - .5)).all(1)
        np.testing.assert_array_equal(item['keypoints_visible'][0], inside)
        # What lies outside the picture is hidden by its edge.
        assert (item['keypoints_occluded'][0][~inside] == 1).all()
        hidden, share = item['keypoints_occluded'].mean(), item['occlusion'][0]
        assert 0 <= share <= 1
        if share < .02:
            assert hidden <= 2 / 17
        if share > .4:
            assert hidden > 0
    share = np.array([item['occlusion'][0] for item in items])
    hidden = np.array([item['keypoints_occluded'].mean() for item in items])
    assert np.corrcoef(share, hidden)[0, 1] > .8


def test_about_half_are_occluded_over_the_whole_range():
    generator = ItemGenerator(image_size=48)
    share = np.array([generator.item(i)['occlusion'][0] for i in range(160)])
    assert .36 < (share > .05).mean() < .6
    counts, _ = np.histogram(share, [.05, .2, .35, .5, .7])
    assert (counts > 4).all()
    assert (share > .8).mean() < .03
    free = ItemGenerator(image_size=48, occlusion_probability=0.)
    assert max(free.item(i)['occlusion'][0] for i in range(20)) < .1


def test_most_people_face_the_camera(generator):
    yaw = np.abs([generator.scene(i).yaw for i in range(300)])
    assert .85 < (yaw <= 75).mean() < .97
    assert yaw.max() > 120
    anywhere = ItemGenerator(image_size=SIZE, frontal_probability=0.)
    yaw = np.abs([anywhere.scene(i).yaw for i in range(200)])
    assert .3 < (yaw <= 75).mean() < .55


def test_upright_frontal_person_has_the_promised_orientation():
    """docs/design.md: a half turn about x."""
    generator = ItemGenerator(
        image_size=SIZE, frontal_probability=1., max_frontal_yaw=1e-3)
    turns = []
    for index in range(80):
        scene = generator.scene(index)
        if scene.pose_name in ('standing', 'walking'):
            turns.append(scene.global_orient * np.sign(scene.global_orient[0]))
    np.testing.assert_allclose(np.mean(turns, 0), [np.pi, 0, 0], atol=.2)


def test_poses_vary_naturally(labels):
    """A constant prediction is bad."""
    joints = labels['joints_3d']
    joints = joints - joints[:, 2:4].mean(1, keepdims=True)
    error = np.linalg.norm(joints - joints.mean(0), axis=-1).mean()
    assert .2 < error < .34
    height = np.ptp(labels['joints_3d'][..., 1], axis=1)
    assert .35 < np.quantile(height, .03) and height.max() < 2.4


def test_motion_file_gives_the_poses(tmp_path):
    pose = np.zeros((4, 24, 3), np.float32)
    pose[:, 0, 0] = np.pi / 2  # upright, z up
    pose[:, 18] = .7
    np.savez(tmp_path / 'motion.npz', pose=pose)
    generator = ItemGenerator(
        image_size=SIZE, motion_file=tmp_path / 'motion.npz')
    item = generator.item(0)
    assert abs(item['body_pose'][0, 17] - .7).max() < .35  # noise on top
    assert generator.fingerprint() != ItemGenerator(
        image_size=SIZE).fingerprint()


def test_fingerprint_follows_the_settings():
    base = ItemGenerator(image_size=SIZE).fingerprint()
    assert ItemGenerator(image_size=SIZE).fingerprint() == base
    for change in (dict(seed=1), dict(split='val'), dict(image_size=65),
                   dict(occlusion_probability=.4), dict(max_occlusion=.6),
                   dict(frontal_probability=.5), dict(max_frontal_yaw=60.),
                   dict(betas_std=.9), dict(supersample=1.1),
                   dict(body=dict(num_betas=9))):
        other = ItemGenerator(**{'image_size': SIZE, **change})
        assert other.fingerprint() != base, change


@pytest.mark.parametrize('settings, message', [
    (dict(split='dev'), "'dev'"), (dict(seed=-1), 'seed'),
    (dict(image_size=4), 'image_size'),
    (dict(occlusion_probability=1.5), 'occlusion_probability'),
    (dict(max_occlusion=-.1), 'max_occlusion')
])  # yapf: disable
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        ItemGenerator(**settings)
