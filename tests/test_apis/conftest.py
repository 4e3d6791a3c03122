# Copyright (c) The mpm_postometro authors. All rights reserved.
"""An estimator whose predictions are known."""
import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from mmpose.models.pose_estimators.base import BasePoseEstimator
from mmpose.registry import MODELS
from torch import nn

from mpm_postometro.bodies import load_body

# s, tx, ty: 1.8 m of body in 2 / .9 m of crop, off the middle.
CAMERA = (.9, .08, -.05)


@MODELS.register_module(name='KnownMeshEstimator', force=True)
class KnownMeshEstimator(BasePoseEstimator):
    """Predicts the unposed body, seen from the front, in every crop."""

    def __init__(self, **kwargs):
        super().__init__(
            backbone=dict(type=nn.Identity),
            head=dict(type=nn.Identity),
            **kwargs)
        self.body = load_body()
        self.weight = nn.Parameter(torch.ones(3))
        self.batches = []

    def loss(self, inputs, data_samples):
        raise NotImplementedError

    def predict(self, inputs, data_samples):
        self.batches.append(len(inputs))
        turn = torch.tensor([[np.pi, 0., 0.]])
        vertices = self.body(torch.zeros(1, 10), torch.zeros(1, 23, 3),
                             turn).vertices
        vertices -= self.body.regress_joints(vertices, 'h36m17')[:, :1]
        joints = self.body.regress_joints(vertices, 'j14')
        camera = torch.tensor([CAMERA]) * self.weight
        for sample in data_samples:
            crop = (camera[0, 0] * (joints[..., :2] + camera[0, 1:])).numpy()
            half = sample.metainfo['input_scale'] / 2
            sample.pred_instances = InstanceData(
                vertices=vertices,
                keypoints_3d=joints,
                camera=camera,
                keypoints=crop * half + sample.metainfo['input_center'],
                keypoint_scores=np.ones((1, 14), np.float32))
        return data_samples


@pytest.fixture
def known_config(tmp_path):
    """Path of a config with :class:`KnownMeshEstimator`."""
    path = tmp_path / 'known.py'
    pipeline = [
        dict(type='LoadImage'),
        dict(type='GetBBoxCenterScale', padding=1.25),
        dict(type='MeshAffine', input_size=(64, 64)),
        dict(type='PackMeshInputs')
    ]
    Config(
        dict(
            default_scope='mmpose',
            model=dict(
                type='KnownMeshEstimator',
                data_preprocessor=dict(type='PoseDataPreprocessor')),
            test_dataloader=dict(
                dataset=dict(type='Any', pipeline=pipeline)))).dump(path)
    return path


@pytest.fixture
def photos(tmp_path):
    """Folder with two photos of 160 x 120 pixels."""
    folder = tmp_path / 'photos'
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ('a.jpg', 'b.png'):
        noise = rng.integers(90, 110, (120, 160, 3), np.uint8)
        assert cv2.imwrite(str(folder / name), noise)
    return folder


TOKENIZER = dict(
    type='PCTTokenizer',
    num_tokens=6,
    num_codes=32,
    token_dim=8,
    encoder=dict(num_blocks=1, channels=16, channel_hidden=16),
    decoder=dict(channels=16),
    quantizer=dict(kmeans_iters=5),
    coord_scale=32.,
    coord_offset=31.5)
BACKBONE = dict(
    type='ResNet',
    depth=18,
    stem_channels=8,
    base_channels=8,
    norm_cfg=dict(type='BN'))
