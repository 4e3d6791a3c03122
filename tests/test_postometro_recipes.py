# Copyright (c) The mpm_postometro authors. All rights reserved.
"""PostoMETRO's configs of the published data say what was published."""
import os.path as osp
from functools import lru_cache

import pytest
from mmengine.config import Config

FOLDER = osp.join(
    osp.dirname(osp.dirname(osp.abspath(__file__))), 'configs', 'postometro')
MIX, DPW, DOH = 'mix', '3dpw', '3doh'
# name, data -> learning rate, images of a step on 8 GPUs
RECIPES = {
    ('postometro_res50', MIX): (1e-4, 128),
    ('postometro_hrnet-w48', MIX): (1e-4, 96),
    ('image-only_res50', MIX): (1e-4, 128),
    ('image-only_hrnet-w48', MIX): (1e-4, 96),
    ('pose-only_res50', MIX): (1e-4, 128),
    ('postometro_res50', DPW): (2e-5, 128),
    ('postometro_hrnet-w48', DPW): (2e-5, 96),
    ('image-only_res50', DPW): (2e-5, 128),
    ('image-only_hrnet-w48', DPW): (2e-5, 96),
    ('postometro-true-tokens_res50', DPW): (2e-5, 128),
    ('postometro_res50', DOH): (1e-4, 128),
    ('postometro_hrnet-w48', DOH): (1e-4, 96),
}


@lru_cache(None)
def read(name, data=MIX):
    return Config.fromfile(osp.join(FOLDER, f'{name}_{data}-256x256.py'))


def head(name, data=MIX):
    return read(name, data).model.head


def datasets(cfg, loader):
    """Those with a pipeline."""
    dataset = cfg[f'{loader}_dataloader'].dataset
    return dataset.get('datasets', [dataset])


@pytest.mark.parametrize('name,data', RECIPES)
def test_schedule(name, data):
    lr, batch = RECIPES[name, data]
    cfg = read(name, data)
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer.type == 'AdamW' and optimizer.lr == lr
    assert tuple(optimizer.betas) == (0.9, 0.999)
    assert optimizer.weight_decay == 1e-4
    assert cfg.optim_wrapper.clip_grad == dict(max_norm=0.3)
    assert cfg.train_cfg.max_epochs == 30
    assert 'param_scheduler' not in cfg  # constant
    assert 8 * cfg.train_dataloader.batch_size == batch
    assert cfg.auto_scale_lr.base_batch_size == batch
    assert 'loss' not in cfg.model  # the default: 1000, 1000, 100


@pytest.mark.parametrize('name,data', RECIPES)
def test_network(name, data):
    model = read(name, data).model
    assert tuple(model.head.hidden_dims) == (512, 128)
    assert tuple(model.head.feedforward_dims) == (2048, 512)
    assert model.head.num_layers == 3 and model.head.num_heads == 8
    assert model.head.dropout == 0.1
    assert model.head.get('use_pose_tokens', True) == bool(model.pose_branch)
    assert model.head.get('use_image_tokens', True) == bool(model.backbone)
    if model.backbone:
        kind = 'HRNet' if 'hrnet' in name else 'ResNet'
        assert model.backbone.type == kind
        assert model.head.in_channels == dict(HRNet=384, ResNet=2048)[kind]
        # learns on from MMPose's weights of COCO
        assert '/coco/' in model.backbone.init_cfg.checkpoint
        assert model.backbone.init_cfg.prefix == 'backbone.'
        assert 'frozen_stages' not in model.backbone


@pytest.mark.parametrize('name,data', RECIPES)
def test_people_are_turned_scaled_and_recoloured(name, data):
    cfg = read(name, data)
    for dataset in datasets(cfg, 'train'):
        types = [step.type for step in dataset.pipeline]
        assert types == [
            'LoadImage', 'GetBBoxCenterScale', 'RandomScaleRotation',
            'MeshAffine', 'ChannelGain', 'PackMeshInputs'
        ]
        assert dataset.pipeline[3].input_size == (256, 256)
    assert [s.type for s in cfg.test_dataloader.dataset.pipeline] == [
        'LoadImage', 'GetBBoxCenterScale', 'MeshAffine', 'PackMeshInputs'
    ]


@pytest.mark.parametrize('name,data', RECIPES)
def test_what_the_network_sees(name, data):
    cfg = read(name, data)
    preprocessor = cfg.model.data_preprocessor
    # ImageNet's, in RGB
    assert preprocessor.mean == [123.675, 116.28, 103.53]
    assert preprocessor.std == [58.395, 57.12, 57.375]
    assert preprocessor.bgr_to_rgb is True
    for loader in ('train', 'val', 'test'):
        for dataset in datasets(cfg, loader):
            crop = dataset.pipeline[1]  # published: 1.2 times the person
            assert crop == dict(type='GetBBoxCenterScale', padding=1.2)


