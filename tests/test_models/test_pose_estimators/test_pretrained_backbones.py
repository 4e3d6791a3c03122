# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Weights of MMPose's heatmap networks as a config gives them to the mesh
network."""
import os.path as osp
import re

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS
from torch import nn

ROOT = osp.dirname(
    osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__)))))
STAGES = dict(
    stage1=dict(num_blocks=(1, ), num_channels=(4, )),
    stage2=dict(num_blocks=(1, 1), num_channels=(4, 8)),
    stage3=dict(num_modules=1, num_blocks=(1, 1, 1), num_channels=(4, 8, 12)),
    stage4=dict(
        num_modules=2, num_blocks=(1, 1, 1, 1), num_channels=(4, 8, 12, 16)))
# Config file, how to make its backbone small, channels of the map that the
# mesh network reads and of the one that heatmaps are read from.
CASES = dict(
    res50=('res50.py', dict(base_channels=8), 256, 256),
    hrnet=('hrnet_w48.py', dict(extra=STAGES), 16, 4))


def backbone_cfg(name, checkpoint=None):
    file, small, *_ = CASES[name]
    path = osp.join(ROOT, 'configs', '_base_', 'models', file)
    cfg = Config(Config.fromfile(path).frozen_backbone)
    cfg.merge_from_dict(small)
    # As published: the mesh network trains all of it on.
    cfg.frozen_stages = -1
    if checkpoint is None:
        cfg.pop('init_cfg')
    else:
        cfg.init_cfg.checkpoint = str(checkpoint)
    return cfg._cfg_dict.to_dict()


@pytest.fixture(params=sorted(CASES))
def case(request, tmp_path):
    """Name and a checkpoint in the layout of MMPose's zoo."""
    init_default_scope('mmpose')
    torch.manual_seed(0)
    backbone = backbone_cfg(request.param)
    if 'extra' in backbone:
        backbone['extra']['stage4']['multiscale_output'] = False
    model = MODELS.build(
        dict(
            type='TopdownPoseEstimator',
            backbone=backbone,
            head=dict(
                type='HeatmapHead',
                in_channels=CASES[request.param][3],
                out_channels=17,
                deconv_out_channels=None)))
    for value in model.state_dict().values():
        if value.is_floating_point():
            nn.init.uniform_(value, 0.1, 1.)
    path = tmp_path / 'td-hm_coco.pth'
    torch.save(dict(meta=dict(), state_dict=model.state_dict()), path)
    return request.param, path


def mesh_estimator(name, checkpoint):
    return MODELS.build(
        dict(
            type='MeshEstimator',
            backbone=backbone_cfg(name, checkpoint),
            head=dict(
                type='PostoMETROHead',
                in_channels=CASES[name][2],
                hidden_dims=(16, 8),
                feedforward_dims=(8, 8),
                num_layers=1,
                num_heads=2,
                use_pose_tokens=False)))


def test_backbone_takes_the_weights_of_mmposes_zoo(case):
    name, path = case
    torch.manual_seed(1)
    model = mesh_estimator(name, path)
    model.init_weights()
    source = {
        key[len('backbone.'):]: value
        for key, value in torch.load(path, weights_only=True)
        ['state_dict'].items() if key.startswith('backbone.')
    }
    loaded = model.backbone.state_dict()
    assert source.keys() <= loaded.keys()
    for key, value in source.items():
        assert loaded[key].equal(value), key
    # The coarse map comes out of a fusion that heatmaps do without.
    random = loaded.keys() - source.keys()
    assert bool(random) == (name == 'hrnet')
    assert all(
        re.match(r'stage4\.1\.fuse_layers\.[123]\.', key) for key in random)
    feats = model.eval().extract_feat(torch.randn(1, 3, 64, 64))
    assert feats[-1].shape == (1, CASES[name][2], 2, 2)


def test_a_missing_checkpoint_is_named(case, tmp_path):
    model = mesh_estimator(case[0], tmp_path / 'none.pth')
    with pytest.raises(FileNotFoundError, match='none.pth'):
        model.init_weights()
