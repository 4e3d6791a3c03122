# Copyright (c) The mpm_postometro authors. All rights reserved.
"""tools/model_converters/convert_postometro.py, run in this process."""
import os
import os.path as osp
import runpy
import sys

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint
from mmpose.registry import MODELS
from torch import nn

ROOT = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))
TOOL = osp.join(ROOT, 'tools', 'model_converters', 'convert_postometro.py')
FASTMETRO = """
model = dict(
    type='MeshEstimator',
    backbone=dict(type='ResNet', depth=50, stem_channels=4, base_channels=2),
    head=dict(
        type='PostoMETROHead',
        in_channels=64,
        hidden_dims=(16, 8),
        feedforward_dims=(12, 10),
        num_layers=1,
        num_heads=2,
        use_pose_tokens=False,
        learned_upsample=True))
"""
POSTOMETRO = FASTMETRO + """
model.update(
    pose_branch=dict(
        type='TopdownPoseEstimator',
        backbone=dict(
            type='TimmSwinV2',
            embed_dim=8,
            depths=(1, 1, 1, 1),
            num_heads=(1, 1, 2, 2),
            img_size=64,
            window_size=(4, 4, 4, 2),
            pretrained_window_sizes=(3, 3, 3, 2)),
        head=dict(
            type='PCTHead',
            in_channels=64,
            feat_size=(2, 2),
            conv_channels=8,
            tokenizer=dict(
                type='PCTTokenizer',
                num_codes=16,
                token_dim=12,
                guide_ratio=0.5,
                guide_channels=64))))
model['head'].update(
    use_pose_tokens=True,
    official_compat=True,
    token_dim=12,
    pose_modulator=dict(num_blocks=1))
"""
PUBLISHED_S = osp.join('configs', 'postometro', 'fastmetro-s_res50_224x224.py')


def build(config):
    init_default_scope('mmpose')
    model = MODELS.build(Config.fromfile(config).model)
    for value in model.state_dict().values():
        if value.is_floating_point():
            nn.init.normal_(value)
    return model


