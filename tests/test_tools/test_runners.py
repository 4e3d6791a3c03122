# Copyright (c) The mpm_postometro authors. All rights reserved.
"""tools/train.py and test.py: one process, two CPU processes, resuming."""
import json
import os
from pathlib import Path

import mmengine
import pytest
import torch

from mpm_postometro.compat import load_checkpoint_file

HERE = Path(__file__).resolve().parent
CONFIG = HERE / 'tiny_config.py'
MESH_CONFIG = HERE / 'tiny_mesh_config.py'


@pytest.fixture(scope='module')
def single(run, tmp_path_factory):
    """Work directory of an uninterrupted training in one process."""
    work_dir = tmp_path_factory.mktemp('single')
    run('train.py', CONFIG, '--work-dir', work_dir)
    return work_dir


@pytest.fixture(scope='module')
def double(run, tmp_path_factory):
    """Work directory of a training in two processes with the same global
    batch, killed in its second epoch and resumed."""
    work_dir = tmp_path_factory.mktemp('double')
    train = ('dist_train.sh', CONFIG, 2, '--work-dir', work_dir,
             '--cfg-options', 'train_dataloader.batch_size=4')
    output = run(*train, dies=True, TINY_DIE='1')
    assert 'interrupted on purpose' in output
    assert not (work_dir / 'epoch_2.pth').exists()
    output = run(*train, '--resume')
    assert 'resumed epoch: 1' in output
    return work_dir


def _scalars(work_dir):
    """The last value written for each (tag, step)."""
    values = {}
    for path in sorted(work_dir.glob('*/vis_data/scalars.json')):
        for line in path.read_text().splitlines():
            record = json.loads(line)
            for tag in set(record) - {'step', 'time', 'data_time', 'memory'}:
                values[tag, record['step']] = record[tag]
    return values


def test_two_processes_equal_one(single, double):
    one = load_checkpoint_file(str(single / 'epoch_3.pth'))['state_dict']
    two = load_checkpoint_file(str(double / 'epoch_3.pth'))['state_dict']
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-5, atol=1e-5)
    start = load_checkpoint_file(str(single / 'epoch_1.pth'))['state_dict']
    moved = [n for n in one if not torch.equal(one[n], start[n])]
    assert len(moved) > len(one) / 2  # it did train


def test_curves_of_two_processes_equal_one(single, double):
    one, two = _scalars(single), _scalars(double)
    epe = {key for key in one if key[0].endswith('EPE')}
    assert len(epe) == 3  # one an epoch
    for key in epe | {key for key in one if key[0] == 'lr'}:
        assert two[key] == pytest.approx(one[key], rel=1e-6)
    losses = {key for key in one if key[0] == 'loss'}
    assert losses == {key for key in two if key[0] == 'loss'}
    # The log averages over a window, and holds it over an interruption.
    assert losses == {('loss', step) for step in range(1, 13)}


def test_two_processes_measure_what_one_measures(run, single, tmp_path):
    checkpoint = single / 'epoch_3.pth'
    run('test.py', CONFIG, checkpoint, '--work-dir', tmp_path / 'a', '--out',
        tmp_path / 'one.json', '--dump', tmp_path / 'one.pkl')
    run('dist_test.sh', CONFIG, checkpoint, 2, '--work-dir', tmp_path / 'b',
        '--out', tmp_path / 'two.json')
    one = mmengine.load(tmp_path / 'one.json')
    two = mmengine.load(tmp_path / 'two.json')
    assert one.keys() == two.keys() and one
    for key, value in one.items():
        assert two[key] == pytest.approx(value, rel=1e-6)
        assert value > 0
    assert len(mmengine.load(tmp_path / 'one.pkl')) == 13


@pytest.fixture(scope='module')
def meshes(run, tmp_path_factory):
    """Work directories of the small PostoMETRO, trained with the same global
    batch by one process and by two."""
    one, two = (tmp_path_factory.mktemp(name) for name in ('one', 'two'))
    run('train.py', MESH_CONFIG, '--work-dir', one)
    run('dist_train.sh', MESH_CONFIG, 2, '--work-dir', two, '--cfg-options',
        'train_dataloader.batch_size=2')
    return one, two


