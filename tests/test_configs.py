# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Every config builds, does a step forward and backward, and predicts."""
import os.path as osp
from glob import glob
from typing import Optional

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.optim import build_optim_wrapper
from mmengine.registry import init_default_scope
from mmpose.registry import DATASETS, METRICS, MODELS
from published_people import write_published_people
from tiny_people import write_coco, write_mpii
from tiny_sequences import write_3dhp, write_amass, write_h36m, write_mocap

from mpm_postometro.bodies import load_body
from mpm_postometro.bodies.body_io import OPEN_BODY

ROOT = osp.dirname(osp.dirname(osp.abspath(__file__)))
CONFIGS = sorted(
    osp.relpath(path, osp.join(ROOT, 'configs'))
    for path in glob(osp.join(ROOT, 'configs', '**', '*.py'), recursive=True)
    if '_base_' not in path)


@pytest.fixture(scope='module')
def data(tmp_path_factory):
    """Folder with the data sets that configs name, of a few people each."""
    folder = tmp_path_factory.mktemp('data_sets')
    write_coco(folder / 'data' / 'coco')
    write_mpii(folder / 'data' / 'mpii')
    write_h36m(folder / 'data' / 'h36m')
    write_3dhp(folder / 'data' / '3dhp')
    write_amass(folder / 'data' / 'amass')
    write_mocap(folder / 'data' / 'cmu_mocap')
    write_published_people(folder / 'data')
    return folder


def _samples(cfg, loader: str, *which: int) -> tuple:
    """Data set of a config and a batch from it, without a cache."""
    dataset_cfg = cfg[loader].dataset
    if dataset_cfg.type == 'SyntheticBodyDataset':
        dataset_cfg.length = 4
        dataset_cfg.cache_dir = None
    dataset = DATASETS.build(dataset_cfg)
    return dataset, pseudo_collate([dataset[i] for i in which or (0, 1)])


def test_there_are_configs():
    assert 'postometro_hrnet48.py' in CONFIGS
    assert len(CONFIGS) >= 95


# Of a published network stays what holds it together: joints, tokens, sizes
# of the maps. Its layers become few and narrow.
_SMALL = dict(
    TimmSwinV2=dict(embed_dim=16, depths=(1, 1, 2, 1), num_heads=(1, 2, 2, 4)),
    ResNet=dict(base_channels=8),
    HRNet=dict(
        extra=dict(
            stage1=dict(num_blocks=(1, ), num_channels=(4, )),
            stage2=dict(num_blocks=(1, 1), num_channels=(4, 8)),
            stage3=dict(
                num_modules=1, num_blocks=(1, 1, 1), num_channels=(4, 8, 12)),
            stage4=dict(
                num_modules=1,
                num_blocks=(1, 1, 1, 1),
                num_channels=(4, 8, 12, 16)))),
    HRNetClassificationNeck=dict(
        in_channels=(4, 8, 12, 16), channels=(8, 8, 8, 8), out_channels=16),
    MPM=dict(channels=32, hidden_channels=48, feedforward_channels=48),
    MPMDecoderHead=dict(channels=32, feedforward_channels=48),
    MPMLiftingHead=dict(channels=32, feedforward_channels=48),
    PostoMETROHead=dict(
        hidden_dims=(32, 16), feedforward_dims=(32, 32), num_heads=2),
    PCTHead=dict(conv_channels=8, hidden_channels=8, channel_hidden=8),
    PCTTokenizer=dict(
        num_codes=64,
        token_dim=16,
        encoder=dict(channels=16, channel_hidden=16)))
_SMALL_CHANNELS = dict(TimmSwinV2=128, ResNet=256, HRNet=16)


def _shrunk_channels(backbone) -> int:
    """Channels of the last map of a backbone that is made small."""
    if backbone.type == 'HRNet' and \
            not backbone.extra.stage4.multiscale_output:
        return 4
    return _SMALL_CHANNELS[backbone.type]