def test_3dpw_is_of_the_neutral_body():
    """As METRO's labels: the defaults of the data set are other bodies."""
    for name, data in RECIPES:
        cfg = read(name, data)
        genders = [
            dataset.get('gender') for loader in ('train', 'val', 'test')
            for dataset in datasets(cfg, loader)
            if dataset.type == 'ThreeDPWDataset'
        ]
        expected = {MIX: 2, DPW: 3, DOH: 0}[data]
        assert genders == ['neutral'] * expected, (name, data)


def test_data():
    mixture = read('postometro_res50').train_dataloader.dataset
    parts = mixture.datasets
    assert mixture.ratios == [312, 102, 7, 75, 16]
    assert mixture.length == 512000
    assert [d.type for d in parts] == [
        'H36MPersonDataset', 'MuCoDataset', 'UP3DDataset',
        'MergedPersonDataset', 'SPINDataset'
    ]
    # of people that both have, CLIFF's labels
    assert [d.type for d in parts[3].datasets] == ['SPINDataset', 'EFTDataset']
    for data, kind in ((MIX, 'ThreeDPWDataset'), (DPW, 'ThreeDPWDataset'),
                       (DOH, 'ThreeDOHDataset')):
        cfg = read('postometro_res50', data)
        assert cfg.test_dataloader.dataset.type == kind
        if data != MIX:
            assert cfg.train_dataloader.dataset.type == kind
            assert cfg.load_from == (
                'work_dirs/postometro_res50_mix-256x256/epoch_30.pth')
    cfg = read('postometro_res50', DPW)
    splits = [
        cfg[f'{loader}_dataloader'].dataset.split
        for loader in ('train', 'val', 'test')
    ]
    assert splits == ['TRAIN', 'VALIDATION', 'TEST']  # never chosen on TEST
    assert read('postometro_res50',
                'h36m-p2').test_dataloader.dataset.split == 'P2'


def test_ablations_differ_in_one_thing():
    base = head('postometro_res50')
    variants = {
        'postometro-s': dict(num_layers=1),
        'postometro-m': dict(num_layers=2),
        'postometro-linear': dict(pose_modulator=dict(kind='linear')),
        'postometro-image-mixer':
        dict(image_modulator=dict(feat_size=(8, 8))),
        'postometro-1-block': dict(pose_modulator=dict(num_blocks=1)),
        'postometro-2-blocks': dict(pose_modulator=dict(num_blocks=2)),
        'postometro-8-blocks': dict(pose_modulator=dict(num_blocks=8)),
        'postometro-paper-order': dict(pose_modulator=dict(order='paper')),
        'image-only': dict(use_pose_tokens=False),
        'pose-only': dict(use_image_tokens=False),
        'postometro-coordinates':
        dict(
            token_dim=2, num_tokens=17, pose_modulator=dict(hidden_dim=512)),
    }  # yapf: disable
    for name, changes in variants.items():
        assert head(f'{name}_res50') == dict(base, **changes), name
    assert read('postometro-coordinates_res50').model.token_source == (
        'coordinates')


def test_true_tokens_come_from_a_tokenizer_without_images():
    cfg = read('postometro-true-tokens_res50', DPW)
    assert cfg.model.token_source == 'ground_truth'
    unguided = read('postometro-unguided_res50')
    for one in (cfg, unguided):
        assert 'guide_ratio' not in one.model.pose_branch.head.tokenizer
    assert cfg.model.pose_branch == unguided.model.pose_branch
    assert 'postometro-unguided_res50_mix' in cfg.load_from
    assert read('postometro-noisy-tokens_res50', DPW).model.token_noise > 0


def test_fastmetro():
    for size, layers in (('s', 1), ('m', 2), ('l', 3)):
        cfg = read(f'fastmetro-{size}_res50')
        model = cfg.model
        assert model.head.num_layers == layers
        assert model.head.learned_upsample and model.pose_branch is None
        weights = {k: v for k, v in model.loss.items() if k != 'type'}
        assert weights == dict(
            vertices=100.,
            vertex_levels=(.25, .5, .25),
            edges=500.,
            edge_lengths=.01,
            normals=10.)
        for dataset in cfg.train_dataloader.dataset.datasets:
            assert dataset.pipeline[2] == dict(type='MeshFlip', prob=0.5)
