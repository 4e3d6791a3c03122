# Copyright (c) The mpm_postometro authors. All rights reserved.
import numpy as np
import pytest
import torch
from clips import make_clip
from mmengine.registry import FUNCTIONS
from mmpose.registry import TRANSFORMS

from mpm_postometro.bodies.cameras import distorted_project
from mpm_postometro.datasets.transforms import (FlipSequence, NormalizeScreen,
                                                PackPoseSequence,
                                                RandomSpatioTemporalMask,
                                                RootRelative,
                                                collate_sequences)

ROOT = np.array([.5, -.2, 4.], np.float32)


def seen_clip():
    """A clip whose 2D is the picture of its 3D."""
    clip = make_clip()
    clip['keypoints_3d'] = clip['keypoints_3d'] * .4 + ROOT
    clip['keypoints_2d'] = project(clip)
    return clip


def project(clip, root=0.):
    points = torch.from_numpy(clip['keypoints_3d'] + root)
    return distorted_project(points, torch.from_numpy(clip['camera'])).numpy()


def test_normalised_as_published(golden_dir):
    with np.load(golden_dir / 'mpm_refine.npz') as golden:
        pixels, expected = golden['in/pixels'], golden['out/normalized_screen']
    clip = dict(keypoints_2d=pixels, image_size=(1000, 1002), has_2d=True)
    clip = NormalizeScreen()(clip)
    np.testing.assert_allclose(clip['keypoints_2d'], expected, atol=1e-6)


def test_camera_moves_along():
    clip = seen_clip()
    given = {k: clip[k].copy() for k in ('keypoints_2d', 'camera')}
    arrays = {k: clip[k] for k in given}
    clip = NormalizeScreen()(clip)
    np.testing.assert_allclose(project(clip), clip['keypoints_2d'], atol=1e-5)
    corner = dict(
        keypoints_2d=np.array([[[0., 0], [1000, 1002]]]),
        image_size=(1000, 1002),
        has_2d=True)
    np.testing.assert_allclose(
        NormalizeScreen()(corner)['keypoints_2d'][0],
        [[-1, -1.002], [1, 1.002]],
        atol=1e-6)
    for key, value in given.items():  # the data set's arrays stay
        np.testing.assert_array_equal(arrays[key], value)


def test_unknown_camera_and_missing_2d_stay_zero():
    clip = make_clip()
    clip.update(camera=np.zeros(9), has_2d=False)
    clip['keypoints_2d'] = np.zeros((9, 17, 2))
    clip = NormalizeScreen()(clip)
    assert not clip['camera'].any() and not clip['keypoints_2d'].any()


def test_root_relative():
    clip = seen_clip()
    before = clip['keypoints_3d']
    clip = RootRelative()(clip)
    assert not clip['keypoints_3d'][:, 0].any()
    np.testing.assert_allclose(
        clip['keypoints_3d'] + clip['root_3d'][:, None], before, atol=1e-6)


def test_flip_is_what_the_mirrored_camera_sees():
    clip = RandomSpatioTemporalMask()(
        RootRelative()(NormalizeScreen()(seen_clip())))
    before = {k: np.copy(v) for k, v in clip.items()}
    flipped = FlipSequence(1.)(dict(clip))
    assert flipped['flip']
    left, right = [4, 5, 6, 11, 12, 13], [1, 2, 3, 14, 15, 16]
    np.testing.assert_array_equal(flipped['keypoints_2d'][:, left, 0],
                                  -before['keypoints_2d'][:, right, 0])
    np.testing.assert_array_equal(flipped['keypoints_3d'][:, right, 1:],
                                  before['keypoints_3d'][:, left, 1:])
    for key in ('joint_mask_2d', 'joint_mask_3d', 'keypoints_2d_scores'):
        np.testing.assert_array_equal(flipped[key][:, left],
                                      before[key][:, right])
    np.testing.assert_allclose(
        project(flipped, flipped['root_3d'][:, None]),
        flipped['keypoints_2d'],
        atol=1e-5)
    changed = flipped['camera'] != before['camera']
    assert np.flatnonzero(changed).tolist() == [2, 7]
    # twice is nothing, and the clip that came in is as it was
    again = FlipSequence(1.)(dict(flipped))
    for key, value in before.items():
        if key == 'flip':
            continue
        np.testing.assert_array_equal(clip[key], value)
        np.testing.assert_array_equal(again[key], value)


