# Copyright (c) The mpm_postometro authors. All rights reserved.
import os
import pickle
import subprocess
import sys
from collections import deque
from types import ModuleType

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.logging import HistoryBuffer, MessageHub
from mmengine.runner.checkpoint import CheckpointLoader

from mpm_postometro import compat


def run_python(code, **env):
    """Run code in a fresh interpreter and return what it prints."""
    done = subprocess.run([sys.executable, '-W', 'ignore', '-c', code],
                          capture_output=True,
                          text=True,
                          env={
                              **os.environ,
                              **env
                          })
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_mmpose_imports_and_nothing_is_left_behind():
    out = run_python('import mpm_postometro, sys, importlib.util as u\n'
                     # Optional, slow to import and wanted by one backbone.
                     'assert "timm" not in sys.modules\n'
                     'import mmpose.models, mmpose.apis, torchvision\n'
                     'from mmpose.visualization import PoseLocalVisualizer\n'
                     'from mmengine.utils.dl_utils import collect_env\n'
                     'collect_env()\n'
                     'for name in ("mmdet", "mmcv._ext"):\n'
                     '    module = sys.modules.get(name)\n'
                     '    print(module is None or module.__file__)\n')
    for line in out.splitlines()[-2:]:
        assert line == 'True' or os.path.isfile(line)


def test_apply_twice_changes_nothing():
    before = set(sys.modules)
    schemas = compat._TORCHVISION_SCHEMAS
    compat.apply()
    assert set(sys.modules) == before
    assert compat._TORCHVISION_SCHEMAS is schemas


# ------------------------------- stand-ins -------------------------------
def test_real_mmdet_is_left_alone(monkeypatch):
    real = ModuleType('mmdet')
    monkeypatch.setitem(sys.modules, 'mmdet', real)
    with compat._mmdet_stand_in():
        assert sys.modules['mmdet'] is real
        assert 'mmdet.utils' not in sys.modules
    assert sys.modules['mmdet'] is real


def test_broken_mmdet_raises_its_own_error(monkeypatch, tmp_path):
    """An installed package that does not import must not be masked."""
    (tmp_path / 'mmdet').mkdir()
    (tmp_path /
     'mmdet/__init__.py').write_text('raise ImportError("mmdet is broken")')
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, 'mmdet', raising=False)
    with compat._mmdet_stand_in():
        with pytest.raises(ImportError, match='mmdet is broken'):
            import mmdet  # noqa: F401


def test_mmdet_stand_in_goes_even_after_an_error(monkeypatch):
    monkeypatch.setattr(compat, '_is_installed', lambda name: False)
    monkeypatch.delitem(sys.modules, 'mmdet', raising=False)
    with pytest.raises(KeyError):
        with compat._mmdet_stand_in():
            from mmdet.utils import reduce_mean
            value = torch.tensor([1., 3.])
            assert torch.equal(reduce_mean(value), value)
            raise KeyError
    assert 'mmdet' not in sys.modules and 'mmdet.utils' not in sys.modules


def test_missing_op_says_what_it_needs():
    ext = compat._MissingOps('mmcv._ext')
    assert hasattr(ext, 'nms')
    with pytest.raises(NotImplementedError, match='"nms" needs the full mmcv'):
        ext.nms(1, 2)
    assert not hasattr(ext, '__path__')


def test_other_torchvision_errors_pass(monkeypatch):

    def broken(name):
        raise RuntimeError('compiled with different CUDA major versions')

    monkeypatch.setattr(compat.importlib, 'import_module', broken)
    with pytest.raises(RuntimeError, match='CUDA major versions'):
        compat._cure_torchvision()


