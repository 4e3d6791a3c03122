# Copyright (c) The mpm_postometro authors. All rights reserved.
import os.path as osp
import runpy

import cv2
import pytest
from tiny_tsv import pictures, write_images

TOOL = osp.join(
    osp.dirname(__file__), '../../tools/analysis_tools/benchmark_tsv.py')


@pytest.fixture
def main():
    threads = cv2.getNumThreads()
    yield runpy.run_path(TOOL)['main']
    cv2.setNumThreads(threads)


def test_table_beside_files(main, capsys):
    main('--images 12 --size 64 48 --workers 0 1'.split())
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith('12 images')
    rows = [line.split() for line in lines[-2:]]
    assert [row[0] for row in rows] == ['0', '1']
    assert all(float(x) > 0 for row in rows for x in row[1:])
    assert len(rows[0]) == 3


def test_given_table(main, capsys, tmp_path):
    path = write_images(tmp_path / 'a.img.tsv', pictures(5))
    main(['--tsv', str(path), '--images', '9', '--workers', '0'])
    last = capsys.readouterr().out.splitlines()[-1].split()
    assert last[0] == '0' and len(last) == 2
