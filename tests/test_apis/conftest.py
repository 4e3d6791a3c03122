# Copyright (c) The mpm_postometro authors. All rights reserved.
"""An estimator whose predictions are known."""
import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
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