def _shrink(node, channels: Optional[dict] = None) -> None:
    """Shrink the networks in the config of a model."""
    channels = dict(channels or {})
    for name, key in (('backbone', 'in_channels'), ('guide_backbone',
                                                    'guide_channels')):
        if node.get(name) and node[name].type in _SMALL_CHANNELS:
            channels[key] = _shrunk_channels(node[name])
    node.update({k: v for k, v in channels.items() if k in node})
    node.update(Config._merge_a_into_b(_SMALL.get(node.get('type'), {}), node))
    if node.get('token_dim') == 512:  # not where tokens are coordinates
        node['token_dim'] = _SMALL['PCTTokenizer']['token_dim']
    for part in node.values():
        if isinstance(part, dict):
            _shrink(part, channels)


# Configs of published networks on published data.
PUBLISHED = ('f.py', '224x224.py', '_256x256.py',
             *(f'_{data}-256x256.py'
               for data in ('coco', 'mpii', 'mix', '3dpw', '3doh', 'h36m-p2')))


@pytest.mark.parametrize('path', CONFIGS)
def test_config_trains_and_predicts(path, data, monkeypatch):
    monkeypatch.chdir(data)
    monkeypatch.delenv('MPM_POSTOMETRO_MOCAP', raising=False)
    monkeypatch.setenv('MPM_POSTOMETRO_BODY', 'built-in')
    torch.manual_seed(0)
    init_default_scope('mmpose')
    cfg = Config.fromfile(osp.join(ROOT, 'configs', path))
    if 'TimmSwinV2' in str(cfg._cfg_dict):  # its text would take seconds
        pytest.importorskip('timm', reason='SwinV2 needs timm')
    if path.endswith(PUBLISHED):
        _shrink(cfg.model)
    model = MODELS.build(cfg.model)
    model.train()
    # the first and the last: of several data sets, two
    _, batch = _samples(cfg, 'train_dataloader', 0, -1)
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
        last = model.backbone.extra['stage4']['num_modules'] - 1
        without = [n for n in without if f'stage4.{last}.fuse_layers' not in n]
    assert not without, without
    assert all(
        torch.isfinite(p.grad).all() for p in trained.values()
        if p.grad is not None)

    # Half precision needs a GPU.
    wrapper = build_optim_wrapper(model, {
        **cfg.optim_wrapper, 'type': 'OptimWrapper'
    })
    optimized = {
        id(p)
        for group in wrapper.param_groups
        for p in group['params']
    }
    assert {id(p) for p in trained.values()} <= optimized

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
        unknown = {k for k, v in values.items() if v != v}
        if 'h36m-p2' in path:  # joints were measured, and no body
            assert unknown == {'mesh/mpvpe', 'mesh/pa_mpvpe'}
        else:
            assert values and not unknown


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


WITH_BODY = ('H36MPersonDataset', 'MeshAffine', 'MeshEstimator', 'MeshMetric',
             'MuCoDataset', 'SyntheticBodyDataset', 'ThreeDOHDataset',
             'ThreeDPWDataset', 'UP3DDataset')


def _measured(node) -> bool:
    """Whether labels are measured joints and no body."""
    return node['type'] == 'H36MPersonDataset' and not node.get('fits')


def _bodies(node) -> list:
    """Type and body of all parts of a config that have one."""
    if isinstance(node, dict):
        found = [
            (node['type'], node.get('body', 'none'))
        ] if node.get('type') in WITH_BODY and not _measured(node) else []
        return found + [pair for v in node.values() for pair in _bodies(v)]
    if isinstance(node, (list, tuple)):
        return [pair for v in node for pair in _bodies(v)]
    return []


BODY_CONFIGS = [p for p in CONFIGS if 'synthetic' in p or 'postometro' in p]


@pytest.mark.parametrize('path', BODY_CONFIGS)
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
        assert 'MeshAffine' in types and len(types) >= 2
        if 'postometro' in path:
            assert types >= {'MeshEstimator', 'MeshMetric'}
        # real labels belong to SMPL
        own = None if 'SyntheticBodyDataset' in types else 'smpl'
        assert all(body == dict(path=value or own) for _, body in parts), parts


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
