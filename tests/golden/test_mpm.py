# Copyright (c) The mpm_postometro authors. All rights reserved.
"""MPM against the numbers of the published code."""
import numpy as np
import pytest
import torch
from mesh_networks import Golden, assert_close, golden_files
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample

from mpm_postometro.bodies.cameras import back_project, distorted_project
from mpm_postometro.datasets.body.virtual_camera import VirtualCamera
from mpm_postometro.datasets.transforms import NormalizeScreen
from mpm_postometro.evaluation import PoseSequenceMetric
from mpm_postometro.evaluation.functional import auc, mpjpe, pa_mpjpe, pck
from mpm_postometro.models.backbones import visible_frames
from mpm_postometro.models.pose_estimators.official_mpm_keys import (
    from_official_mpm_state, model_config, to_official_mpm_state)

H36M_FLIP = [0, 4, 5, 6, 1, 2, 3, 7, 8, 9, 10, 14, 15, 16, 11, 12, 13]


def build(golden, **changes):
    """The estimator of a golden file, with its weights."""
    weights = from_official_mpm_state(golden.group('state/'))
    cfg = model_config(weights.state_dict)
    sizes = golden.cfg
    assert cfg['backbone']['num_frames'] == sizes['frames']
    assert cfg['backbone']['num_joints'] == sizes['n_joints']
    assert cfg['backbone']['channels'] == sizes['channel']
    assert cfg['backbone']['feedforward_channels'] == sizes['d_hid']
    assert cfg['backbone']['num_layers'] == sizes['layers']
    cfg.update(changes)
    model = MODELS.build(dict(type='MPMEstimator', **cfg)).eval()
    model.load_state_dict(weights.state_dict, strict=True)
    return model


def pretraining(golden):
    return build(
        golden,
        tasks=[
            dict(source='2d', target='2d', weight=5.),
            dict(source='2d', target='3d'),
            dict(source='3d', target='3d', weight=2.),
        ],
        test_cfg=dict(source='3d', all_frames=True))


def batch(golden, keys):
    """Inputs of the estimator from arrays of a golden file; masks of the
    whole batch become masks of each clip."""
    size = golden.cfg['batch']
    inputs = {}
    for ours, theirs in keys.items():
        value = golden[f'in/{theirs}']
        if 'mask' in ours and value.shape[0] == golden.cfg['frames']:
            value = value.expand(size, *value.shape)
        elif ours.startswith('joint_mask'):  # tubes (B, J)
            value = value[:, None].expand(-1, golden.cfg['frames'], -1)
        inputs[ours] = value
        if ours.startswith('frame_mask'):
            inputs['visible' +
                   ours[len('frame_mask'):]] = visible_frames(value)
    return inputs


def samples(golden):
    return [
        PoseDataSample(
            metainfo=dict(
                flip_indices=H36M_FLIP, target_index=golden.cfg['frames'] //
                2)) for _ in range(golden.cfg['batch'])
    ]


