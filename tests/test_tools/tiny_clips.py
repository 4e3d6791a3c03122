# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Motion capture for the runners' tests of MPM, and what their configs reach
by ``custom_imports``."""
import numpy as np
from mmengine.hooks import Hook
from mmpose.registry import DATASETS, HOOKS
from torch import nn

from mpm_postometro.datasets.body import MocapSequenceDataset


def write_mocap(folder):
    """``cmu_mocap_train.npz`` and so on, two short motions each."""
    for seed, split in enumerate(('train', 'val', 'test')):
        rng = np.random.default_rng(seed)
        lengths = np.array([32, 32] if split == 'train' else [12, 9])
        way = np.cumsum(rng.normal(0, .02, (lengths.sum(), 1, 3)), 0)
        pose = rng.normal(0, .3, (1, 17, 3)) + [0, 0, 1]
        jitter = np.cumsum(rng.normal(0, .01, (lengths.sum(), 17, 3)), 0)
        np.savez(
            folder / f'cmu_mocap_{split}.npz',
            joints_3d=(way + pose + jitter).astype(np.float32),
            clip_start=np.array([0, lengths[0]]),
            clip_length=lengths,
            clip_name=np.array(['01_01', '01_02']),
            clip_subject=np.array(['01', '01']),
            clip_action=np.array(['walk', 'jump']),
            fps=60)


@DATASETS.register_module()
class HalfIn3D(MocapSequenceDataset):
    """Every second clip lacks 3D poses."""

    def get_data_info(self, idx):
        item = super().get_data_info(idx)
        if idx % 2:
            item['has_3d'] = False
            item['keypoints_3d'] = np.zeros_like(item['keypoints_3d'])
        return item


@HOOKS.register_module()
class FreezeBatchNorm(Hook):
    """No statistics of a batch, which two processes would have each of
    their half."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        for module in runner.model.modules():
            if isinstance(module, nn.BatchNorm1d):
                module.eval()
