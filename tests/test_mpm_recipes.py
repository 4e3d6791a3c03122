# Copyright (c) The mpm_postometro authors. All rights reserved.
"""MPM's configs of Human3.6M, MPI-INF-3DHP and the mix say what was
published."""
import os.path as osp

import numpy as np
import pytest
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mpm_postometro.bodies.skeletons import SKELETONS
from mpm_postometro.models.layers import PUBLISHED_STRIDES

MPM = osp.join(
    osp.dirname(osp.dirname(osp.abspath(__file__))), 'configs', 'mpm')
STRIDES = {27: (3, ) * 3, 81: (3, ) * 4, 243: (3, ) * 5}
H36M = [(source, frames) for source in ('cpn', 'gt') for frames in STRIDES]
ALL = ['3dhp-81f', 'mix-243f', *(f'h36m-{s}-{n}f' for s, n in H36M)]


def read(name):
    return Config.fromfile(osp.join(MPM, f'mpm_{name}.py'))


def check_schedule(cfg, rate):
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer == dict(type='Adam', lr=rate, amsgrad=True)
    scheduler, = cfg.param_scheduler
    assert scheduler == dict(type='ExponentialLR', gamma=.97, by_epoch=True)
    assert cfg.train_cfg.max_epochs == 50
    assert cfg.train_dataloader.batch_size == 1024
    assert 'DatasetEpochHook' in [hook.type for hook in cfg.custom_hooks]


def clips_of(cfg):
    """All data sets of a config."""
    loaders = [
        cfg[f'{x}_dataloader'].dataset for x in ('train', 'val', 'test')
    ]
    return [d for x in loaders for d in x.get('datasets', [x])]


def masks(pipeline, num_joints):
    """Masks that a pipeline adds to a clip."""
    init_default_scope('mmpose')
    clip = dict(
        keypoints_2d=np.zeros((27, num_joints, 2), np.float32),
        keypoints_3d=np.zeros((27, num_joints, 3), np.float32),
        item_key=(0, 0, 0),
        flip_indices=SKELETONS[f'h36m{num_joints}'].flip_indices,
        image_size=(1000, 1000),
        has_2d=True,
        has_3d=True,
        frame_indices=np.arange(27),
        target_index=13)
    return Compose(pipeline)(clip)['inputs']


@pytest.mark.parametrize('name', ALL)
def test_pretraining(name):
    cfg = read(f'pretrain_{name}')
    check_schedule(cfg, 1e-4)
    weights = {(t.source, t.target): t.weight for t in cfg.model.tasks}
    assert weights == {('2d', '2d'): 5, ('3d', '3d'): 2}
    frames = int(name.rsplit('-', 1)[1][:-1])
    backbone = cfg.model.backbone
    assert backbone.num_frames == frames
    assert backbone.get('num_layers', 4) == (3 if 'mix' in name else 4)
    joints = 17 if 'h36m' in name else 16
    assert backbone.get('num_joints', 17) == joints
    for data in clips_of(cfg):
        assert data.seq_len == frames
    pipeline = clips_of(cfg)[0].pipeline
    hidden = masks(pipeline, joints)
    for modality in ('2d', '3d'):
        assert hidden[f'frame_mask_{modality}'].sum() == 16  # int(0.6 * 27)
        assert (hidden[f'joint_mask_{modality}'].sum(1) == 5).all()


@pytest.mark.parametrize('stage', ['lift', 'finetune'])
@pytest.mark.parametrize('name', [n for n in ALL if 'mix' not in n])
def test_lifting(stage, name):
    cfg = read(f'{stage}_{name}')
    check_schedule(cfg, 7e-4)
    frames = int(name.rsplit('-', 1)[1][:-1])
    backbone, head = cfg.model.backbone, cfg.model.heads['3d']
    assert backbone.num_frames == head.num_frames == frames
    assert 'strides' not in head  # the published ones
    assert PUBLISHED_STRIDES[frames] == STRIDES[frames]
    assert not backbone.masking and backbone.frame_dropout == .2
    assert cfg.model.test_cfg.flip_test
    for data in clips_of(cfg):
        assert data.seq_len == frames
        if 'h36m' in name:
            assert name.split('-')[1] in data.keypoint_file
            # 243 frames span 486 of the video
            assert data.get('frame_step', 1) == (2 if frames == 243 else 1)
    assert cfg.test_dataloader.dataset.get('clip_step', 1) == 1
    init = backbone.get('init_cfg')
    if stage == 'lift':
        assert init is None
    else:
        folder = f'work_dirs/mpm_pretrain_{name}/'
        assert init.checkpoint == f'{folder}epoch_50.pth'
        assert init.prefix == 'backbone.'


def test_subjects_of_human36m():
    cfg = read('lift_h36m-cpn-243f')
    assert cfg.train_dataloader.dataset.subjects == ('S1', 'S5', 'S6', 'S7',
                                                     'S8')
    assert cfg.test_dataloader.dataset.subjects == ('S9', 'S11')


def test_completion():
    """Tubes: the same joints in all frames, no frame is hidden."""
    for name, modality, weights in (('completion', '3d', {
        ('3d', '3d'): 1
    }), ('occluded', '2d', {
        ('2d', '3d'): 2,
        ('2d', '2d'): 1
    })):
        cfg = read(f'{name}_h36m-27f')
        tasks = cfg.model.tasks
        assert {
            (t.source, t.target): t.get('weight', 1)
            for t in tasks
        } == weights
        assert all(h.num_layers == 2 for h in cfg.model.heads.values())
        hidden = masks(cfg.test_dataloader.dataset.pipeline, 17)
        joints = hidden[f'joint_mask_{modality}']
        assert (joints == joints[0]).all()
        assert joints[0].sum() == (3 if name == 'completion' else 6)
        assert not hidden[f'frame_mask_{modality}'].any()
