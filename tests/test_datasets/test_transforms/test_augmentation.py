# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Whatever augmentation does: seen by the true camera, the 3D labels lie where
the 2D labels are, and the body parameters are those of the same body."""
import cv2
import numpy as np
import pytest
import torch
from mmengine.dataset import Compose
from mmengine.registry import init_default_scope
from mmpose.datasets.transforms import GetBBoxCenterScale

from mpm_postometro.bodies import load_body
from mpm_postometro.bodies.cameras import perspective_project
from mpm_postometro.bodies.skeletons import SKELETONS
from mpm_postometro.datasets.transforms import RandomScaleRotation

SIZE = 640
PIXELS = 1e-3

# Before the crop, in the order in which a pipeline has them.
BEFORE = dict(
    truncation=dict(type='RandomTruncation', prob=1.),
    flip=dict(type='MeshFlip', prob=1.),
    boxes=dict(type='RandomBBoxTransform', shift_prob=1., rotate_prob=1.),
    scale_rotation=dict(type='RandomScaleRotation', rotate_prob=1.))
AFTER = dict(
    gain=dict(type='ChannelGain'),
    jitter=dict(type='ColorJitter'),
    grid=dict(type='GridDropout', prob=1.),
    shapes=dict(type='SyntheticOcclusion', prob=1.),
    cut_outs=dict(
        type='SyntheticOcclusion',
        prob=1.,
        shapes=('rectangle', ),
        rotate=False,
        fill='mean'),
    objects=dict(type='PasteObjects', prob=1.))
LABELS = ('joints_2d', 'joints_3d', 'global_orient', 'body_pose', 'betas',
          'transl', 'intrinsics')


@pytest.fixture(scope='module')
def body():
    return load_body().double()


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmpose')


def solve(body, sample):
    """Joints that the body parameters give, (1, 14, 3)."""
    values = [
        torch.from_numpy(np.asarray(sample[key], np.float64))
        for key in ('betas', 'body_pose', 'global_orient', 'transl')
    ]
    with torch.no_grad():
        return body.regress_joints(body(*values).vertices, 'j14').numpy()


def project(points, intrinsics):
    points, intrinsics = (
        torch.from_numpy(np.asarray(x, np.float64))
        for x in (points, intrinsics))
    return perspective_project(points, intrinsics).numpy()


def make_sample(body, seed):
    """A posed body before a camera whose middle is not the picture's."""
    rng = np.random.RandomState(seed)
    focal = rng.uniform(500, 900)
    sample = dict(
        betas=rng.normal(0, 1, (1, 10)),
        body_pose=rng.normal(0, .25, (1, 23, 3)),
        global_orient=rng.normal(0, .2, (1, 3)) + [np.pi, 0, 0],
        transl=np.array(
            [[rng.uniform(-.5, .5),
              rng.uniform(-.1, .4),
              rng.uniform(3.5, 5)]]),
        intrinsics=np.array([[[focal, 1.5, 300.], [0, focal * 1.03, 330.],
                              [0, 0, 1.]]]))
    sample = {k: v.astype(np.float32) for k, v in sample.items()}
    joints = solve(body, sample)
    points = project(joints, sample['intrinsics'])
    low, high = points.min(1) - 15, points.max(1) + 15
    picture = cv2.resize(
        rng.randint(0, 200, (20, 20, 3)).astype(np.uint8), (SIZE, SIZE))
    keypoints = np.repeat(points, 2, 1)[:, :17]
    ones = np.ones((1, 14), np.float32)
    sample.update(
        img=picture,
        img_shape=(SIZE, SIZE),
        bbox=np.concatenate([low, high], 1).astype(np.float32),
        bbox_score=np.ones(1, np.float32),
        joints_3d=joints.astype(np.float32),
        joints_3d_visible=ones,
        joints_2d=points.astype(np.float32),
        joints_2d_visible=ones,
        keypoints=keypoints.astype(np.float32),
        keypoints_visible=np.ones((1, 17), np.float32),
        keypoints_occluded=np.zeros((1, 17), np.float32),
        occlusion=np.zeros(1, np.float32),
        flip_indices=list(SKELETONS['coco17'].flip_indices))
    return sample


def augment(sample, before, after, use_udp=False, outside='hide'):
    crop = dict(
        type='MeshAffine',
        input_size=(256, 256),
        use_udp=use_udp,
        outside=outside)
    return Compose([
        dict(type='GetBBoxCenterScale',
             padding=1.25), *[BEFORE[name] for name in before], crop,
        *[AFTER[name] for name in after]
    ])(
        sample)


def check(body, out):
    for joints in (out['joints_3d'], solve(body, out)):
        np.testing.assert_allclose(
            project(joints, out['intrinsics']), out['joints_2d'], atol=PIXELS)
    # Joints and camera could turn the other way together; then the picture's
    # axes would no longer be those of the camera.
    camera = out['intrinsics'][0] / out['intrinsics'][0, 0, 0]
    assert camera[1, 1] == pytest.approx(1, abs=.05)
    assert camera[1, 0] == pytest.approx(0, abs=.03)
    points = out['joints_2d']
    inside = ((points >= -.5) & (points < 255.5)).all(-1)
    np.testing.assert_array_equal(out['joints_2d_visible'] > 0, inside)
    points = out['transformed_keypoints']
    inside = ((points >= -.5) & (points < 255.5)).all(-1)
    np.testing.assert_array_equal(out['keypoint_weights'] > 0, inside)
    assert (out['keypoints_occluded'][~inside] == 1).all()
    assert (out['occlusion'] > 0) == out['keypoints_occluded'].any()
    assert out['img'].shape == (256, 256, 3) and out['img'].dtype == np.uint8


