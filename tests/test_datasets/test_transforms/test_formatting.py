# Copyright (c) The mpm_postometro authors. All rights reserved.
import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmengine.dataset import pseudo_collate
from mmpose.registry import TRANSFORMS
from mmpose.structures import PoseDataSample

from mpm_postometro.bodies.skeletons import SKELETONS
from mpm_postometro.datasets.transforms import (PackKeypointInputs,
                                                PackMeshInputs)

LABELS = dict(
    keypoint_labels=(1, 17, 2),
    keypoint_weights=(1, 17),
    joints_2d=(1, 14, 2),
    joints_2d_weights=(1, 14),
    joints_3d=(1, 14, 3),
    joints_3d_weights=(1, 14),
    global_orient=(1, 3),
    body_pose=(1, 23, 3),
    betas=(1, 10),
    has_smpl=(1, ),
    has_joints_3d=(1, ))


def plain_sample(seed=0):
    """A person with 2D keypoints only, as from a COCO file."""
    rng = np.random.RandomState(seed)
    return dict(
        img=rng.randint(0, 256, (120, 160, 3), np.uint8),
        img_shape=(120, 160),
        ori_shape=(120, 160),
        id=seed,
        img_id=seed,
        img_path=f'{seed}.jpg',
        category_id=1,
        bbox=np.array([[30., 10., 100., 110.]], np.float32),
        bbox_score=np.ones(1, np.float32),
        keypoints=rng.uniform(20, 100, (1, 17, 2)).astype(np.float32),
        keypoints_visible=np.ones((1, 17), np.float32),
        flip_indices=list(SKELETONS['coco17'].flip_indices))


def full_sample(seed=0):
    rng = np.random.RandomState(seed)
    return dict(
        **plain_sample(seed),
        keypoints_occluded=np.zeros((1, 17), np.float32),
        occlusion=np.array([0.3], np.float32),
        joints_2d=rng.uniform(20, 100, (1, 14, 2)).astype(np.float32),
        joints_2d_visible=np.ones((1, 14), np.float32),
        joints_3d=rng.normal(size=(1, 14, 3)),  # float64 on purpose
        joints_3d_visible=np.ones((1, 14), np.float32),
        intrinsics=np.array([[[200., 0, 80], [0, 200, 60], [0, 0, 1]]],
                            np.float32),
        global_orient=np.array([[3., 0.1, 0.]], np.float32),
        body_pose=rng.normal(size=(1, 23, 3)).astype(np.float32),
        betas=rng.normal(size=(1, 10)).astype(np.float32),
        transl=np.array([[0., 0., 4.]], np.float32),
        has_smpl=np.ones(1, np.float32),
        has_joints_3d=np.ones(1, np.float32))


def pipeline(*last):
    return Compose([
        TRANSFORMS.build(t)
        for t in (dict(type='GetBBoxCenterScale', padding=1.25),
                  dict(type='RandomBBoxTransform', rotate_prob=1.0),
                  dict(type='MeshFlip', prob=0.5),
                  dict(type='MeshAffine', input_size=(96, 128)), *last)
    ])


def test_mmpose_pipeline_with_mixed_samples():
    """MMPose's transforms around ours, then stacks as the losses do."""
    np.random.seed(0)
    steps = pipeline(
        dict(type='ChannelGain'), dict(type='SyntheticOcclusion', prob=1.0),
        dict(type='PackMeshInputs'))
    batch = pseudo_collate([
        steps(plain_sample(0)),
        steps(full_sample(1)),
        steps(plain_sample(2))
    ])
    assert torch.stack(batch['inputs']).shape == (3, 3, 128, 96)
    samples = batch['data_samples']
    assert all(isinstance(s, PoseDataSample) for s in samples)
    for key, shape in LABELS.items():
        stack = np.concatenate(
            [s.gt_instance_labels.get(key) for s in samples])
        assert stack.shape == (3, *shape[1:]), key
        assert stack.dtype == np.float32, key
    flags = np.concatenate([s.gt_instance_labels.has_smpl for s in samples])
    assert flags.tolist() == [0, 1, 0]
    flags = np.concatenate(
        [s.gt_instance_labels.has_joints_3d for s in samples])
    assert flags.tolist() == [0, 1, 0]
    for key in ('joints_2d_weights', 'joints_3d_weights', 'joints_3d',
                'body_pose'):
        assert not samples[0].gt_instance_labels.get(key).any(), key
        assert samples[1].gt_instance_labels.get(key).any(), key
    # what MMPose's estimators and heads read
    for sample in samples:
        meta = sample.metainfo
        assert {
            'input_center', 'input_scale', 'input_size', 'flip_indices',
            'img_shape', 'ori_shape', 'id', 'warp_mat'
        } <= set(meta)
        assert sample.gt_instances.bboxes.shape == (1, 4)
        assert sample.gt_instances.bbox_scores.shape == (1, )
        assert sample.gt_instances.keypoints.shape == (1, 17, 2)
    assert samples[1].gt_instances.occlusion[0] >= 0.3
    assert 'occlusion' not in samples[0].gt_instances


def test_labels_are_in_crop_pixels():
    steps = Compose([
        TRANSFORMS.build(dict(type='GetBBoxCenterScale')),
        TRANSFORMS.build(dict(type='MeshAffine', input_size=(96, 128))),
    ])
    cropped = steps(full_sample())
    sample = PackMeshInputs()(cropped)['data_samples']
    warp = sample.metainfo['warp_mat']
    before = full_sample()
    for key, source in (('keypoint_labels', 'keypoints'), ('joints_2d',
                                                           'joints_2d')):
        expected = before[source] @ warp[:, :2].T + warp[:, 2]
        np.testing.assert_allclose(
            sample.gt_instance_labels.get(key), expected, atol=1e-3)
    np.testing.assert_array_equal(sample.gt_instances.keypoints,
                                  before['keypoints'])