def test_flips_half_of_the_clips_the_same_every_time():
    transform = FlipSequence(0.5)

    def flips():
        return [
            transform(NormalizeScreen()(make_clip(key=(0, 0, i))))['flip']
            for i in range(100)
        ]

    first = flips()
    assert 30 < sum(first) < 70
    assert flips() == first
    with pytest.raises(ValueError, match='NormalizeScreen comes before'):
        transform(make_clip())
    with pytest.raises(ValueError, match='prob must be'):
        FlipSequence(1.5)


def test_packed():
    packed = dict(seen_clip(), mask_name='left_leg')
    for name in ('NormalizeScreen', 'RootRelative', 'RandomSpatioTemporalMask',
                 'PackPoseSequence'):
        packed = TRANSFORMS.build(dict(type=name))(packed)
    inputs, sample = packed['inputs'], packed['data_samples']
    shapes = {k: tuple(v.shape) for k, v in inputs.items()}
    assert shapes == dict(
        keypoints_2d=(9, 17, 2),
        keypoints_3d=(9, 17, 3),
        camera=(9, ),
        root_3d=(9, 3),
        has_2d=(),
        has_3d=(),
        joint_mask_2d=(9, 17),
        joint_mask_3d=(9, 17),
        frame_mask_2d=(9, ),
        frame_mask_3d=(9, ))
    for key, value in inputs.items():
        masked = key.startswith(('has', 'joint', 'frame'))
        assert value.dtype == (torch.bool if masked else torch.float32)
    assert sample.target_index == 4 and sample.subject == 'S1'
    assert sample.mask_name == 'left_leg'
    gt_instances = sample.gt_instances
    np.testing.assert_array_equal(gt_instances.keypoints_3d,
                                  inputs['keypoints_3d'][4:5])
    np.testing.assert_array_equal(gt_instances.root_3d, inputs['root_3d'][4:5])
    assert gt_instances.keypoints_3d_visible.all()


def test_packed_without_masks_camera_and_3d():
    clip = make_clip()
    clip.update(has_3d=False, keypoints_3d=np.zeros((9, 17, 3)), camera=None)
    packed = PackPoseSequence()(RootRelative()(NormalizeScreen()(clip)))
    inputs = packed['inputs']
    assert not any(inputs[k].any() for k in inputs if 'mask' in k)
    assert not inputs['has_3d'] and inputs['has_2d']
    assert not inputs['camera'].any()
    visible = packed['data_samples'].gt_instances.keypoints_3d_visible
    assert visible.shape == (1, 17) and not visible.any()


def test_packing_refuses_pixels_and_absolute_joints():
    with pytest.raises(ValueError, match='wants NormalizeScreen'):
        PackPoseSequence()(RootRelative()(make_clip()))
    with pytest.raises(ValueError, match='wants RootRelative'):
        PackPoseSequence()(NormalizeScreen()(make_clip()))


def test_collated():
    assert FUNCTIONS.get('collate_sequences') is collate_sequences
    clips = [
        PackPoseSequence()(RootRelative()(NormalizeScreen()(
            make_clip(seed=i)))) for i in range(3)
    ]
    batch = collate_sequences(clips)
    assert batch['inputs']['keypoints_2d'].shape == (3, 9, 17, 2)
    assert batch['inputs']['has_3d'].tolist() == [True] * 3
    for i, clip in enumerate(clips):
        assert batch['data_samples'][i] is clip['data_samples']
        for key, value in clip['inputs'].items():
            assert torch.equal(batch['inputs'][key][i], value)
