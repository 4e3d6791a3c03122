# Copyright (c) The mpm_postometro authors. All rights reserved.
import importlib.util
import json

import numpy as np
import pytest
from mmengine.runner import Runner

TINY = ('--tokenizer-steps', '2', '--steps', '2', '--frozen-steps', '2',
        '--poses', '30', '--val-poses', '20', '--images', '32', '--val-images',
        '4', '--test-images', '6')


@pytest.fixture(scope='module')
def tool(repo_root):
    path = repo_root / 'tools' / 'analysis_tools' / 'pct_study.py'
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(path.parent)  # as for a tool that is started
        yield load(path)


def load(path):
    spec = importlib.util.spec_from_file_location('pct_study', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def cells(text):
    """Header and rows of a Markdown table."""
    lines = [[cell.strip() for cell in line.strip('|').split('|')]
             for line in text.strip().splitlines()]
    return lines[0], lines[2:]


def test_reconstruction_is_run_once(tool, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(tool, 'TOKENS', (4, 34))
    monkeypatch.setattr(tool, 'CODES', (256, ))
    command = ['reconstruction', '--work-dir', str(tmp_path), *TINY]
    tool.main(command)
    folder = tmp_path / 'reconstruction'
    header, rows = cells((folder / 'table.md').read_text())
    assert [row[:4] for row in rows] == [['synthetic', '4', '256', '32'],
                                         ['synthetic', '34', '256', '272']]
    assert 0 < float(rows[0][header.index('error (% of box)')]) < 100
    assert (folder / 'reconstruction.png').stat().st_size > 5000
    assert 'synthetic_34x256_seed0' in capsys.readouterr().out

    trained = []
    train = Runner.train
    monkeypatch.setattr(
        Runner, 'train',
        lambda self: trained.append(self.work_dir) or train(self))
    tool.main(command)
    assert not trained
    # Another config, another run; the rest is kept.
    result = json.loads(
        (folder / 'synthetic_4x256_seed0' / 'result.json').read_text())
    assert [row['step'] for row in result['history']] == [2]
    monkeypatch.setattr(tool, 'TOKENS', (4, 17, 34))
    tool.main(command)
    assert [path.split('/')[-1]
            for path in trained] == ['synthetic_17x256_seed0']
    monkeypatch.setattr(tool, 'TOKENS', (34, ))
    tool.main([*command, '--tokenizer-steps', '1'])
    assert len(trained) == 2


def test_heads_take_backbone_and_tokenizer_of_earlier_runs(
        tool, tmp_path, monkeypatch):
    loaded = []
    train = Runner.train

    def spy(self):
        cfg = self.cfg.model
        if 'backbone' in cfg:
            loaded.append((cfg.backbone.get('init_cfg', {}).get('checkpoint'),
                           cfg.head.get('tokenizer_checkpoint'),
                           cfg.backbone.frozen_stages))
        return train(self)

    monkeypatch.setattr(Runner, 'train', spy)
    tool.main([
        'heads', '--work-dir',
        str(tmp_path), '--cache-dir',
        str(tmp_path / 'cache'), *TINY
    ])
    folder = tmp_path / 'heads'
    backbone = str(folder / 'heatmap_from-scratch_seed0' / 'iter_2.pth')
    tokenizer = str(folder / 'tokenizer_seed0' / 'iter_2.pth')
    assert loaded == [(None, None, -1), (None, None, -1),
                      (None, tokenizer, -1), (backbone, None, 4),
                      (backbone, None, 4), (backbone, tokenizer, 4)]
    header, rows = cells((folder / 'table.md').read_text())
    assert [row[1] for row in rows] == [
        'tokenizer', *2 * ['HeatmapHead', 'RegressionHead', 'PCTHead']
    ]
    assert all(float(row[header.index('error (px)')]) > 0 for row in rows)
    assert 0 <= float(rows[3][header.index('tokens right')]) <= 1
    assert (folder / 'heads.png').is_file()


def test_revival_varies_the_codebook_alone(tool):
    args = tool.parse_args(['revival', '--seeds', '0', '1', *TINY])
    runs = tool.plan_revival(args)
    assert len({run.name for run in runs}) == len(runs) == 2 * 2 * 5
    settings = [run.options['model.tokenizer.quantizer'] for run in runs[:5]]
    assert settings[0] == dict(_delete_=True)
    assert settings[4]['distance'] == 'cosine'


def test_table_of_revival_and_its_range_over_seeds(tool, tmp_path):

    def result(codebook, seed, usage):
        return dict(
            data='synthetic',
            codebook=codebook,
            codes=256,
            seed=seed,
            history=[{
                'step': step,
                'codebook/usage': share,
                'codebook/perplexity': 100 * share,
                'keypoint/epe': 10 - share
            } for step, share in enumerate(usage)])

    results = [
        result('a', 0, [.1, .2]),
        result('b', 0, [.5, .9]),
        result('a', 1, [.1, .4])
    ]
    text = tool.report_revival(results, str(tmp_path / 'plot.png'))
    _, rows = cells(text)
    assert rows == [
        [
            'synthetic', '256', 'a', '0.30 (0.20 to 0.40)', '30 (20 to 40)',
            '9.70 (9.60 to 9.80)'
        ],
        ['synthetic', '256', 'b', '0.90', '90', '9.10'],
    ]
    assert (tmp_path / 'plot.png').is_file()


def test_flips_of_prepared_data_are_drawn_once(tool, monkeypatch):
    monkeypatch.setattr(tool.PreparedDataset, '_kept', {})
    source = dict(
        type='SyntheticBodyDataset',
        length=6,
        keypoints_only=True,
        image_size=64,
        pipeline=[
            dict(type='GetBBoxCenterScale'),
            dict(type='MeshFlip', prob=0.5),
            dict(type='MeshAffine', input_size=(96, 96)),
            dict(type='PackKeypointInputs')
        ])
    data = tool.PreparedDataset(source, rounds=3)
    assert len(data) == 18
    again = tool.PreparedDataset(source, rounds=3)
    first = [item['inputs'] for item in data]
    assert all((a == b['inputs']).all() for a, b in zip(first, again))
    assert len({tuple(np.ravel(x)) for x in first}) > 6
    # What a run writes into a sample is not there for the next.
    sample = data[0]['data_samples']
    sample.pred_instances = sample.gt_instances
    assert 'pred_instances' not in data[0]['data_samples']
    assert set(tool.PreparedDataset(source, inputs_only=True)[0]) == {'inputs'}