def _mesh_metrics(work_dir, step=2):
    return {
        tag: value
        for (tag, at), value in _scalars(work_dir).items()
        if tag.startswith('mesh/') and at == step
    }


def test_the_whole_method_learns_the_same_in_two_processes(meshes):
    """No process waits for a gradient that never comes, and both together
    take the steps that one takes."""
    start, one, two = (
        load_checkpoint_file(str(path))['state_dict']
        for path in (meshes[0] / 'epoch_1.pth', meshes[0] / 'epoch_2.pth',
                     meshes[1] / 'epoch_2.pth'))
    assert one.keys() == two.keys()
    moved = 0
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-5, atol=1e-5)
        if name.startswith(('backbone.', 'pose_branch.')):
            assert torch.equal(value, start[name])  # frozen
        else:
            moved += ((value - start[name]).abs() > 1e-4).sum()
    assert moved > 10000  # it did train

    one, two = (_mesh_metrics(work_dir) for work_dir in meshes)
    assert {'mesh/mpjpe', 'mesh/pa_mpjpe', 'mesh/mpvpe'} <= one.keys()
    # A bin that holds nobody is not a number.
    assert two == pytest.approx(one, rel=1e-5, nan_ok=True)


def test_the_whole_method_measures_the_same_in_two_processes(
        run, meshes, tmp_path):
    two = _mesh_metrics(meshes[1])
    run('test.py', MESH_CONFIG, meshes[1] / 'epoch_2.pth', '--work-dir',
        tmp_path, '--out', tmp_path / 'one.json', '--show-dir', 'drawn',
        '--interval', 2)
    one = mmengine.load(tmp_path / 'one.json')
    assert one.keys() == two.keys()
    assert two == pytest.approx(one, rel=1e-6, nan_ok=True)
    drawn = sorted(path.name for path in tmp_path.glob('*/drawn/*'))
    assert drawn == [f'{index:08d}_{index}.jpg' for index in (0, 2, 4)]


def test_a_killed_training_of_the_whole_method_goes_on(run, meshes, tmp_path):
    """One of two processes is killed in the middle of the second epoch: all
    end, and the resumed training has the weights and the curve of one that
    nothing happened to."""
    train = ('dist_train.sh', MESH_CONFIG, 2, '--work-dir', tmp_path,
             '--cfg-options', 'train_dataloader.batch_size=2')
    output = run(*train, dies=True, TINY_KILL='1')
    assert 'SIGKILL' in output
    assert not (tmp_path / 'epoch_2.pth').exists()
    assert 'resumed epoch: 1' in run(*train, '--resume')

    whole, resumed = (
        load_checkpoint_file(str(path / 'epoch_2.pth'))['state_dict']
        for path in (meshes[1], tmp_path))
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        assert torch.equal(resumed[name], value), name
    whole, resumed = _scalars(meshes[1]), _scalars(tmp_path)
    losses = {key for key in whole if key[0] == 'loss'}
    assert losses == {('loss', step) for step in range(1, 5)}
    assert resumed == pytest.approx(whole, rel=1e-6, nan_ok=True)


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
@pytest.mark.parametrize('flags', [[], ['--amp']])
def test_a_gpu_trains_and_predicts(run, flags, tmp_path):
    device = os.environ.get('CUDA_VISIBLE_DEVICES', '0')
    run('train.py',
        MESH_CONFIG,
        '--work-dir',
        tmp_path,
        *flags,
        CUDA_VISIBLE_DEVICES=device)
    lines = [
        json.loads(line) for path in tmp_path.glob('*/vis_data/scalars.json')
        for line in path.read_text().splitlines()
    ]
    # Logged only where the model is on a GPU.
    assert any(line.get('memory', 0) > 0 for line in lines)
    run('test.py',
        MESH_CONFIG,
        tmp_path / 'epoch_2.pth',
        '--work-dir',
        tmp_path / 'test',
        '--out',
        tmp_path / 'metrics.json',
        CUDA_VISIBLE_DEVICES=device)
    assert mmengine.load(tmp_path / 'metrics.json')['mesh/mpjpe'] > 0