def test_keypoint_inputs_need_no_image():
    np.random.seed(1)
    steps = pipeline(dict(type='PackKeypointInputs'))
    source = plain_sample()
    del source['img']
    source['keypoints'][0, 4] = np.nan
    source['keypoints_visible'][0, 4] = 0
    packed = steps(source)
    inputs = packed['inputs']
    labels = packed['data_samples'].gt_instance_labels
    assert inputs.shape == (17, 3) and inputs.dtype == torch.float32
    visible = labels.keypoint_weights[0]
    assert inputs[:, 2].tolist() == visible.tolist()
    flips = SKELETONS['coco17'].flip_indices
    hidden = flips[4] if packed['data_samples'].flip else 4
    assert visible[hidden] == 0 and visible.sum() >= 8
    assert labels.keypoint_labels[0, hidden].isnan().all()
    keep = visible > 0
    torch.testing.assert_close(inputs[keep, :2],
                               labels.keypoint_labels[0][keep])
    assert not inputs[~keep].any()


@pytest.mark.parametrize('shape', [(1, 16, 2), (1, 17, 3), (1, 5, 3)])
def test_keypoint_inputs_of_any_number_and_dimension(shape):
    points = np.random.RandomState(0).normal(size=shape)  # float64
    weights = np.ones(shape[:2], np.float32)
    weights[0, 2] = 0
    sample = dict(
        transformed_keypoints=points, keypoints_visible=weights, id=7)
    packed = PackKeypointInputs()(sample)
    inputs, labels = packed['inputs'], packed['data_samples']
    assert inputs.shape == (shape[1], shape[2] + 1)
    assert inputs.dtype == torch.float32
    np.testing.assert_allclose(
        inputs[:, :-1], points[0] * weights[0, :, None], rtol=1e-6)
    np.testing.assert_array_equal(inputs[:, -1], weights[0])
    labels = labels.gt_instance_labels
    np.testing.assert_allclose(labels.keypoint_labels, points, rtol=1e-6)
    np.testing.assert_array_equal(labels.keypoint_weights, weights)
    assert 'img' not in sample
    with pytest.raises(ValueError, match=r'7 should have.*\(1, 3\)'):
        PackKeypointInputs()({**sample, 'keypoints_visible': weights[:, :3]})
    with pytest.raises(ValueError, match=r'\(1, K, C\)'):
        PackKeypointInputs()({**sample, 'transformed_keypoints': points[0]})


def test_keypoint_inputs_need_a_crop():
    with pytest.raises(ValueError, match='MeshAffine'):
        PackKeypointInputs()(plain_sample())


@pytest.mark.parametrize('change, message', [
    (dict(betas=np.zeros((1, 16))), r"'betas' of 0.jpg .*\(1, 16\)"),
    (dict(joints_3d=np.zeros((14, 3))), "'joints_3d'.*expected"),
    (dict(body_pose=None), "'has_smpl'.*body_pose"),
    (dict(joints_3d=None), "'has_joints_3d'.*joints_3d"),
])
def test_bad_labels_are_named(change, message):
    with pytest.raises(ValueError, match=message):
        PackMeshInputs()({**full_sample(), **change})


def test_missing_flags_follow_the_labels():
    sample = full_sample()
    del sample['has_smpl'], sample['has_joints_3d']
    labels = PackMeshInputs()(sample)['data_samples'].gt_instance_labels
    assert labels.has_smpl.item() == labels.has_joints_3d.item() == 1
    del sample['betas'], sample['joints_3d']
    labels = PackMeshInputs()(sample)['data_samples'].gt_instance_labels
    assert labels.has_smpl.item() == labels.has_joints_3d.item() == 0


def test_codec_tables_do_not_replace_ours():
    """A codec's mapping table replaces MMPose's defaults, but not ours."""
    sample = full_sample()
    sample['label_mapping_table'] = dict(keypoint_x_labels='x_labels')
    sample['keypoint_x_labels'] = np.zeros((1, 17, 9), np.float32)
    labels = PackMeshInputs()(sample)['data_samples'].gt_instance_labels
    assert set(LABELS) | {'x_labels'} <= set(labels.keys())


def test_works_after_topdown_affine():
    sample = plain_sample()
    sample['keypoints_visible'][0, 3] = 0
    steps = Compose([
        TRANSFORMS.build(dict(type='GetBBoxCenterScale')),
        TRANSFORMS.build(dict(type='TopdownAffine', input_size=(96, 128))),
        PackMeshInputs()
    ])
    labels = steps(sample)['data_samples'].gt_instance_labels
    assert labels.keypoint_weights[0, 2:5].tolist() == [1, 0, 1]
    assert labels.keypoint_labels.any()


def test_who_a_person_is_comes_along():
    who = dict(gender='male', sequence='a_00', frame=7, annotation_id=2**40)
    packed = PackMeshInputs()(dict(full_sample(), **who))['data_samples']
    assert {key: packed.metainfo[key] for key in who} == who
    packed = PackMeshInputs()(full_sample())['data_samples']
    assert not set(who) & set(packed.metainfo)  # nothing is made up