@pytest.fixture
def config(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text(FASTMETRO)
    return path


@pytest.fixture
def convert(monkeypatch, capsys):
    """Function: run the tool and return what it printed."""

    def run(*args):
        monkeypatch.setattr(sys, 'argv', [TOOL, *map(str, args)])
        runpy.run_path(TOOL, run_name='__main__')
        return capsys.readouterr().out

    return run


def there_and_back(convert, config, tmp_path):
    """Texts of both ways, after a look at the files."""
    model = build(config)
    paths = [tmp_path / f'{i}.pth' for i in range(4)]
    torch.save(dict(state_dict=model.state_dict()), paths[0])
    first = convert('--to-official', '--config', config, paths[0], paths[1])
    official = torch.load(paths[1], weights_only=True)
    # As a data-parallel training writes it.
    torch.save({f'module.{k}': v for k, v in official.items()}, paths[1])
    second = convert('--config', config, paths[1], paths[2])
    loaded = build(config)
    load_checkpoint(loaded, str(paths[2]), strict=True)
    loaded = loaded.state_dict()
    for key, value in model.state_dict().items():
        assert loaded[key].equal(value), key
    convert('--to-official', '--config', config, paths[2], paths[3])
    again = torch.load(paths[3], weights_only=True)
    assert again.keys() == official.keys()
    assert all(again[key].equal(value) for key, value in official.items())
    # Nothing half written is left beside the results.
    assert {path.name
            for path in tmp_path.iterdir()
            } == {'config.py', '0.pth', '1.pth', '2.pth', '3.pth'}
    return first.splitlines(), second.splitlines()


def test_fastmetro_there_and_back(convert, config, tmp_path):
    texts = there_and_back(convert, config, tmp_path)
    assert texts[1] == [
        f'{tmp_path / "1.pth"}: fastmetro, 403 tensors',
        '  backbone: ResNet-50',
        '  head: 1 layer of 16-8 channels, map of 64 channels, 14 joints, '
        '431 -> 1723 vertices',
        f'  fits: {config}',
        f'wrote {tmp_path / "2.pth"}',
        "Its mesh is SMPL's: name the body with MPM_POSTOMETRO_BODY "
        '(docs/body.md).',
    ]
    assert texts[0][1:4] == texts[1][1:4]
    assert texts[0][-1] == f'wrote {tmp_path / "1.pth"}'
    meta = torch.load(tmp_path / '2.pth', weights_only=True)['meta']
    assert meta == dict(kind='fastmetro', converted_from='1.pth')


def test_postometro_there_and_back(convert, config, tmp_path):
    pytest.importorskip('timm', reason='TimmSwinV2 builds on timm')
    config.write_text(POSTOMETRO)
    texts = there_and_back(convert, config, tmp_path)
    assert texts[1][2:6] == [
        '  head: 1 layer of 16-8 channels, map of 64 channels, 14 joints, '
        '431 -> 1723 vertices',
        '  pose modulator: 34 tokens of 12 channels, 1 mixers',
        '  pose branch: SwinV2, 8 channels, 1-1-1-1 blocks; guide ratio 0.5',
        '  left out, as no prediction needs it: 91 tensors, '
        'pct.extra_backbone.*',
    ]
    assert not any('left out' in line for line in texts[0])


def test_published_size_names_its_config(convert, tmp_path):
    source, target = tmp_path / 's.bin', tmp_path / 'new' / 'ours.pth'
    model = build(osp.join(ROOT, PUBLISHED_S))
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'ours.pth')
    convert('--to-official', '--config', osp.join(ROOT, PUBLISHED_S),
            tmp_path / 'ours.pth', source)
    state = torch.load(source, weights_only=True)
    state['smpl_parameter_regressor.layers.weight'] = torch.zeros(1)
    torch.save(state, source)
    text = convert(source, target)
    assert f'  fits: {PUBLISHED_S}\n' in text
    assert ('left out, as no prediction needs it: 1 tensors, '
            'smpl_parameter_regressor.layers.*\n') in text
    text = convert('--head-only', source, target)
    assert 'backbone.0.*' in text and 'backbone: ' not in text
    state = torch.load(target, weights_only=True)['state_dict']
    assert all(key.startswith('head.') for key in state)


class Command:
    """Runs a command when a file is read in the usual way."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f'touch {self.mark}', )


def test_unusable_files_leave_nothing(convert, config, tmp_path):
    source, target = tmp_path / 'source.pth', tmp_path / 'target.pth'
    state = build(config).state_dict()

    def refused(*args, write=None):
        if write is not None:
            torch.save(write, source)
        with pytest.raises(SystemExit) as error:
            convert(*args, source, target)
        assert not target.exists()
        return str(error.value)

    assert 'can not be found' in refused()
    assert 'conv.weight' in refused(write={'conv.weight': torch.zeros(1)})
    assert 'but got list' in refused(write=[1, 2])
    mark = tmp_path / 'ran'
    assert 'refused' in refused(write=dict(state, evil=Command(mark)))
    assert not mark.exists()
    # Ours, taken for a published one.
    message = refused(write=state)
    assert 'source.pth: head.coordinate_head.weight is a name of' in message
    convert('--to-official', '--config', config, source, tmp_path / 'o.pth')
    whole = (tmp_path / 'o.pth').read_bytes()
    source.write_bytes(whole[:len(whole) // 2])
    assert 'damaged' in refused()
    source.write_bytes(whole)
    message = refused('--config', osp.join(ROOT, PUBLISHED_S))
    assert 'head.xyz' not in message
    assert 'head.image_proj.weight (16, 64, 1, 1), expected (512' in message
    official = torch.load(source, weights_only=True)
    del official['cam_predictor.bias']
    assert refused(write=official).endswith('missing: cam_predictor.bias')


def test_help_and_options(convert, capsys):
    for args, text in ((['-h'], 'Turn checkpoints of FastMETRO'),
                       (['--to-official', 'a',
                         'b'], '--to-official needs --config')):
        with pytest.raises(SystemExit):
            convert(*args)
        shown = capsys.readouterr()
        assert text in shown.out + shown.err
