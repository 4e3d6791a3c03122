# Copyright (c) The mpm_postometro authors. All rights reserved.
import importlib.util
import json

import pytest


@pytest.fixture
def tool(repo_root, monkeypatch):
    path = repo_root / 'tools' / 'analysis_tools' / 'benchmark_networks.py'
    monkeypatch.syspath_prepend(path.parent)  # as for a tool that is started
    spec = importlib.util.spec_from_file_location('benchmark_networks', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_images_per_second(tool, repo_root, tmp_path, monkeypatch, capsys):
    shapes = {}

    def timed(functions, rounds, device):
        for name, predict in functions.items():
            samples = predict()
            shapes[name] = [
                tuple(sample.pred_instances.vertices.shape)
                for sample in samples
            ]
        return dict.fromkeys(functions, .5)

    monkeypatch.setattr(tool, 'best_times', timed)
    names = [
        'image-only_res18_synthetic-96x96', 'postometro_res18_synthetic-96x96'
    ]
    out = tmp_path / 'speed.json'
    tool.main([
        *(str(repo_root / 'configs' / 'postometro' / f'{name}.py')
          for name in names), '--batch-size', '2', '--threads', '1',
        '--freed-memory', 'returned', '--device', 'cpu', '--out',
        str(out)
    ])
    assert shapes == dict.fromkeys(names, [(1, 6890, 3)] * 2)
    assert json.loads(out.read_text())['networks'] == dict.fromkeys(names, 4.)
    assert f'| {names[1]} | 4.00 |' in capsys.readouterr().out