@pytest.mark.parametrize('path', golden_files('mpm_pretrain_*.npz'))
@torch.no_grad()
def test_pretraining(path):
    golden = Golden(path)
    model = pretraining(golden)
    assert len(model.heads['2d'].layers) == golden.cfg['dec_layers']
    plain = dict(keypoints_2d='x2d', keypoints_3d='x3d')
    same = dict(
        joint_mask_2d='smask',
        frame_mask_2d='tmask',
        joint_mask_3d='smask',
        frame_mask_3d='tmask')
    poses = model(batch(golden, {**plain, **same}))
    for name, expected in {
            '2d_to_2d': ('x2d_path', 'lift_2d'),
            '2d_to_3d': ('lift_3d', ),
            '3d_to_3d': ('x3d_path', )
    }.items():
        for key in expected:
            assert_close(poses[name].frames, golden[f'out/{key}'], key)

    own = dict(same, joint_mask_3d='smask_3d', frame_mask_3d='tmask_3d')
    inputs = batch(golden, {**plain, **own})
    poses = model(inputs)
    assert_close(poses['3d_to_3d'].frames, golden['out/x3d_path_mask3d'],
                 'x3d_path_mask3d')
    losses = model(inputs, samples(golden), mode='loss')
    for name, key, weight in (('2d_to_2d', 'loss2d', 5.),
                              ('3d_to_3d', 'loss3d', 2.), ('2d_to_3d',
                                                           'losslift', 1.)):
        assert_close(losses[f'loss_{name}'], weight * golden[f'out/{key}'],
                     key)
    total = losses['loss_2d_to_2d'] + losses['loss_3d_to_3d']
    assert_close(total, golden['out/loss_noaug'], 'loss_noaug')

    inputs = batch(golden, {**plain, 'joint_mask_2d': 'smask'})
    poses = model(inputs)
    assert_close(poses['2d_to_2d'].frames, golden['out/x2d_path_no_tmask'],
                 'x2d_path_no_tmask')
    inputs['visible_2d'] = torch.arange(golden.cfg['frames']).expand(
        golden.cfg['batch'], -1)
    poses = model(inputs)
    assert_close(poses['2d_to_2d'].frames, golden['out/x2d_path_no_tmask'],
                 'x2d_path_no_tmask')


@pytest.mark.parametrize('path', golden_files('mpm_pretrain_*.npz'))
@torch.no_grad()
def test_layer_norm(path):
    golden = Golden(path)
    actual = pretraining(golden).backbone.norm(golden['in/ln_x'])
    # Row by row: the smallest rows are ten million times below the largest.
    for row, expected in zip(actual, golden['out/ln_y']):
        assert_close(row, expected, 'ln_y')


@pytest.mark.parametrize('path', golden_files('mpm_tube_*.npz'))
@torch.no_grad()
def test_completion(path):
    golden = Golden(path)
    model = build(
        golden,
        tasks=[
            dict(source='3d', target='3d'),
            dict(source='2d', target='3d', weight=2.),
            dict(source='2d', target='2d')
        ],
        test_cfg=dict(source='3d', all_frames=True))
    assert len(model.heads['3d'].layers) == golden.cfg['dec_layers']
    keys = dict(
        keypoints_2d='x2d',
        keypoints_3d='x3d',
        joint_mask_2d='tube2d',
        joint_mask_3d='tube3d',
        frame_mask_2d='tmask',
        frame_mask_3d='tmask')
    inputs = batch(golden, keys)
    poses = model(inputs)
    for name, key in (('3d_to_3d', 'comp3d_x3d'),
                      ('2d_to_2d', 'comp2dlift_x2d'), ('2d_to_3d',
                                                       'comp2dlift_x3d')):
        assert_close(poses[name].frames, golden[f'out/{key}'], key)
    completed = torch.cat([
        sample.pred_instances.keypoints_3d_all
        for sample in model(inputs, samples(golden), mode='predict')
    ])
    expected = golden['out/comp3d_completed']
    # Ours puts the root of every frame at the origin.
    assert_close(completed[..., 1:, :], expected[..., 1:, :],
                 'comp3d_completed')
    assert not completed[..., 0, :].any()

    keys['frame_mask_2d'] = 'tmask_partial'
    poses = model(batch(golden, keys))
    for name, key in (('2d_to_2d', 'comp2dlift_x2d_tmask'),
                      ('2d_to_3d', 'comp2dlift_x3d_tmask')):
        assert_close(poses[name].frames, golden[f'out/{key}'], key)


