# Copyright (c) The mpm_postometro authors. All rights reserved.
"""tools/model_converters/convert_mpm.py, run in this process."""
import os.path as osp
import runpy
import sys

import pytest
import torch
from mmengine.runner import load_checkpoint
from mmpose.registry import MODELS
from torch import nn

TOOL = osp.join(
    osp.dirname(osp.abspath(__file__)),
    '../../tools/model_converters/convert_mpm.py')
SIZES = dict(num_joints=16, channels=16, feedforward_channels=12)


def build(kind, refiner=False):
    lifting = kind == 'lifting'
    heads = {
        '3d':
        dict(type='MPMLiftingHead', num_frames=27, strides=(3, 3, 3), **SIZES)
    } if lifting else {
        name: dict(type='MPMDecoderHead', coord_dims=int(name[0]), **SIZES)
        for name in ('2d', '3d')
    }
    tasks = [dict(source='2d', target='3d')]
    if not lifting:
        tasks = [dict(source=name, target=name) for name in ('2d', '3d')]
    model = MODELS.build(
        dict(
            type='MPMEstimator',
            backbone=dict(
                type='MPM',
                num_frames=27,
                hidden_channels=20,
                num_layers=2,
                modalities=('2d', ) if lifting else ('2d', '3d'),
                masking=not lifting,
                **SIZES),
            heads=heads,
            tasks=tasks,
            refiner=dict(type='MPMRefiner', num_joints=16, hidden_channels=8)
            if refiner else None))
    for value in model.state_dict().values():
        if value.is_floating_point():
            nn.init.normal_(value)
    return model


@pytest.fixture
def convert(monkeypatch, capsys):
    """Function: run the tool and return what it printed."""

    def run(*args):
        monkeypatch.setattr(sys, 'argv', [TOOL, *map(str, args)])
        runpy.run_path(TOOL, run_name='__main__')
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize('kind', ['masked', 'lifting'])
def test_there_and_back(convert, tmp_path, kind):
    model = build(kind)
    paths = [tmp_path / 'new' / f'{i}.pth' for i in range(4)]
    paths[0].parent.mkdir()
    torch.save(dict(state_dict=model.state_dict()), paths[0])
    convert('--to-official', paths[0], paths[1])
    official = torch.load(paths[1], weights_only=True)['state_dict']
    # The reference writes bare weights, of a data-parallel network.
    torch.save({f'module.{k}': v for k, v in official.items()}, paths[1])
    text = convert(paths[1], paths[2])
    assert text.splitlines()[:2] == [
        f'{paths[1]}: {kind}, {len(model.state_dict())} tensors',
        dict(
            masked='  27 frames of 16 joints, 2d and 3d, 2 layers of 16 '
            'channels; decoder of 2d, 1 layer; decoder of 3d, 1 layer',
            lifting='  27 frames of 16 joints, 2d, 2 layers of 16 channels; '
            'strides 3-3-3')[kind]
    ]
    assert 'dropped: ' in text and 'model.norm.a_2' in text
    loaded = build(kind)
    load_checkpoint(loaded, str(paths[2]), strict=True)
    for key, value in model.state_dict().items():
        assert loaded.state_dict()[key].equal(value), key
    convert('--to-official', paths[2], paths[3])
    again = torch.load(paths[3], weights_only=True)['state_dict']
    assert again.keys() == official.keys()
    assert all(again[key].equal(value) for key, value in official.items())
    # Nothing half written is left beside the results.
    assert sorted(p.name for p in paths[0].parent.iterdir()) == [
        '0.pth', '1.pth', '2.pth', '3.pth'
    ]


def test_refinement(convert, tmp_path):
    model = build('lifting', refiner=True)
    ours, official, refinement, back = (
        tmp_path / f'{i}.pth' for i in range(4))
    torch.save(dict(state_dict=model.state_dict()), ours)
    with pytest.raises(SystemExit, match='has a refinement: give'):
        convert('--to-official', ours, official)
    assert not official.exists()
    convert('--to-official', ours, official, '--refinement', refinement)
    text = convert(official, back, '--refinement', refinement)
    assert 'strides 3-3-3; refinement with 8 channels' in text
    state = torch.load(back, weights_only=True)['state_dict']
    assert state.keys() == model.state_dict().keys()
    assert all(state[k].equal(v) for k, v in model.state_dict().items())
    with pytest.raises(SystemExit, match='of kind refinement and .*lifting'):
        convert(refinement, back, '--refinement', official)
    with pytest.raises(SystemExit, match='has no refinement: leave out'):
        convert(official, back)
        convert('--to-official', back, official, '--refinement', refinement)


def test_a_broken_file_is_named_and_nothing_is_written(convert, tmp_path):
    source, target = tmp_path / 'lifting.pth', tmp_path / 'ours.pth'
    torch.save(dict(state_dict=build('lifting').state_dict()), source)
    convert('--to-official', source, source)
    state = torch.load(source, weights_only=True)['state_dict']
    del state['fcn.1.bias']
    torch.save(state, source)
    with pytest.raises(SystemExit) as error:
        convert(source, target)
    assert str(error.value) == (
        f'{source}: this is no lifting network of MPM; missing: fcn.1.bias')
    source.write_bytes(b'no checkpoint')
    with pytest.raises(SystemExit, match='lifting.pth'):
        convert(source, target)
    assert not target.exists()
