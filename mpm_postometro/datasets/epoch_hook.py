# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Tells data sets which epoch it is."""
from typing import Any

import numpy as np
import torch
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

__all__ = ['DatasetEpochHook']


@HOOKS.register_module()
class DatasetEpochHook(Hook):
    """Call ``set_epoch`` of the training data set before each epoch.

    With it each epoch draws other masks and flips, and a training that is
    resumed draws what it would have drawn. So that this holds for dropout
    too, torch's random numbers start anew in each epoch, from the runner's
    seed, the epoch and the rank. Data sets inside of wrappers
    (``ConcatDataset``, ``RepeatDataset``, ``CombinedDataset``) are found;
    those without ``set_epoch`` stay alone. A training by iterations has one
    epoch.
    """

    def before_train_epoch(self, runner) -> None:
        """Tell the data set of the training loader."""
        seeds = np.random.SeedSequence(
            [runner.seed, runner.epoch, runner.rank])
        torch.manual_seed(int(seeds.generate_state(1)[0]))
        self._tell(runner.train_dataloader.dataset, runner.epoch)

    def _tell(self, dataset: Any, epoch: int) -> None:
        if hasattr(dataset, 'set_epoch'):
            dataset.set_epoch(epoch)
        for inner in getattr(dataset, 'datasets', ()):
            self._tell(inner, epoch)
        if hasattr(dataset, 'dataset'):
            self._tell(dataset.dataset, epoch)