@pytest.mark.parametrize('path', golden_files('mpm_lift_*.npz'))
@torch.no_grad()
def test_lifting(path):
    golden = Golden(path)
    model = build(golden, test_cfg=dict(flip_test=True, all_frames=True))
    strides = [layer.stride for layer in model.heads['3d'].aggregator.layers]
    assert strides == golden.cfg['stride_num']
    x = golden['in/x'][..., 0].permute(0, 2, 3, 1)  # (B, F, J, 2)
    poses = model(dict(keypoints_2d=x))['2d_to_3d']
    frames = golden['out/x_VTE'][..., 0].permute(0, 2, 3, 1)
    target = golden['out/x'][..., 0].permute(0, 2, 3, 1)[:, 0]
    assert_close(poses.frames, frames, 'x_VTE')
    assert_close(poses.target, target, 'x')

    views = golden['in/tta_input']
    assert views[:, 1].equal(views[:, 0][..., H36M_FLIP, :] *
                             torch.tensor([-1., 1.]))
    results = model(
        dict(keypoints_2d=views[:, 0]), samples(golden), mode='predict')
    preds = [sample.pred_instances for sample in results]
    expected = golden['out/tta_x'][..., 0].permute(0, 2, 3, 1)[:, 0]
    assert_close(
        torch.cat([p.keypoints_3d for p in preds])[:, 1:], expected[:, 1:],
        'tta_x')
    expected = golden['out/tta_x_VTE'][..., 0].permute(0, 2, 3, 1)
    assert_close(
        torch.cat([p.keypoints_3d_all for p in preds])[:, :, 1:],
        expected[:, :, 1:], 'tta_x_VTE')


@pytest.mark.parametrize('path', golden_files('mpm_refine*.npz'))
@torch.no_grad()
def test_refinement(path):
    golden = Golden(path)
    weights = from_official_mpm_state(golden.group('state/'))
    assert weights.kind == 'refinement' and not weights.dropped
    cfg = model_config(weights.state_dict)['refiner']
    assert cfg['hidden_channels'] == golden.cfg['fc_unit']
    refiner = MODELS.build(cfg).eval()
    refiner.load_state_dict(
        {
            key[len('refiner.'):]: value
            for key, value in weights.state_dict.items()
        },
        strict=True)
    pose, uvd = golden['in/x'][:, 0], golden['in/uvd'][:, 0]
    refined = refiner(pose, golden['in/x_1'][:, 0])
    assert_close(refined, golden['out/refine'][:, 0], 'refine')
    root_depth = golden['in/gt_3D'][:, 0, 0, 2]
    with_depth = torch.cat([pose[..., :2], uvd[..., 2:]], -1)
    second = refiner.second_estimate(with_depth, uvd[..., :2],
                                     golden['in/cam'], root_depth)
    expected = golden['out/uvd2xyz'][:, 0]
    assert_close(second, expected - expected[:, :1], 'uvd2xyz')
    refined = refiner(pose, second)
    assert_close(refined, golden['out/refine_from_uvd'][:, 0],
                 'refine_from_uvd')


@pytest.mark.parametrize('path', golden_files('mpm_refine*.npz'))
def test_cameras(path):
    golden = Golden(path)
    points, camera = golden['in/points_cam'], golden['in/cam']
    clip = NormalizeScreen()(
        dict(
            keypoints_2d=golden.arrays['in/pixels'],
            image_size=(1000, 1002),
            has_2d=True))
    assert_close(
        torch.from_numpy(clip['keypoints_2d']),
        golden['out/normalized_screen'], 'normalized_screen')
    w, x, y, z = golden['in/cam_q'].double()
    view = VirtualCamera(
        'golden',
        # of the quaternion, which turns from the camera to the world
        np.array([[
            1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)
        ], [2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)],
                  [
                      2 * (x * z + w * y), 2 * (y * z - w * x),
                      1 - 2 * (x * x + y * y)
                  ]]),
        golden.arrays['in/cam_t'],
        None,
        (1000, 1002))
    assert_close(
        torch.from_numpy(view.to_camera(golden.arrays['in/points_world'])),
        golden['out/world_to_camera'], 'world_to_camera')
    assert_close(
        distorted_project(points, camera), golden['out/project_to_2d'],
        'project_to_2d')
    camera[:, 4:] = 0  # without distortion it is the inverse of the other
    linear = golden['out/project_to_2d_linear']
    assert_close(
        distorted_project(points, camera), linear, 'project_to_2d_linear')
    far = (points[..., :2] / points[..., 2:]).abs() > 1
    back = back_project(linear, points[..., 2], camera)
    assert_close(
        torch.where(far, points[..., :2], back[..., :2]), points[..., :2],
        'back_project')


