# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Every config builds, does a step forward and backward, and predicts."""
import os.path as osp
from glob import glob

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.registry import init_default_scope
from mmpose.registry import DATASETS, METRICS, MODELS

from mpm_postometro.bodies import load_body
from mpm_postometro.bodies.body_io import OPEN_BODY

ROOT = osp.dirname(osp.dirname(osp.abspath(__file__)))
CONFIGS = sorted(
    osp.relpath(path, osp.join(ROOT, 'configs'))
    for path in glob(osp.join(ROOT, 'configs', '**', '*.py'), recursive=True)
    if '_base_' not in path)


@pytest.fixture(scope='module')
def mocap_folder(tmp_path_factory):
    """A folder with motion capture of a few frames."""
    folder = tmp_path_factory.mktemp('mocap')
    joints = np.random.default_rng(0).normal(0, .4, (40, 17, 3))
    for split in ('train', 'val', 'test'):
        np.savez(
            folder / f'cmu_mocap_{split}.npz',
            joints_3d=joints.astype(np.float32),
            clip_start=np.array([0]),
            clip_length=np.array([40]),
            clip_name=np.array(['01_01']))
    return str(folder)


@pytest.fixture(autouse=True)
def _data(mocap_folder, monkeypatch):
    monkeypatch.setenv('MPM_POSTOMETRO_MOCAP', mocap_folder)


def _samples(cfg, loader: str, count: int = 2) -> dict:
    """A batch as the config's data loader makes it, without a cache."""
    dataset_cfg = cfg[loader].dataset
    if dataset_cfg.type == 'SyntheticBodyDataset':
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


@pytest.fixture
def tall_body(tmp_path):
    """A file with a body that is larger than the built-in one, which has as
    many vertices."""
    path = str(tmp_path / 'tall.npz')
    with np.load(OPEN_BODY) as file:
        arrays = {key: file[key] for key in file.files}
    arrays['v_template'] = 1.2 * arrays['v_template']
    np.savez(path, **arrays)
    return path


def _bodies(node) -> list:
    """Type and body of all parts of a config that have one."""
    if isinstance(node, dict):
        found = [
            (node['type'], node.get('body', 'none'))
        ] if node.get('type') in ('MeshAffine', 'MeshEstimator', 'MeshMetric',
                                  'SyntheticBodyDataset') else []
        return found + [pair for v in node.values() for pair in _bodies(v)]
    if isinstance(node, (list, tuple)):
        return [pair for v in node for pair in _bodies(v)]
    return []


@pytest.mark.parametrize('path', CONFIGS)
def test_one_change_gives_all_parts_another_body(path, monkeypatch):
    for value in (None, 'some/where.pkl'):
        if value:
            monkeypatch.setenv('MPM_POSTOMETRO_BODY', value)
        else:
            monkeypatch.delenv('MPM_POSTOMETRO_BODY', raising=False)
        cfg = Config.fromfile(osp.join(ROOT, 'configs', path))
        parts = _bodies(cfg._cfg_dict.to_dict())
        types = {name for name, _ in parts}
        if 'mocap' in path:  # nothing there has a body
            continue
        assert types >= {'MeshAffine', 'SyntheticBodyDataset'}
        if 'postometro' in path:
            assert types >= {'MeshEstimator', 'MeshMetric'}
        assert all(body == dict(path=value) for _, body in parts), parts


def test_another_body_trains_and_is_measured(tall_body, monkeypatch):
    init_default_scope('mmpose')
    name = 'postometro/image-only_res18_synthetic-96x96.py'
    path = osp.join(ROOT, 'configs', name)
    own = Config.fromfile(path)
    monkeypatch.setenv('MPM_POSTOMETRO_BODY', tall_body)
    cfg = Config.fromfile(path)
    model = MODELS.build(cfg.model)
    dataset, batch = _samples(cfg, 'train_dataloader')
    assert model.body.identity == load_body(tall_body).identity
    data = model.data_preprocessor(batch, training=True)
    loss, _ = model.parse_losses(model(**data, mode='loss'))
    assert torch.isfinite(loss)
    # Labels are this body's: the joints of the true mesh are the true joints.
    targets = model.targets(data['inputs'], data['data_samples'])
    joints = model.body.regress_joints(targets.vertices[-1], 'j14')
    difference = joints - targets.joints_3d
    assert (difference - difference[:, :1]).abs().max() < 1e-4

    model.eval()
    with torch.no_grad():
        results = [r.to_dict() for r in model.test_step(batch)]
    metric = METRICS.build(cfg.test_evaluator)
    metric.process(batch, results)
    assert np.isfinite(metric.evaluate(len(results))['mesh/mpvpe'])

    # A part that is forgotten is named, though the numbers of vertices agree.
    built_in, tall = load_body().identity, model.body.identity
    with pytest.raises(
            ValueError,
            match=f'MeshMetric has .*{built_in}, but predictions have {tall}'):
        METRICS.build(own.test_evaluator).process(batch, results)
    _, batch = _samples(own, 'train_dataloader')
    data = model.data_preprocessor(batch, training=True)
    with pytest.raises(
            ValueError, match=f'{tall}, but labels have {built_in}'):
        model(**data, mode='loss')
