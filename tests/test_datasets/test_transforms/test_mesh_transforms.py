# Copyright (c) The mpm_postometro authors. All rights reserved.
import copy
import math

import cv2
import numpy as np
import pytest
import torch
from mmpose.datasets.transforms import TopdownAffine
from mmpose.registry import TRANSFORMS

from mpm_postometro.bodies import load_body
from mpm_postometro.bodies.body_io import OPEN_BODY
from mpm_postometro.bodies.cameras import perspective_project
from mpm_postometro.bodies.skeletons import SKELETONS
from mpm_postometro.datasets.transforms import MeshAffine, MeshFlip

WIDTH, HEIGHT = 320, 240
NUM_JOINTS = SKELETONS['j14'].num_joints


@pytest.fixture(scope='module')
def body():
    return load_body()


def project(points, intrinsics):
    return perspective_project(
        torch.from_numpy(points), torch.from_numpy(intrinsics)).numpy()


def make_sample(seed=0, dtype=np.float64, rotation=None, image=True):
    """Random joints before a camera with unlike focal lengths and skew."""
    rng = np.random.RandomState(seed)
    k = np.array([[[310., 2., 150.], [0., 290., 130.], [0., 0., 1.]]])
    joints = rng.uniform(-0.8, 0.8, (1, NUM_JOINTS, 3)) + [0.1, -0.1, 4.]
    sample = dict(
        bbox=np.array([[60., 20., 250., 220.]]),
        bbox_center=np.array([[155., 120.]]),
        bbox_scale=np.array([[190., 200.]]) * 1.1,
        keypoints=rng.uniform(0, 240, (1, 17, 2)),
        keypoints_visible=(rng.rand(1, 17) < .8).astype(dtype),
        keypoints_occluded=(rng.rand(1, 17) < .3).astype(dtype),
        joints_3d=joints,
        joints_3d_visible=np.ones((1, NUM_JOINTS)),
        joints_2d=project(joints, k),
        joints_2d_visible=np.ones((1, NUM_JOINTS)),
        intrinsics=k,
        global_orient=np.array([[math.pi, 0.2, 0.1]]),
        body_pose=rng.normal(0, .3, (1, 23, 3)),
        betas=rng.normal(0, 1, (1, 10)),
        transl=np.array([[0.1, -0.1, 4.]]),
        flip_indices=list(SKELETONS['coco17'].flip_indices),
        img_shape=(HEIGHT, WIDTH))
    sample = {
        k: v.astype(dtype) if isinstance(v, np.ndarray) else v
        for k, v in sample.items()
    }
    if image:
        img = rng.randint(0, 256, (HEIGHT // 8, WIDTH // 8, 3), np.uint8)
        sample['img'] = cv2.resize(img, (WIDTH, HEIGHT))
    if rotation is not None:
        sample['bbox_rotation'] = np.array([rotation], dtype)
    return sample


@pytest.mark.parametrize('dtype, tolerance', [(np.float64, 1e-9),
                                              (np.float32, 1e-3)])
@pytest.mark.parametrize('rotation', [None, 25., -140.])
@pytest.mark.parametrize('use_udp', [False, True])
@pytest.mark.parametrize('flip', [False, True])
def test_projection_lands_on_2d_joints(dtype, tolerance, rotation, use_udp,
                                       flip):
    sample = make_sample(1, dtype, rotation)
    before = copy.deepcopy(sample)
    out = MeshFlip(prob=float(flip))(sample)
    out = MeshAffine((192, 256), use_udp)(out)
    for key in ('joints_3d', 'joints_2d', 'intrinsics', 'global_orient'):
        assert out[key].dtype == dtype, key
    projected = project(out['joints_3d'], out['intrinsics'])
    np.testing.assert_allclose(projected, out['joints_2d'], atol=tolerance)
    # and it did move there, the way the picture did
    if not flip:
        expected = cv2.transform(before['joints_2d'], out['warp_mat'])
        np.testing.assert_allclose(out['joints_2d'], expected, atol=tolerance)
    assert np.abs(out['joints_2d'] - before['joints_2d']).max() > 5
    # a turn about the optical axis keeps depth and lengths
    np.testing.assert_allclose(
        np.sort(out['joints_3d'][..., 2]),
        np.sort(before['joints_3d'][..., 2]),
        atol=1e-6)
    if rotation is not None:
        assert np.abs(out['joints_3d'] - before['joints_3d']).max() > 0.1


@pytest.mark.parametrize('use_udp', [False, True])
@pytest.mark.parametrize('rotation', [None, 33.])
def test_crop_is_that_of_topdown_affine(use_udp, rotation):
    ours = MeshAffine((192, 256), use_udp)(make_sample(2, rotation=rotation))
    theirs = TopdownAffine((192, 256), use_udp)(
        make_sample(2, rotation=rotation))
    np.testing.assert_array_equal(ours['img'], theirs['img'])
    for key in ('bbox_scale', 'input_center', 'input_scale', 'input_size',
                'keypoints', 'keypoints_visible'):
        np.testing.assert_array_equal(ours[key], theirs[key], key)
    np.testing.assert_allclose(
        ours['transformed_keypoints'],
        theirs['transformed_keypoints'],
        atol=1e-4)
    assert ours['img_shape'] == (256, 192)
    assert ours['ori_shape'] == (HEIGHT, WIDTH)


@pytest.mark.parametrize('flip', [False, True])
def test_labels_follow_the_pixels(flip):
    """A bright dot in the image is still under its joint in the crop."""
    sample = make_sample(3, rotation=20.)
    sample['img'] = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    sample['joints_2d'][0, 0] = (140, 130)
    sample['keypoints'][0, 9] = (140, 130)
    sample['keypoints_visible'][:] = 1
    cv2.circle(sample['img'], (140, 130), 4, (255, 255, 255), -1)
    out = MeshAffine((256, 256))(MeshFlip(float(flip))(sample))
    weight = out['img'][..., 0].astype(float)
    y, x = np.mgrid[:256, :256]
    dot = np.array([(weight * x).sum(), (weight * y).sum()]) / weight.sum()
    joint = SKELETONS['j14'].flip_indices[0] if flip else 0
    keypoint = SKELETONS['coco17'].flip_indices[9] if flip else 9
    np.testing.assert_allclose(out['joints_2d'][0, joint], dot, atol=0.1)
    np.testing.assert_allclose(
        out['transformed_keypoints'][0, keypoint], dot, atol=0.1)


def test_visibility_drops_outside_the_crop():
    sample = make_sample(4)
    sample['keypoints'][0, :3] = [(155, 120), (1, 1), (155, 120)]
    sample['keypoints_visible'][0, :3] = [1, 1, 0]
    sample['joints_2d'][0, :3] = [(155, 120), (319, 120), (155, 120)]
    sample['joints_2d_visible'][0, :3] = [1, 1, 0]
    out = MeshAffine((128, 128))(sample)
    assert out['keypoint_weights'][0, :3].tolist() == [1, 0, 0]
    assert out['joints_2d_visible'][0, :3].tolist() == [1, 0, 0]
    # metrics on the original image still see what was labelled
    assert out['keypoints_visible'][0, :3].tolist() == [1, 1, 0]
    assert out['keypoints'][0, 1].tolist() == [1, 1]


def test_visibility_outside_the_crop_can_stay():
    sample = make_sample(4)
    sample['keypoints'][0, :4] = [(155, 120), (1, 1), (1, 1), (np.nan, 1)]
    sample['keypoints_visible'][0, :4] = [1, 1, 0, 1]
    sample['joints_2d'][0, :3] = [(155, 120), (319, 120), (319, 120)]
    sample['joints_2d_visible'][0, :3] = [1, 1, 0]
    hidden = MeshAffine((128, 128))(copy.deepcopy(sample))
    kept = MeshAffine((128, 128), outside='keep')(sample)
    assert kept['keypoint_weights'][0, :4].tolist() == [1, 1, 0, 0]
    assert kept['joints_2d_visible'][0, :3].tolist() == [1, 1, 0]
    assert (kept['transformed_keypoints'][0, 1] < 0).all()
    for key in ('transformed_keypoints', 'joints_2d', 'img'):
        np.testing.assert_array_equal(kept[key], hidden[key])
    with pytest.raises(ValueError, match="'hide' or 'keep', got 'drop'"):
        MeshAffine((128, 128), outside='drop')


def test_affine_without_image_or_3d():
    sample = dict(
        bbox_center=np.array([[100., 100.]], np.float32),
        bbox_scale=np.array([[100., 200.]], np.float32),
        keypoints=np.full((1, 17, 2), 100., np.float32),
        keypoints_visible=np.ones((1, 17), np.float32))
    out = MeshAffine((128, 128))(sample)
    np.testing.assert_allclose(out['transformed_keypoints'], 64, atol=1e-4)
    assert 'joints_3d' not in out and 'img' not in out


@pytest.mark.parametrize('change, message', [
    (dict(bbox_scale=np.zeros((1, 2))), 'no area'),
    (dict(bbox_scale=np.full((1, 2), np.nan)), 'no area'),
    (dict(bbox_center=np.zeros((2, 2))), 'one person'),
])
def test_affine_refuses_bad_boxes(change, message):
    with pytest.raises(ValueError, match=message):
        MeshAffine((128, 128))({**make_sample(), **change})


def test_flip_twice_is_identity():
    sample = make_sample(5)
    before = copy.deepcopy(sample)
    flip = MeshFlip(prob=1.0)
    once = flip(copy.deepcopy(sample))
    twice = flip(copy.deepcopy(once))
    for key, value in before.items():
        if isinstance(value, np.ndarray):
            np.testing.assert_allclose(
                twice[key], value, atol=1e-9, err_msg=key)
            if key not in ('joints_2d_visible', 'joints_3d_visible', 'betas',
                           'bbox_scale'):
                assert np.abs(once[key].astype(float) - value).max() > 0, key
    assert once['flip'] and once['flip_direction'] == 'horizontal'


@pytest.mark.parametrize('rotation', [None, 35.])
def test_crop_of_the_mirror_is_the_mirrored_crop(rotation):
    # UDP, whose crops are symmetric to the pixel
    crop = MeshAffine((128, 128), use_udp=True)
    plain = crop(make_sample(10, rotation=rotation))
    out = crop(MeshFlip(prob=1.0)(make_sample(10, rotation=rotation)))
    difference = out['img'].astype(float) - plain['img'][:, ::-1]
    assert np.abs(difference).max() <= 4  # cv2 interpolates in 1/32 pixels
    left, top, right, bottom = make_sample(10)['bbox'][0]
    mirrored = [WIDTH - 1 - right, top, WIDTH - 1 - left, bottom]
    np.testing.assert_allclose(out['bbox'][0], mirrored)


def test_flip_needs_no_picture_for_the_crop():
    """Annotations alone give the keypoints that a picture gives."""
    crop = MeshAffine((128, 128))
    for rotation in (0., 35.):
        sample = make_sample(11, rotation=rotation, image=False)
        expected = crop(MeshFlip(prob=1.0)(copy.deepcopy(sample)))
        for key in ('img_shape', 'intrinsics'):
            del sample[key]
        out = crop(MeshFlip(prob=1.0)(sample))
        for key in ('transformed_keypoints', 'joints_2d'):
            np.testing.assert_allclose(out[key], expected[key], atol=1e-3)
        np.testing.assert_array_equal(out['keypoint_weights'],
                                      expected['keypoint_weights'])
        assert expected['keypoint_weights'].sum() > 3
    sample = make_sample(11, image=False)
    del sample['img_shape']
    with pytest.raises(ValueError, match='neither .* nor .*intrinsics'):
        MeshFlip(prob=1.0)(sample)


def test_flip_does_not_write_into_the_data_set():
    sample = make_sample(6)
    kept = copy.deepcopy(sample)
    MeshAffine((64, 64))(MeshFlip(prob=1.0)(dict(sample)))
    for key, value in kept.items():
        np.testing.assert_array_equal(sample[key], value, key)


def test_flip_is_off_by_default_and_random_otherwise():
    sample = make_sample(7)
    assert not MeshFlip()(copy.deepcopy(sample))['flip']
    np.random.seed(0)
    flips = [
        MeshFlip(prob=0.3)(make_sample(7, image=False))['flip']
        for _ in range(200)
    ]
    assert 35 <= sum(flips) <= 90


def test_flip_after_crop_is_refused():
    out = MeshAffine((64, 64))(make_sample())
    with pytest.raises(ValueError, match='before MeshAffine'):
        MeshFlip(prob=1.0)(out)


def vertices_of(body, sample):
    keys = ('betas', 'body_pose', 'global_orient', 'transl')
    with torch.no_grad():
        return body(*(torch.from_numpy(sample[k].astype(np.float32))
                      for k in keys)).vertices.numpy()


@pytest.mark.parametrize('form', ['loaded', 'file', 'arguments'])
def test_body_turns_with_the_joints(form, tmp_path):
    """Vertices of the turned parameters are the turned vertices."""
    with np.load(OPEN_BODY) as file:
        arrays = {key: file[key] for key in file.files}
    # its root joint lies elsewhere than that of the built-in body
    arrays['v_template'] = arrays['v_template'] + np.float32([0, .5, 0])
    path = str(tmp_path / 'moved.npz')
    np.savez(path, **arrays)
    body = load_body(path)
    given = dict(loaded=body, file=path, arguments=dict(path=path))[form]
    sample = make_sample(8, np.float32, rotation=50.)
    before = vertices_of(body, sample)
    out = MeshAffine((128, 128), body=given)(sample)
    angle = math.atan2(out['warp_mat'][1, 0], out['warp_mat'][0, 0])
    assert abs(abs(math.degrees(angle)) - 50) < 1e-3
    c, s = math.cos(angle), math.sin(angle)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    np.testing.assert_allclose(
        vertices_of(body, out), before @ turn.T, atol=2e-5)


def test_mirrored_parameters_give_mirrored_vertices(body):

    def mirror(vertices):
        order = torch.as_tensor(body.mirror_indices).numpy()
        return vertices[:, order] * np.array([-1, 1, 1], np.float32)

    sample = make_sample(9, np.float32)
    rest = dict(sample)
    for key in ('body_pose', 'global_orient', 'transl'):
        rest[key] = np.zeros_like(sample[key])
    rest = vertices_of(body, rest)
    # exact for a symmetric body; SMPL itself is a few millimetres off
    asymmetry = np.abs(mirror(rest) - rest).max()
    before = vertices_of(body, sample)
    out = MeshFlip(prob=1.0)(sample)
    np.testing.assert_allclose(
        vertices_of(body, out), mirror(before), atol=1e-4 + 2 * asymmetry)
    assert np.abs(vertices_of(body, out) - before).max() > 0.2


def test_registered():
    for name in ('MeshAffine', 'MeshFlip', 'ChannelGain', 'SyntheticOcclusion',
                 'PackMeshInputs', 'PackKeypointInputs'):
        assert TRANSFORMS.get(name).__module__.startswith('mpm_postometro')
