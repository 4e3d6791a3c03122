# Copyright (c) The mpm_postometro authors. All rights reserved.
import os.path as osp
import subprocess
import sys

import numpy as np

TOOL = osp.join(
    osp.dirname(osp.dirname(osp.dirname(osp.abspath(__file__)))), 'tools',
    'analysis_tools', 'compare_quickstarts.py')


def write_run(folder, image_only, postometro, occlusion, order):
    (folder / 'evaluation').mkdir(parents=True)
    ids = np.arange(len(occlusion))
    for name, errors in (('image_only', image_only), ('postometro',
                                                      postometro)):
        rows = ids if name == 'image_only' else np.array(order)
        errors = np.array(errors, float)[rows]
        np.savez(
            folder / 'evaluation' / f'{name}.npz',
            id=rows,
            occlusion=np.array(occlusion)[rows],
            mpjpe=errors,
            pa_mpjpe=errors / 2,
            mpvpe=errors + 1,
            protocol='metro')


def run_tool(*folders):
    return subprocess.run([sys.executable, TOOL, *map(str, folders)],
                          capture_output=True,
                          text=True)


def test_rows_by_occlusion_and_pairing(tmp_path):
    occlusion = [.1, .2, .3, 1.]
    write_run(tmp_path / 'a', [100, 110, 200, 300], [90, 106, 180, 310],
              occlusion, [3, 1, 0, 2])
    write_run(tmp_path / 'b', [102, 108, 200, 300], [90, 106, 180, 310],
              occlusion, [0, 1, 2, 3])
    result = run_tool(tmp_path / 'a', tmp_path / 'b')
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    first = lines[lines.index('mpjpe (mm)') + 2:]
    assert first[2] == ('| all | 4 | 177.5 | 177.5 | 171.5 | 171.5 | '
                        '6.0 (6.4) |')
    assert first[3] == ('| 0.00-0.25 | 2 | 105.0 | 105.0 | 98.0 | 98.0 | '
                        '7.0 (4.0) |')
    assert first[5] == ('| 0.75-1.00 | 1 | 300.0 | 300.0 | 310.0 | 310.0 | '
                        '-10.0 (0.0) |')


def test_unfinished_run_is_named(tmp_path):
    result = run_tool(tmp_path)
    assert result.returncode != 0
    assert 'image_only.npz is missing' in result.stderr