@pytest.mark.parametrize('path', golden_files('mpm_metrics*.npz'))
def test_metrics(path):
    golden = Golden(path)
    pred = golden['in/pred'].flatten(0, 1)
    target = golden['in/gt'].flatten(0, 1)
    errors = mpjpe(pred, target)
    assert_close(errors.mean(), golden['out/mpjpe'], 'mpjpe')
    weights = golden['in/w'].flatten(0, 1)
    weighted = mpjpe(pred, target, weights) * weights.sum(1)
    assert_close(weighted.sum() / weights.numel(), golden['out/wmpjpe'],
                 'wmpjpe')
    assert_close(
        pa_mpjpe(pred, target).double(), golden['out/p_mpjpe'], 'p_mpjpe')
    assert_close(100 * pck(pred, target).mean().double(), golden['out/pck150'],
                 'pck')
    assert_close(100 * auc(pred, target).mean().double(), golden['out/auc'],
                 'auc')


@pytest.mark.parametrize('path', golden_files('mpm_metrics*.npz'))
@pytest.mark.parametrize('actions', ['single', 'mixed'])
def test_metrics_by_action(path, actions):
    golden = Golden(path)
    names = [name.split(' ')[0] for name in golden.cfg['action_of_sample']]
    if actions == 'single':
        names = golden.cfg['actions'][:1] * len(names)
    metric = PoseSequenceMetric(
        metrics=('mpjpe', 'pa_mpjpe', 'pck_150', 'auc'))
    metric.process(None, [
        dict(
            action=name,
            pred_instances=dict(keypoints_3d=golden['in/pred'][i]),
            gt_instances=dict(
                keypoints_3d=golden.arrays['in/gt'][i],
                keypoints_3d_visible=np.ones((1, 17))))
        for i, name in enumerate(names)
    ])
    found = metric.evaluate(len(names))
    expected = {
        'mpjpe': 1000 * golden.arrays['out/mpjpe'],
        'pa_mpjpe': 1000 * golden.arrays['out/p_mpjpe'].mean(),
        'pck_150': golden.arrays['out/pck150'],
        'auc': golden.arrays['out/auc']
    }
    # What the published code counts as 0, actions without frames, does not
    # count here. Its PA-MPJPE by action is that of the whole batch.
    for protocol, key in (('p1', 'mpjpe'), ('p2', 'pa_mpjpe')):
        if (actions, protocol) == ('mixed', 'p2'):
            continue
        means = golden.arrays[f'out/{actions}_{protocol}_avg'] * 1000
        counts = golden.arrays[f'out/{actions}_{protocol}_count']
        expected[f'{key}_action_mean'] = means[counts > 0].mean()
        for action, mean, count in zip(golden.cfg['actions'], means, counts):
            assert count == names.count(action)
            assert (f'pose3d/{key}_{action}' in found) == (count > 0)
            if count:
                expected[f'{key}_{action}'] = mean
    if actions == 'mixed':
        assert expected['mpjpe_action_mean'] == pytest.approx(
            float(golden.arrays['out/mixed_final_p1_mm']))
    for key, value in expected.items():
        assert found[f'pose3d/{key}'] == pytest.approx(
            float(value), rel=1e-5), key


def official_states():
    return [
        param for pattern in ('mpm_pretrain_*.npz', 'mpm_tube_*.npz',
                              'mpm_lift_*.npz', 'mpm_refine.npz')
        for param in golden_files(pattern)
    ]


@pytest.mark.parametrize('path', official_states())
def test_converter_round_trip(path):
    official = Golden(path).group('state/')
    weights = from_official_mpm_state(official)
    kind, back, refinement = to_official_mpm_state(weights.state_dict)
    assert kind == weights.kind and not refinement
    assert list(sorted(back)) == sorted(official)
    for name, value in official.items():
        if name not in weights.dropped:
            assert back[name].dtype == value.dtype
            assert back[name].equal(value), name
    prefixed = {f'module.{k}': v for k, v in official.items()}
    again = from_official_mpm_state(prefixed).state_dict
    assert all(v.equal(again[k]) for k, v in weights.state_dict.items())
