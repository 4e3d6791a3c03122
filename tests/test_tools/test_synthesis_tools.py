# Copyright (c) The mpm_postometro authors. All rights reserved.
"""The tools that show and time the built-in data set, at tiny size."""
import importlib.util
import re
import sys

import cv2
import pytest


@pytest.fixture
def main(repo_root, monkeypatch):
    """Run ``main`` of an analysis tool with arguments."""
    threads = cv2.getNumThreads()
    for name in ('OMP', 'OPENBLAS', 'MKL'):  # the benchmark sets them
        monkeypatch.setenv(f'{name}_NUM_THREADS', '1')

    def run(name, *arguments):
        file = repo_root / 'tools' / 'analysis_tools' / f'{name}.py'
        spec = importlib.util.spec_from_file_location(name, file)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setattr(sys, 'argv', [name, *map(str, arguments)])
        module.main()

    yield run
    cv2.setNumThreads(threads)


@pytest.mark.parametrize('labels', [False, True])
def test_contact_sheet(main, tmp_path, capsys, labels):
    out = tmp_path / 'sheet.png'
    main('browse_synthetic', out, '--rows', 2, '--columns', 3, '--size', 40,
         *['--labels'] * labels)
    assert f'wrote {out}' in capsys.readouterr().out
    sheet = cv2.imread(str(out))
    assert sheet.shape == (80, 120, 3)
    green = (sheet == (80, 220, 80)).all(-1).any()  # keypoints that are seen
    assert green == labels


def test_benchmark_prints_speeds_and_statistics(main, capsys):
    main('benchmark_synthesis', '--sizes', 40, '--images', 2, '--statistics',
         12)
    text = capsys.readouterr().out
    speeds = re.findall(r'(?:40 x 40|labels only) +([\d.]+) +([\d.]+)', text)
    assert len(speeds) == 2
    assert all(float(value) > 0 for row in speeds for value in row)
    assert '12 items' in text
    shares = [float(v) for v in re.findall(r'\.\. +[\d.-]+ +([\d.]+) %', text)]
    assert sum(shares) == pytest.approx(200, abs=2)  # two histograms
    error = re.search(r'best constant pose: PA-MPJPE (\d+) mm', text)
    assert 50 < int(error[1]) < 250
