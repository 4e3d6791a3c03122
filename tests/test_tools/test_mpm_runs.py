# Copyright (c) The mpm_postometro authors. All rights reserved.
"""MPM by tools/train.py and test.py: one process, two CPU processes,
resuming."""
import json
from pathlib import Path

import mmengine
import pytest
import torch
from mmengine.config import Config
from mmpose.registry import MODELS
from tiny_clips import write_mocap

from mpm_postometro.compat import load_checkpoint_file

HERE = Path(__file__).resolve().parent
PRETRAIN = HERE / 'tiny_pretrain_config.py'
MIXED = HERE / 'tiny_mixed_config.py'
LIFT = HERE / 'tiny_lift_config.py'


@pytest.fixture(scope='module')
def run_mpm(run, tmp_path_factory):
    """Runs a tool on motion capture; has its folder as ``mocap``."""
    folder = tmp_path_factory.mktemp('mocap')
    write_mocap(folder)

    def run_tool(*arguments, **kwargs):
        return run(*arguments, MPM_POSTOMETRO_MOCAP=str(folder), **kwargs)

    run_tool.mocap = folder
    return run_tool


def _scalars(work_dir):
    """The last value written for each (tag, step)."""
    values = {}
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in path.read_text().splitlines():
            record = json.loads(line)
            for tag in set(record) - {'step', 'time', 'data_time', 'memory'}:
                values[tag, record['step']] = record[tag]
    return values


def _weights(work_dir, epoch):
    path = work_dir / f'epoch_{epoch}.pth'
    return load_checkpoint_file(str(path))['state_dict']


def test_a_resumed_training_has_the_same_curve(run_mpm, tmp_path):
    whole, broken = tmp_path / 'whole', tmp_path / 'broken'
    run_mpm('train.py', PRETRAIN, '--work-dir', whole)
    train = ('train.py', PRETRAIN, '--work-dir', broken)
    output = run_mpm(*train, dies=True, TINY_DIE='1')
    assert 'interrupted on purpose' in output
    assert not (broken / 'epoch_2.pth').exists()
    assert 'resumed epoch: 1' in run_mpm(*train, '--resume')
    expected = _scalars(whole)
    assert _scalars(broken) == pytest.approx(expected, rel=1e-6)
    losses = [expected['loss', step] for step in range(1, 13)]
    assert losses[-1] < losses[0] and len(set(losses)) == 12
    assert {('pose3d/mpjpe_hidden', epoch)
            for epoch in (1, 2, 3)} <= set(expected)
    for name, value in _weights(whole, 3).items():
        torch.testing.assert_close(_weights(broken, 3)[name], value)


def test_a_process_without_3d_poses(run_mpm, tmp_path):
    """No process waits for a gradient that never comes.

    Gradients are means over processes, and a process that has nothing to say
    about 3D gives a zero: two processes, one with and one without 3D poses,
    do what one does that gives 3D half the weight.
    """
    one, two = tmp_path / 'one', tmp_path / 'two'
    run_mpm('train.py', MIXED, '--work-dir', one, '--cfg-options',
            'model.tasks.1.weight=1.')
    run_mpm('dist_train.sh', MIXED, 2, '--work-dir', two, '--cfg-options',
            'train_dataloader.batch_size=4')
    start, expected = _weights(one, 1), _weights(one, 2)
    found = _weights(two, 2)
    assert found.keys() == expected.keys()
    moved = 0
    for name, value in expected.items():
        torch.testing.assert_close(found[name], value, rtol=1e-5, atol=1e-5)
        moved += int(((value - start[name]).abs() > 1e-4).sum())
    assert moved > 1000  # it did train
    measured = [{
        key: value
        for key, value in _scalars(work_dir).items()
        if key[0].startswith('pose3d/')
    } for work_dir in (one, two)]
    assert measured[0].keys() == measured[1].keys()
    assert {step for _, step in measured[0]} == {1, 2}
    assert measured[1] == pytest.approx(measured[0], rel=1e-5)


def test_two_processes_measure_what_one_measures(run_mpm, tmp_path,
                                                 monkeypatch):
    monkeypatch.setenv('MPM_POSTOMETRO_MOCAP', str(run_mpm.mocap))
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(LIFT).model)
    checkpoint = tmp_path / 'lift.pth'
    torch.save(dict(state_dict=model.state_dict()), checkpoint)
    run_mpm('test.py', LIFT, checkpoint, '--work-dir', tmp_path / 'a', '--out',
            tmp_path / 'one.json')
    run_mpm('dist_test.sh', LIFT, checkpoint, 2, '--work-dir', tmp_path / 'b',
            '--out', tmp_path / 'two.json')
    one, two = (
        mmengine.load(tmp_path / f'{name}.json') for name in ('one', 'two'))
    assert one['pose3d/frames'] == 63  # shares of 32 and 31
    assert two == pytest.approx(one, rel=1e-6)
    for name in ('mpjpe', 'pa_mpjpe', 'n_mpjpe', 'mpjve', 'pck_150', 'auc'):
        for which in ('', '_walk', '_jump', '_action_mean'):
            assert one[f'pose3d/{name}{which}'] > 0
