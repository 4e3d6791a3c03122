# Copyright (c) The mpm_postometro authors. All rights reserved.
"""The command on the small networks, with random weights."""
import importlib.util
import re

import cv2
import numpy as np
import pytest


@pytest.fixture
def tool(repo_root):
    file = repo_root / 'tools' / 'analysis_tools' / 'occlusion_sensitivity.py'
    spec = importlib.util.spec_from_file_location('occlusion_tool', file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def configs(repo_root):
    folder = repo_root / 'configs' / 'postometro'
    return [
        folder / f'{name}_res18_synthetic-96x96.py'
        for name in ('image-only', 'postometro')
    ]


def test_two_networks_side_by_side(tool, configs, tmp_path, capsys):
    out = tmp_path / 'out'
    tool.main([
        str(configs[0]), 'none',
        str(configs[1]), 'none', '--people', '3', '--occluder', '100',
        '--stride', '100', '--out-dir',
        str(out), '--cfg-options', 'test_dataloader.dataset.cache_dir=None',
        'test_dataloader.dataset.length=2'
    ])
    text = capsys.readouterr().out
    assert '2 people, 3 x 3 places' in text and 'left out' not in text
    rows = re.findall(r'^(image-only|postometro) +([\d.]+) +([\d.]+) ', text,
                      re.M)
    with np.load(out / 'maps.npz') as file:
        assert file['occluded'].shape == (2, 2, 3, 3, 14)
        means = np.nanmean(file['occluded'], (1, 2, 3, 4))
    assert [name for name, *_ in rows] == ['image-only', 'postometro']
    np.testing.assert_allclose([float(v) for *_, v in rows], means, atol=.06)
    written = sorted(p.relative_to(out).as_posix() for p in out.rglob('*.png'))
    assert written == [
        'joint_errors.png', 'joints/person_000000.png',
        'joints/person_000001.png', 'maps_00.png'
    ]
    assert all(cv2.imread(str(out / name)).shape[0] > 300 for name in written)


def test_what_is_wrong_is_said(tool, configs, tmp_path, capsys):
    config = str(configs[0])
    for arguments, message in (([config], 'checkpoint to each config'),
                               ([config, 'none'] * 2, 'a name of its own'),
                               ([config, 'none', '--people', '0'], '1 or'),
                               ([config, 'none', '--names', 'a',
                                 'b'], 'a name of its own')):
        with pytest.raises(SystemExit):
            tool.main([*arguments, '--out-dir', str(tmp_path)])
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit, match='absent.pth'):
        tool.main([
            config,
            str(tmp_path / 'absent.pth'), '--cfg-options',
            'test_dataloader.dataset.cache_dir=None'
        ])
    with pytest.raises(SystemExit, match='smaller than the crop'):
        tool.main([
            config, 'none', '--occluder', '300', '--cfg-options',
            'test_dataloader.dataset.cache_dir=None'
        ])
    assert not list(tmp_path.iterdir())