@pytest.mark.parametrize('use_udp', [False, True])
@pytest.mark.parametrize('name', [*BEFORE, *AFTER])
def test_each_alone(body, name, use_udp):
    before = [name] if name in BEFORE else []
    after = [name] if name in AFTER else []
    sample = make_sample(body, 1)
    plain = augment(make_sample(body, 1), [], [], use_udp)
    for _ in range(3):
        out = augment(dict(sample), before, after, use_udp)
        check(body, out)
        if name in BEFORE:
            assert np.abs(out['joints_2d'] - plain['joints_2d']).max() > 3
            assert np.abs(out['intrinsics'] - plain['intrinsics']).max() > 1
        else:  # labels stay to the bit
            for key in LABELS:
                np.testing.assert_array_equal(out[key], plain[key], key)
            assert (out['img'] != plain['img']).any()


@pytest.mark.parametrize('use_udp', [False, True])
@pytest.mark.parametrize('seed', range(12))
def test_random_chains(body, seed, use_udp):
    """Any subset in the order of a pipeline, on a person of its own."""
    rng = np.random.RandomState(100 + seed)
    before = [name for name in BEFORE if rng.rand() < .7]
    if {'boxes', 'scale_rotation'} <= set(before):
        before.remove(rng.choice(['boxes', 'scale_rotation']))
    after = [name for name in AFTER if rng.rand() < .5]
    out = augment(make_sample(body, seed), before, after, use_udp)
    check(body, out)


def test_flip_after_rotation_too(body):
    """The order in which a pipeline has the two does not matter."""
    for seed in range(4):
        out = augment(make_sample(body, seed), ['scale_rotation', 'flip'], [])
        check(body, out)


@pytest.mark.parametrize('use_udp', [False, True])
@pytest.mark.parametrize('seed', range(6))
def test_pixels_go_where_labels_go(body, seed, use_udp):
    """A dot on a joint is still on it after all that moves pixels."""
    moves = ['truncation', 'flip', 'scale_rotation']
    np.random.seed(seed)
    out = augment(make_sample(body, seed), moves, [], use_udp)
    joint = np.abs(out['joints_2d'][0] - 128).max(-1).argmin()
    at = out['joints_2d'][0, joint]

    sample = make_sample(body, seed)
    x, y = sample['joints_2d'][0, SKELETONS['j14'].flip_indices[joint]]
    sample['img'] = np.zeros_like(sample['img'])
    cv2.circle(sample['img'], (round(float(x) * 16), round(float(y) * 16)),
               8 * 16, (255, 255, 255), -1, cv2.LINE_AA, 4)
    np.random.seed(seed)
    out = augment(sample, moves, [], use_udp)
    weight = out['img'][..., 0].astype(float)
    rows, columns = np.mgrid[:256, :256]
    dot = np.array([(weight * columns).sum(),
                    (weight * rows).sum()]) / weight.sum()
    np.testing.assert_allclose(at, dot, atol=.25)


@pytest.mark.parametrize('break_it', ['angle', 'transl', 'betas', 'flip'])
def test_the_check_sees_what_is_broken(body, break_it):
    """Labels that did not follow do not pass."""
    out = augment(make_sample(body, 3), ['flip', 'scale_rotation'], [])
    check(body, out)
    if break_it == 'angle':
        out['global_orient'] = make_sample(body, 3)['global_orient']
    if break_it == 'transl':
        out['transl'] = out['transl'] + np.float32([[1e-4, 0, 0]])
    if break_it == 'betas':
        out['betas'] = out['betas'] * 1.01
    if break_it == 'flip':
        out['joints_2d'] = out['joints_2d'][:, ::-1]
    with pytest.raises(AssertionError):
        check(body, out)


def test_published_scale_and_rotation():
    """SPIN and METRO: N(1, .25) clipped to 1 +- .25, N(0, 30) degrees clipped
    to +-60 and nothing in six of ten."""
    np.random.seed(0)
    transform = RandomScaleRotation()
    drawn = np.array([transform._draw() for _ in range(20000)])
    scales, angles = drawn.T
    assert scales.min() == .75 and scales.max() == 1.25
    # what lies beyond one standard deviation is at the ends: 31.7 %
    ends = np.isin(scales, (.75, 1.25)).mean()
    assert ends == pytest.approx(.317, abs=.01)
    assert scales.mean() == pytest.approx(1, abs=.005)
    assert (angles == 0).mean() == pytest.approx(.6, abs=.01)
    turned = angles[angles != 0]
    assert np.abs(turned).max() == 60
    assert (np.abs(turned) == 60).mean() == pytest.approx(.0455, abs=.007)
    assert np.median(np.abs(turned)) == pytest.approx(.6745 * 30, abs=.7)
    assert turned.mean() == pytest.approx(0, abs=1)

    sample = GetBBoxCenterScale()(
        dict(bbox=np.array([[10., 20., 30., 60.]], np.float32)))
    out = RandomScaleRotation(.5, 10., 1.)(dict(sample))
    ratio = out['bbox_scale'] / sample['bbox_scale']
    assert ratio[0, 0] == pytest.approx(ratio[0, 1]) and ratio[0, 0] != 1
    assert 0 < abs(out['bbox_rotation'][0]) <= 20
    for wrong in (dict(scale_factor=1.), dict(rotate_factor=-1.),
                  dict(rotate_prob=2.)):
        with pytest.raises(ValueError, match='scale_factor'):
            RandomScaleRotation(**wrong)
