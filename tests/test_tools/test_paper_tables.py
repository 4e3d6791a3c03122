# Copyright (c) The mpm_postometro authors. All rights reserved.
import importlib.util
import json
import os.path as osp

import numpy as np
import pytest

# Of the published numbers of each table.
SUMS = {
    1: 4589.1,
    2: 2558.4,
    3: 2048.6,
    4: 3838.0,
    5: 1365.2,
    6: 342.1,
    7: 407.2,
    8: 198.2,
    9: 372.4,
    10: 461.2,
    11: 460.6
}
METRICS = ('mpjpe', 'pa_mpjpe', 'mpvpe')


@pytest.fixture(scope='module')
def tool(repo_root):
    path = repo_root / 'tools' / 'analysis_tools' / 'paper_tables.py'
    spec = importlib.util.spec_from_file_location('paper_tables', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(folder, config, split, **errors):
    (folder / config).mkdir(exist_ok=True)
    np.savez(folder / config / f'{split}.npz',
             **{key: np.array(errors[key])
                for key in errors})


def row(text, method, ours=False):
    """Cells of the row of a method, or of the one with our numbers below."""
    lines = text.splitlines()
    at, = [i for i, line in enumerate(lines) if f'| {method}' in line]
    return [cell.strip() for cell in lines[at + ours].strip('|').split('|')]


def test_rows_fit_their_columns_and_every_config_is_there(tool, repo_root):
    for table in tool.TABLES:
        for line in table.rows:
            assert len(line.published) == len(table.columns), line
            if line.config is not None:
                assert osp.isfile(repo_root / 'configs' / 'postometro' /
                                  f'{line.config}.py'), line
    assert sorted({t.number for t in tool.TABLES}) == list(range(1, 12))


def test_splits_are_those_of_the_data_sets(tool):
    from mpm_postometro.datasets.body.threedpw_dataset import _SPLITS
    splits = {split for table in tool.TABLES for split, _ in table.columns}
    assert splits <= {*_SPLITS, '3DOH', 'time'}


def test_nothing_is_trained_here(tool, tmp_path, capsys):
    tool.main(['--work-dirs', str(tmp_path)])
    text = capsys.readouterr().out
    for number in range(1, 12):
        assert f'### Table {number}:' in text
    assert row(text, 'both') == [
        'both', '84.0', '50.0', '97.8', '62.4', '83.1', '48.2', ''
    ]
    assert row(
        text, 'both', ours=True) == [
            '... ours', *6 * '-',
            '`postometro_res50_mix-256x256`: not trained here'
        ]
    # methods of others have no numbers of ours to wait for
    assert row(text, 'VIBE (ResNet-50)')[-1] == ''
    assert 'ours' not in row(text, 'VIBE (ResNet-50)', ours=True)[0]
    assert row(text, 'VIBE  ')[1] == '-'


def test_our_numbers_are_means_over_known_people(tool, tmp_path, capsys):
    name = 'postometro_res50_mix-256x256'
    write(
        tmp_path,
        name,
        'OCC',
        mpjpe=[80., 90.],
        pa_mpjpe=[50., np.nan],
        mpvpe=[np.nan, np.nan])
    out = tmp_path / 'tables.md'
    tool.main([
        '--work-dirs',
        str(tmp_path), '--tables', '2', '5', '--out',
        str(out)
    ])
    text = capsys.readouterr().out
    assert row(
        text, 'PostoMETRO (ResNet-50) |  93.5',
        ours=True)[1:] == ['-', '85.0', '50.0', f'`{name}`: 2 people']
    assert row(
        text, 'both',
        ours=True)[1:] == ['85.0', '50.0', *4 * '-', f'`{name}`: 2 people']
    assert 'Table 3' not in text
    assert out.read_text() == text

    write(tmp_path, name, 'PC', **dict.fromkeys(METRICS, [10., 20., 30.]))
    tool.main(['--work-dirs', str(tmp_path), '--tables', '5'])
    assert row(
        capsys.readouterr().out, 'both', ours=True)[1:] == [
            '85.0', '50.0', '20.0', '20.0', '-', '-',
            f'`{name}`: OCC: 2 people, PC: 3 people'
        ]


def test_another_protocol_is_named(tool, tmp_path, capsys):
    write(
        tmp_path,
        'postometro_res50_mix-256x256',
        'OCC',
        protocol='spin',
        **dict.fromkeys(METRICS, [10.]))
    tool.main(['--work-dirs', str(tmp_path), '--tables', '2'])
    assert "1 people, spin's protocol" in row(
        capsys.readouterr().out, 'PostoMETRO (ResNet-50) |  93.5', True)[-1]


def test_published_numbers(tool):
    """The sum of each table's numbers, added up from the paper."""
    sums = {}
    for table in tool.TABLES:
        sums[table.number] = sums.get(table.number, 0) + sum(
            value for line in table.rows
            for value in line.published if value is not None)
    assert {k: round(v, 1) for k, v in sums.items()} == SUMS


def test_images_per_second(tool, tmp_path, capsys):
    path = tmp_path / 'speed.json'
    path.write_text(
        json.dumps(dict(networks={'postometro_res50_mix-256x256': 7.25})))
    tool.main(
        ['--work-dirs',
         str(tmp_path), '--tables', '4', '--speed',
         str(path)])
    text = capsys.readouterr().out
    assert row(text, 'PostoMETRO (ResNet-50)', True)[1:3] == ['-', '7.2']
    assert 'not trained here' in row(text, 'PostoMETRO (HRNet-W48)', True)[-1]


@pytest.mark.parametrize('what', ['results', 'speed'])
def test_other_files_are_refused(tool, tmp_path, what):
    if what == 'results':
        write(tmp_path, 'postometro_res50_mix-256x256', 'OCC', mpjpe=[1.])
        with pytest.raises(ValueError, match=r"OCC.npz has no .*'mpvpe'"):
            tool.main(['--work-dirs', str(tmp_path)])
    else:
        path = tmp_path / 'speed.json'
        path.write_text('{}')
        with pytest.raises(ValueError, match="speed.json has no 'networks'"):
            tool.main(['--speed', str(path)])
