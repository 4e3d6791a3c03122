# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Data for the runners' tests; configs reach it by ``custom_imports``."""
import atexit
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmengine.hooks import Hook
from mmengine.structures import InstanceData
from mmpose.registry import DATASETS, HOOKS
from mmpose.structures import PoseDataSample

NUM_JOINTS = 17


@atexit.register
def _no_thread_of_a_group_is_left():
    """Else Python may abort, or wait for ever, while it shuts down."""
    threads = Path('/proc/self/task')
    if threads.exists():
        names = []
        for path in threads.glob('*/comm'):
            with suppress(OSError):  # it ends just now
                names.append(path.read_text())
        if any('gloo' in name for name in names):
            print('threads left at exit:', names, file=sys.stderr, flush=True)
            os._exit(1)


@DATASETS.register_module()
class RandomPoses(BaseDataset):
    """Poses that are a function of their index, ready for the tokenizer."""

    def __init__(self, length, seed):
        self.length, self.seed = length, seed
        super().__init__(lazy_init=True)

    def full_init(self):
        pass

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        rng = np.random.default_rng((self.seed, index))
        joints = rng.normal(128, 40, (NUM_JOINTS, 2)).astype(np.float32)
        visible = np.ones((NUM_JOINTS, 1), np.float32)
        sample = PoseDataSample(metainfo=dict(id=index))
        sample.gt_instances = InstanceData(
            keypoints=joints[None],
            keypoints_visible=visible[None, :, 0],
            bboxes=np.array([[0, 0, 256, 256]], np.float32))
        return dict(
            inputs=torch.from_numpy(np.concatenate([joints, visible], 1)),
            data_samples=sample)


@HOOKS.register_module()
class InterruptOnce(Hook):
    """Die in the middle of an epoch if the variable TINY_DIE names it."""

    def after_train_iter(self,
                         runner,
                         batch_idx,
                         data_batch=None,
                         outputs=None):
        if os.environ.get('TINY_DIE') == str(runner.epoch) and batch_idx == 1:
            raise RuntimeError('interrupted on purpose')


@HOOKS.register_module()
class KillOnce(Hook):
    """In the middle of the epoch that the variable TINY_KILL names, the last
    process is gone, without a word."""

    def after_train_iter(self,
                         runner,
                         batch_idx,
                         data_batch=None,
                         outputs=None):
        if os.environ.get('TINY_KILL') == str(runner.epoch) and \
                batch_idx == 0 and runner.rank == runner.world_size - 1:
            os.kill(os.getpid(), signal.SIGKILL)
