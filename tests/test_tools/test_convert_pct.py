# Copyright (c) The mpm_postometro authors. All rights reserved.
"""tools/model_converters/convert_pct.py, run in this process."""
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

pytest.importorskip('timm', reason='TimmSwinV2 builds on timm')

ROOT = osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__))))
TOOL = osp.join(ROOT, 'tools', 'model_converters', 'convert_pct.py')
TOKENIZER = osp.join(ROOT, 'configs', 'pct', 'pct_tokenizer_coco-256x256.py')
CLASSIFIER = """
model = dict(
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
        tokenizer=dict(type='PCTTokenizer', num_codes=16)))
"""


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
    path.write_text(CLASSIFIER)
    return path


@pytest.fixture
def convert(monkeypatch, capsys):
    """Function: run the tool and return what it printed."""

    def run(*args):
        monkeypatch.setattr(sys, 'argv', [TOOL, *map(str, args)])
        runpy.run_path(TOOL, run_name='__main__')
        return capsys.readouterr().out

    return run


def test_there_and_back(convert, config, tmp_path):
    model = build(config)
    paths = [tmp_path / f'{i}.pth' for i in range(4)]
    torch.save(dict(state_dict=model.state_dict()), paths[0])
    text = convert('--to-official', '--config', config, paths[0], paths[1])
    assert 'windows 4-4-4-2 (pre-training 3-3-3-2)' in text
    official = torch.load(paths[1], weights_only=True)['state_dict']
    key = 'backbone.layers.0.blocks.0.attn.relative_coords_table'
    assert official[key].shape == (1, 7, 7, 2)

    # As a data-parallel training writes it.
    torch.save(
        dict(state_dict={
            f'module.{k}': v
            for k, v in official.items()
        }), paths[1])
    text = convert('--config', config, paths[1], paths[2])
    assert text.splitlines() == [
        f'{paths[1]}: classifier, {len(model.state_dict())} tensors',
        '  backbone: SwinV2, 8 channels, 1-1-1-1 blocks, windows 4-4-4-2 '
        '(pre-training 3-3-3-2)',
        '  head: classifier, 2x2 cells of 64 channels',
        '  tokenizer: 17 joints, 34 tokens, 16 codes of 512 channels, guide '
        'ratio 0',
        f'  fits: {config}',
        f'wrote {paths[2]}',
    ]
    loaded = build(config)
    load_checkpoint(loaded, str(paths[2]), strict=True)
    for key, value in model.state_dict().items():
        assert loaded.state_dict()[key].equal(value), key
    convert('--to-official', '--config', config, paths[2], paths[3])
    again = torch.load(paths[3], weights_only=True)['state_dict']
    assert again.keys() == official.keys()
    assert all(again[key].equal(value) for key, value in official.items())
    # Nothing half written is left beside the results.
    assert {path.name
            for path in tmp_path.iterdir()
            } == {'config.py', '0.pth', '1.pth', '2.pth', '3.pth'}


def test_windows_of_a_guided_tokenizer(convert, config, tmp_path):
    cfg = Config.fromfile(config)
    cfg.model = dict(
        type='TokenizerEstimator',
        guide_backbone=cfg.model.backbone,
        tokenizer=dict(
            type='PCTTokenizer',
            num_codes=16,
            guide_ratio=0.5,
            guide_channels=64))
    path = tmp_path / 'guided.py'
    cfg.dump(path)
    torch.save(
        dict(state_dict=build(path).state_dict()), tmp_path / 'ours.pth')
    text = convert('--to-official', '--config', path, tmp_path / 'ours.pth',
                   tmp_path / 'official.pth')
    assert 'guide_backbone: SwinV2' in text
    assert 'windows 4-4-4-2 (pre-training 3-3-3-2)' in text


def test_published_size_names_its_configs(convert, tmp_path):
    source, target = tmp_path / 'tokenizer.pth', tmp_path / 'new' / 'ours.pth'
    state = build(TOKENIZER).state_dict()
    torch.save(
        {
            'keypoint_head.' + key.replace('quantizer.', ''): value
            for key, value in state.items()
        }, source)
    text = convert(source, target)
    assert '17 joints, 34 tokens, 2048 codes of 512' in text
    assert 'fits: configs/pct/pct_tokenizer_coco-256x256.py\n' in text
    result = torch.load(target, weights_only=True)
    assert result['meta'] == dict(
        kind='tokenizer', converted_from='tokenizer.pth')
    assert result['state_dict'].keys() == state.keys()


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
    # Ours, taken for a published one.
    message = refused(write=state)
    assert 'source.pth: head.cls_pred_layer.weight is a name of' in message
    torch.save(dict(state_dict=state), source)
    convert('--to-official', '--config', config, source, tmp_path / 'o.pth')
    whole = (tmp_path / 'o.pth').read_bytes()
    source.write_bytes(whole[:len(whole) // 2])
    assert 'damaged' in refused()
    source.write_bytes(whole)
    message = refused('--config', TOKENIZER)
    assert "'TimmSwinV2'" in message and 'PCTTokenizer' in message
    assert not target.exists()


def test_help_and_options(convert, capsys):
    for args, text in ((['-h'], 'Turn released PCT'),
                       (['--to-official', '--kind', 'tokenizer', 'a',
                         'b'], '--kind picks from published files')):
        with pytest.raises(SystemExit):
            convert(*args)
        shown = capsys.readouterr()
        assert text in shown.out + shown.err
