# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Every config builds, does a step forward and backward, and predicts."""
import os.path as osp
from glob import glob

import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmpose.registry import DATASETS, METRICS, MODELS

ROOT = osp.dirname(osp.dirname(osp.abspath(__file__)))
CONFIGS = sorted(
    osp.relpath(path, osp.join(ROOT, 'configs'))
    for path in glob(osp.join(ROOT, 'configs', '**', '*.py'), recursive=True)
    if '_base_' not in path)


def _samples(cfg, loader: str, count: int = 2) -> dict:
    """A batch as the config's data loader makes it, without a cache."""
    dataset_cfg = cfg[loader].dataset
    dataset_cfg.length = 4
    dataset_cfg.cache_dir = None
    dataset = DATASETS.build(dataset_cfg)
    return dataset, pseudo_collate([dataset[i] for i in range(count)])


def test_there_are_configs():
    assert 'postometro_hrnet48.py' in CONFIGS
    assert len(CONFIGS) >= 6


@pytest.mark.parametrize('path', CONFIGS)
def test_config_trains_and_predicts(path):
    torch.manual_seed(0)
    init_default_scope('mmpose')
    cfg = Config.fromfile(osp.join(ROOT, 'configs', path))
    model = MODELS.build(cfg.model)
    model.train()
    _, batch = _samples(cfg, 'train_dataloader')
    data = model.data_preprocessor(batch, training=True)
    losses = model(**data, mode='loss')
    loss, _ = model.parse_losses(losses)
    assert torch.isfinite(loss)
    loss.backward()
    trained = {
        name: p
        for name, p in model.named_parameters() if p.requires_grad
    }
    assert trained
    without = [name for name, p in trained.items() if p.grad is None]
    # A parameter without gradient stops a distributed training, unless the
    # config says so. Only HRNet has such: it fuses branches nobody reads.
    if cfg.get('find_unused_parameters'):
        without = [n for n in without if 'stage4.2.fuse_layers' not in n]
    assert not without, without
    assert all(
        torch.isfinite(p.grad).all() for p in trained.values()
        if p.grad is not None)

    model.eval()
    dataset, batch = _samples(cfg, 'test_dataloader')
    with torch.no_grad():
        results = model.test_step(batch)
    assert len(results) == 2
    evaluators = cfg.test_evaluator
    if not isinstance(evaluators, (list, tuple)):
        evaluators = [evaluators]
    for evaluator in evaluators:
        metric = METRICS.build(evaluator)
        metric.dataset_meta = dataset.metainfo
        metric.process(batch, [r.to_dict() for r in results])
        values = metric.evaluate(len(results))
        assert values and all(v == v for v in values.values())