PREPROCESSOR = dict(
    type='PoseDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True)


def _token_model(kind, tokenizer):
    if kind == 'classifier':
        return dict(
            type='TopdownPoseEstimator',
            data_preprocessor=PREPROCESSOR,
            backbone=BACKBONE,
            head=dict(
                type='PCTHead',
                in_channels=64,
                feat_size=(2, 2),
                conv_channels=8,
                num_mixers=1,
                hidden_channels=8,
                tokenizer=tokenizer),
            test_cfg=dict(flip_test=True))
    model = dict(type='TokenizerEstimator', tokenizer=tokenizer)
    if kind == 'guided':
        model.update(guide_backbone=BACKBONE, data_preprocessor=PREPROCESSOR)
    return model


@pytest.fixture(scope='session')
def token_models(tmp_path_factory):
    """Config and checkpoint of a ``'tokenizer'``, a ``'guided'`` one, a
    ``'classifier'`` and a ``'3d'`` tokenizer, whose codes differ from pose to
    pose."""
    init_default_scope('mmpose')
    folder = tmp_path_factory.mktemp('token_models')
    models = {}
    for kind in ('tokenizer', 'guided', 'classifier', '3d'):
        tokenizer = dict(TOKENIZER)
        if kind == 'guided':
            tokenizer.update(guide_ratio=.5, guide_channels=64)
        if kind == '3d':
            tokenizer.update(coord_dims=3, coord_scale=1., coord_offset=0.)
        model = _token_model(kind, tokenizer)
        pixels = kind == 'tokenizer'
        data = dict(
            dataset=dict(
                type='SyntheticBodyDataset',
                split='val',
                length=5,
                image_size=64,
                keypoints_only=pixels,
                test_mode=True,
                pipeline=[
                    dict(type='GetBBoxCenterScale', padding=1.25),
                    dict(type='MeshAffine', input_size=(64, 64)),
                    dict(type='PackKeypointInputs'
                         if pixels else 'PackMeshInputs')
                ]))
        if kind == '3d':
            np.savez(
                folder / 'motion.npz',
                joints_3d=np.random.default_rng(0).normal(
                    size=(5, 17, 3)).astype(np.float32) * .4,
                clip_start=[0],
                clip_length=[5],
                clip_name=['clip'])
            data['dataset'] = dict(
                type='MocapKeypointDataset',
                ann_file=str(folder / 'motion.npz'),
                coord_dims=3,
                pipeline=[dict(type='PackKeypointInputs')])
        config = Config(
            dict(
                default_scope='mmpose',
                model=model,
                val_dataloader=data,
                test_dataloader=data))
        config.dump(folder / f'{kind}.py')
        torch.manual_seed(3)
        network = MODELS.build(config.model)
        if kind == 'guided':  # an untrained backbone says little
            network.tokenizer.start_img_embed.weight.data *= 30
        _start_codebook(network.head.tokenizer if kind ==
                        'classifier' else network.tokenizer)
        torch.save(
            dict(state_dict=network.state_dict()), folder / f'{kind}.pth')
        models[kind] = folder / f'{kind}.py', folder / f'{kind}.pth'
    return models


def _start_codebook(tokenizer):
    """Put the codes where poses are."""
    joints = torch.rand(200, 17, tokenizer.coord_dims)
    if tokenizer.coord_dims == 2:
        joints *= 64
    features = None
    if tokenizer.guide_channels:
        features = torch.rand(200, 17, tokenizer.guide_channels)
    tokenizer.train()
    tokenizer(joints, None, features)


@pytest.fixture(scope='session')
def sequence_models(tmp_path_factory):
    """Config and checkpoint of a network with a target frame ('lift'), one
    that lifts poses with hidden joints ('occluded') and one that completes
    3D poses ('completion'); 9 frames."""
    init_default_scope('mmpose')
    folder = tmp_path_factory.mktemp('sequence_models')
    sizes = dict(channels=16, feedforward_channels=16, num_heads=2)
    decoder = dict(type='MPMDecoderHead', coord_dims=3, **sizes)
    kinds = dict(
        lift=('2d', False,
              dict(
                  type='MPMLiftingHead',
                  num_frames=9,
                  strides=(1, 3, 3),
                  **sizes)),
        occluded=('2d', True, decoder),
        completion=('3d', True, decoder))
    models = {}
    for kind, (source, masking, head) in kinds.items():
        pipeline = [
            dict(type='NormalizeScreen'),
            dict(type='RootRelative'),
            dict(type='DetectionNoise', jitter=.1),
            dict(type='TubeMask', limbs=['left_leg'], modalities=(source, )),
            dict(type='PackPoseSequence')
        ]
        config = Config(
            dict(
                default_scope='mmpose',
                model=dict(
                    type='MPMEstimator',
                    backbone=dict(
                        type='MPM',
                        num_frames=9,
                        hidden_channels=24,
                        num_layers=1,
                        modalities=(source, ),
                        masking=masking,
                        **sizes),
                    heads={'3d': head},
                    tasks=[dict(source=source, target='3d')],
                    test_cfg=dict(flip_test=True)),
                test_dataloader=dict(
                    dataset=dict(
                        type='MocapSequenceDataset',
                        ann_file='none.npz',
                        seq_len=9,
                        pipeline=pipeline))))
        config.dump(folder / f'{kind}.py')
        torch.manual_seed(5)
        network = MODELS.build(config.model)
        torch.save(
            dict(state_dict=network.state_dict()), folder / f'{kind}.pth')
        models[kind] = folder / f'{kind}.py', folder / f'{kind}.pth'
    return models