# ------------------------------ checkpoints ------------------------------
class Program:
    """Runs a program when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path), )


class Attribute:
    """Asks for an attribute when it is unpickled."""

    def __init__(self, owner, name):
        self.owner, self.name = owner, name

    def __reduce__(self):
        return getattr, (self.owner, self.name)


class Bytes:
    """Asks for memory that nothing fills."""

    def __init__(self, size):
        self.size = size

    def __reduce__(self):
        return bytes, (self.size, )


def test_mmengine_checkpoint_comes_back(tmp_path):
    hub = MessageHub.get_instance('test_compat')
    for value in (1., 2., 6.):
        hub.update_scalar('train/loss', value)
    info = dict(
        best_score=np.float64(3.5),
        joints=np.arange(6, dtype=np.float32).reshape(2, 3),
        names=np.array(['nose', 'neck']),
        sigmas=np.array([], np.float32),
        flag=np.bool_(True),
        count=np.int64(7))
    for key, value in info.items():
        hub.update_info(key, value)
    path = tmp_path / 'epoch_1.pth'
    torch.save(
        dict(state_dict=dict(w=torch.ones(2)), message_hub=hub.state_dict()),
        path)

    loaded = CheckpointLoader.load_checkpoint(str(path), 'cpu', logger=None)
    history = loaded['message_hub']['log_scalars']['train/loss']
    assert isinstance(history, HistoryBuffer)
    assert history.mean() == 3. and history.min() == 1.
    for key, value in info.items():
        np.testing.assert_array_equal(
            loaded['message_hub']['runtime_info'][key], value)


@pytest.mark.parametrize('content, reason', [
    (lambda folder: Program(folder / 'ran'), 'mkdir'),
    (lambda folder: Attribute(HistoryBuffer, '__init__'), '__init__'),
    (lambda folder: Attribute(np.ndarray, 'tofile'), 'tofile'),
    (lambda folder: Bytes(9), 'bytes'),
    (lambda folder: deque([1]), 'deque'),
])
def test_anything_else_is_refused(tmp_path, content, reason):
    path = tmp_path / 'strange.pth'
    torch.save(dict(state_dict=content(tmp_path)), path)
    with pytest.raises(pickle.UnpicklingError) as caught:
        compat.load_checkpoint_file(str(path))
    message = str(caught.value)
    assert str(path) in message and reason in message
    assert 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1' in message
    assert not (tmp_path / 'ran').exists()


def test_trusted_file_loads_with_torchs_switch(tmp_path, monkeypatch):
    path = tmp_path / 'own.pth'
    torch.save(dict(meta=deque([1])), path)
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    assert compat.load_checkpoint_file(str(path))['meta'] == deque([1])


@pytest.mark.parametrize('content', [b'', b'hello', b'PK\x03\x04 cut off'])
def test_damaged_file_is_named(tmp_path, content):
    path = tmp_path / 'damaged.pth'
    path.write_bytes(content)
    with pytest.raises(pickle.UnpicklingError, match='damaged.pth'):
        compat.load_checkpoint_file(str(path))


def test_absent_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere.pth'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'nowhere.pth'))


def test_a_loader_of_somebody_else_stays(monkeypatch):
    schemes = dict(CheckpointLoader._schemes)

    def theirs(filename, map_location=None):
        return {}

    monkeypatch.setattr(CheckpointLoader, '_schemes', {**schemes, '': theirs})
    compat._register_checkpoint_loader()
    assert CheckpointLoader._schemes[''] is theirs


# --------------------------- several processes ---------------------------
def test_one_process_needs_no_group():
    cfg = Config(dict())
    assert not compat.init_cpu_distributed(cfg, 'none')
    assert 'model_wrapper_cfg' not in cfg


def test_gpus_are_left_to_mmengine(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    cfg = Config(dict())
    assert not compat.init_cpu_distributed(cfg, 'pytorch')
    assert 'model_wrapper_cfg' not in cfg


@pytest.mark.parametrize('launcher', ['pytorch', 'slurm', 'mpi'])
def test_missing_launcher_is_explained(monkeypatch, launcher):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    for name in ('RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(RuntimeError, match=f'launcher "{launcher}" needs'):
        compat.init_cpu_distributed(Config(dict()), launcher)


@pytest.mark.parametrize('given, expected', [
    (dict(), dict(find_unused_parameters=False, broadcast_buffers=False)),
    (dict(find_unused_parameters=True),
     dict(find_unused_parameters=True, broadcast_buffers=False)),
    (dict(
        model_wrapper_cfg=dict(
            type='MMDistributedDataParallel', static_graph=True)),
     dict(static_graph=True)),
])
def test_wrapper_without_devices(monkeypatch, given, expected):
    """The group of one process that slurm's variables describe."""
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: False)
    monkeypatch.setattr(torch.distributed, 'is_initialized', lambda: False)
    monkeypatch.setenv('SLURM_PROCID', '1')
    monkeypatch.setenv('SLURM_NTASKS', '4')
    calls = []
    monkeypatch.setattr(torch.distributed, 'init_process_group',
                        lambda *args, **kwargs: calls.append((args, kwargs)))
    cfg = Config(given)
    assert compat.init_cpu_distributed(cfg, 'slurm')
    (backend, ), options = calls[0]
    assert backend == 'gloo'
    assert (options['rank'], options['world_size']) == (1, 4)
    assert dict(cfg.model_wrapper_cfg) == dict(
        type='MMDistributedDataParallel', device_ids=None, **expected)


FAULTS = '''
import resource, torch
from mpm_postometro.compat import keep_freed_memory

def faults():
    torch.ones(2**22)  # 16 MB
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(3):
        torch.ones(2**22)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults(), keep_freed_memory(), faults())
'''


def test_memory_is_asked_for_once():
    before, done, after = run_python(FAULTS, CUDA_VISIBLE_DEVICES='').split()
    if done == 'False':
        pytest.skip('no glibc, or the environment has settings for it')
    # Before, glibc may have learned the size already.
    assert int(after) < 100 and int(before) >= int(after)


def test_own_settings_of_memory_stay(monkeypatch):
    monkeypatch.setenv('MALLOC_TRIM_THRESHOLD_', '1000000')
    assert not compat.keep_freed_memory()


def test_finish_distributed_leaves_the_group():
    compat.finish_distributed()  # there is none
    dist = torch.distributed
    dist.init_process_group(
        'gloo', store=dist.HashStore(), rank=0, world_size=1)
    compat.finish_distributed()
    assert not dist.is_initialized()
