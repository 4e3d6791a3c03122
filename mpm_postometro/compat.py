# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Cures for what breaks around MMPose 1.3.2 on machines without CUDA.

Everything here is inert where the real part is present and works; a user
with a GPU, the full mmcv or mmdet notices nothing. :func:`apply` runs once
when the package is imported, before anything of ours imports MMPose:

============================  ==============================================
what fails                    cure
============================  ==============================================
``import torchvision``:       the schemas of ``nms`` and ``qnms`` are
``torchvision::nms does not   declared; calling them still raises
exist``                       torchvision's own error
``No module named 'mmdet'``   a stand-in with the two names that MMPose's
                              RTMO head imports, gone afterwards
``No module named             a stand-in while ``mmcv.ops`` is imported, gone
'mmcv._ext'`` (mmcv-lite)     afterwards; calling an op raises a clear error
MMEngine cannot resume its    local files load weights-only, with the few
own checkpoints under         classes allowed that MMEngine itself writes; no
torch >= 2.6                  code from a file is run
several processes without     :func:`init_cpu_distributed`, which
a GPU                         ``tools/train.py`` and ``tools/test.py`` call
on CPUs every batch asks the  :func:`keep_freed_memory`, which tools call
system for its memory again
============================  ==============================================

A part that is installed but broken is left alone, so that its own error
reaches the user.
"""
import ctypes
import datetime
import gc
import importlib
import importlib.util
import os
import pickle
import sys
from contextlib import contextmanager
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Dict, Iterator, Union

import torch

__all__ = [
    'apply', 'finish_distributed', 'init_cpu_distributed', 'keep_freed_memory',
    'load_checkpoint_file', 'load_state_dict_file'
]

# A ``torch.library.Library`` takes its definitions back when it is
# collected, so the one we make lives as long as the process.
_TORCHVISION_SCHEMAS = None


def apply() -> None:
    """Apply the import and checkpoint cures; calling it again is free."""
    _cure_torchvision()
    if 'mmpose.models' not in sys.modules:
        with _mmcv_ops_stand_in():
            # Without mmcv, mmpose says itself what is missing.
            if _is_installed('mmcv'):
                importlib.import_module('mmcv.ops')
        with _mmdet_stand_in():
            importlib.import_module('mmpose.models')
    _register_checkpoint_loader()


def _is_installed(name: str) -> bool:
    """Whether a module can be found; a broken one counts as installed."""
    if name in sys.modules:
        return True
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # the parent package is absent
        return False


# ------------------------------ torchvision ------------------------------
def _cure_torchvision() -> None:
    """Let ``import torchvision`` work where its binary ops do not load.

    Published torchvision wheels may be linked to CUDA; beside a CPU build of
    torch their ops stay away and the import stops at the first missing one.
    """
    global _TORCHVISION_SCHEMAS
    if not _is_installed('torchvision'):
        return
    try:
        importlib.import_module('torchvision')
        return
    except RuntimeError as error:
        if 'operator torchvision::nms does not exist' not in str(error):
            raise
    _TORCHVISION_SCHEMAS = torch.library.Library('torchvision', 'FRAGMENT')
    for name in ('nms', 'qnms'):
        _TORCHVISION_SCHEMAS.define(
            f'{name}(Tensor dets, Tensor scores, float iou_threshold) '
            '-> Tensor')
    importlib.import_module('torchvision')


# ------------------------------ mmcv, mmdet ------------------------------
class _MissingOps(ModuleType):
    """Stands for ``mmcv._ext``: has every op, and none can be called."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith('__'):
            raise AttributeError(name)

        def missing(*args, **kwargs):
            raise NotImplementedError(
                f'the compiled op "{name}" needs the full mmcv, but mmcv-lite '
                'is installed; build or install mmcv>=2.0.0,<2.2.0 with ops')

        return missing


@contextmanager
def _stand_in(*modules: ModuleType) -> Iterator[None]:
    """Put modules into ``sys.modules`` for a while.

    They must go again: left there, tools that ask whether the real package
    is installed get a wrong answer or fail on the missing ``__spec__``.
    """
    for module in modules:
        module.__spec__ = ModuleSpec(module.__name__, loader=None)
        sys.modules[module.__name__] = module
    try:
        yield
    finally:
        for module in modules:
            if sys.modules.get(module.__name__) is module:
                del sys.modules[module.__name__]


@contextmanager
def _mmcv_ops_stand_in() -> Iterator[None]:
    """Let ``mmcv.ops`` be imported from mmcv-lite."""
    if not _is_installed('mmcv') or _is_installed('mmcv._ext'):
        yield
        return
    with _stand_in(_MissingOps('mmcv._ext')):
        yield
    # ``from mmcv import _ext`` must not find it either.
    vars(sys.modules['mmcv']).pop('_ext', None)


@contextmanager
def _mmdet_stand_in() -> Iterator[None]:
    """Let MMPose's RTMO head be imported without mmdet."""
    if _is_installed('mmdet'):
        yield
        return
    from mmengine.config import ConfigDict
    from mmengine.dist import all_reduce

    def reduce_mean(tensor: torch.Tensor) -> torch.Tensor:
        """Mean of a tensor over all processes."""
        tensor = tensor.clone()
        all_reduce(tensor, op='mean')
        return tensor

    package, utils = ModuleType('mmdet'), ModuleType('mmdet.utils')
    package.__path__ = []
    package.utils = utils
    utils.ConfigType = Union[ConfigDict, dict]
    utils.reduce_mean = reduce_mean
    with _stand_in(package, utils):
        yield


# ------------------------------ checkpoints ------------------------------
def load_checkpoint_file(filename: str, map_location: Any = None) -> Any:
    """Load a local checkpoint without running code from it.

    MMEngine's checkpoints hold, beside tensors, its log history and numpy
    numbers; these classes are allowed. Weights from elsewhere are plain
    tensors. Whatever else a file asks for is refused, because a pickle can
    run any program. Who trusts such a file sets torch's own switch
    ``TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1``.

    Args:
        filename (str): Path of the file, ``~`` allowed.
        map_location: As for :func:`torch.load`. Defaults to None.

    Returns:
        dict or OrderedDict: What the file holds.

    Raises:
        FileNotFoundError: If there is no such file.
        pickle.UnpicklingError: If the file is damaged or asks for a class
            that is not allowed; the message says which and what to do.
    """
    filename = os.path.expanduser(filename)
    if not os.path.isfile(filename):
        raise FileNotFoundError(f'{filename} can not be found')
    switch = os.environ.get('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '')
    if switch.lower() in ('1', 'y', 'yes', 'true'):
        return torch.load(
            filename, map_location=map_location, weights_only=False)
    try:
        with torch.serialization.safe_globals(_checkpoint_globals()):
            return torch.load(
                filename, map_location=map_location, weights_only=True)
    except pickle.UnpicklingError as error:
        raise pickle.UnpicklingError(
            f'{filename}: refused, since reading it would need more than '
            f'tensors and MMEngine\'s log history ({_reason(error)}). If it '
            'is your own file or you trust where it comes from, set the '
            'environment variable TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD=1 and run '
            'again.') from error
    except (KeyError, EOFError, RuntimeError, ValueError) as error:
        # What torch raises depends on where it stumbles over the bytes.
        raise pickle.UnpicklingError(
            f'{filename}: expected a checkpoint written by torch.save, but '
            f'it is damaged or something else ({error!r})') from error


def load_state_dict_file(filename: str) -> Dict[str, torch.Tensor]:
    """The weights in a checkpoint, under one of the usual keys or bare.

    Args:
        filename (str): As for :func:`load_checkpoint_file`.

    Returns:
        dict[str, Tensor]: On the CPU.

    Raises:
        ValueError: If the file holds something else than a dict; and what
            :func:`load_checkpoint_file` raises.
    """
    checkpoint = load_checkpoint_file(filename, map_location='cpu')
    for key in ('state_dict', 'model', 'module'):
        if isinstance(checkpoint, dict) and isinstance(
                checkpoint.get(key), dict):
            return checkpoint[key]
    if not isinstance(checkpoint, dict):
        raise ValueError(
            'expected a dict of weights, or one with '
            f'state_dict, model or module, but got {type(checkpoint).__name__}'
        )
    return checkpoint


def _reason(error: Exception) -> str:
    """The one sentence in torch's page-long message that says why."""
    lines = [line.strip() for line in str(error).splitlines()]
    line = next(
        (line for line in lines if 'GLOBAL' in line or 'Unsupported' in line),
        lines[-1])
    line = line.replace('WeightsUnpickler error: ', '')
    return line.split('. Please use')[0].rstrip('.')


def _checkpoint_globals() -> list:
    """What a checkpoint written by MMEngine may name, and nothing more."""
    import numpy as np
    from mmengine.logging import HistoryBuffer

    core = np.core if int(np.__version__.split('.')[0]) < 2 else np._core
    reconstruct = core.multiarray._reconstruct
    scalar = core.multiarray.scalar
    numbers = [type(np.dtype(code)) for code in '?bBhHiIlLqQefdFDU']

    def history_method(owner: Any, name: str) -> Any:
        """Stands for ``getattr``: log histories carry their statistics."""
        if owner is not HistoryBuffer or name.startswith('_'):
            raise pickle.UnpicklingError(
                f'Unsupported attribute {name!r} of {owner!r}')
        return getattr(owner, name)

    def no_bytes(*content: Any) -> bytes:
        """Stands for ``bytes()``, which empty arrays are made of."""
        if content:
            raise pickle.UnpicklingError(f'Unsupported bytes{content!r}')
        return b''

    allowed = [HistoryBuffer, np.ndarray, np.dtype, *dict.fromkeys(numbers)]
    # numpy 1 and 2 name the same functions differently; either may read what
    # the other wrote.
    for module in ('numpy.core.multiarray', 'numpy._core.multiarray'):
        allowed.append((reconstruct, f'{module}._reconstruct'))
        allowed.append((scalar, f'{module}.scalar'))
    return allowed + [(history_method, 'builtins.getattr'),
                      (no_bytes, 'builtins.bytes')]


def _register_checkpoint_loader() -> None:
    """Read local checkpoints with :func:`load_checkpoint_file`."""
    from mmengine.runner.checkpoint import CheckpointLoader

    current = CheckpointLoader._get_checkpoint_loader('weights.pth')
    if current is None or current.__module__.startswith('mmengine.'):
        # A loader that somebody else has registered stays.

        @CheckpointLoader.register_scheme(prefixes='', force=True)
        def load_from_local(filename, map_location=None):
            return load_checkpoint_file(filename, map_location)


# --------------------------- memory on a CPU -----------------------------
def keep_freed_memory() -> bool:
    """Have the C library keep the memory of tensors that are gone.

    By default glibc gives large pieces back to the system, which hands them
    out again page by page: a quarter of the time of a network's inference
    can go there. Afterwards the process holds on to its peak, and so do
    processes that it forks. Older glibc keeps pieces of up to 32 MB only.

    Nothing is done where there is a GPU, where the environment has settings
    for glibc's memory already, or with another C library.

    Returns:
        bool: Whether it was set.
    """
    trim_threshold, mmap_threshold = -1, -3  # names of mallopt(3)
    if torch.cuda.is_available() or any(
            name.startswith('MALLOC_') or name == 'GLIBC_TUNABLES'
            for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # no glibc
        return False
    return bool(
        any(mallopt(mmap_threshold, size) for size in (2**30, 2**25))
        and mallopt(trim_threshold, 2**31 - 1))


# ---------------------- several processes, no GPU ------------------------
def finish_distributed() -> None:
    """Leave the process group, if there is one, and wait for its threads.

    MMEngine never does. Threads of a ``gloo`` group that still run while
    Python shuts down abort the process, with all its work done, or wait for
    it for ever. They end with the last reference to the group, so nothing
    that holds a Runner or a distributed model may be left when this is
    called; cycles are collected here. A run that an exception ends does not
    come here: its traceback holds everything.
    """
    if torch.distributed.is_available() and torch.distributed.is_initialized():
        # A model's reducer would end them without giving Python free, which
        # they wait for; the group itself gives it free.
        gc.collect()
        torch.distributed.destroy_process_group()


def init_cpu_distributed(cfg, launcher: str) -> bool:
    """Make a config train or test with several processes and no GPU.

    MMEngine's ``init_dist`` always selects a CUDA device. Where there is
    none, this starts the ``gloo`` process group first (the Runner then
    leaves it alone) and has the model wrapped without device ids. With a GPU
    or with ``launcher='none'`` it does nothing.

    Args:
        cfg (Config): The Runner's config; ``model_wrapper_cfg`` is set if
            it is absent, otherwise only its ``device_ids``.
        launcher (str): 'none', 'pytorch', 'slurm' or 'mpi'.

    Returns:
        bool: Whether a gloo group runs now.

    Raises:
        RuntimeError: If the launcher's environment variables are missing.
    """
    if launcher == 'none' or torch.cuda.is_available():
        return False
    names = dict(
        pytorch=('RANK', 'WORLD_SIZE'),
        slurm=('SLURM_PROCID', 'SLURM_NTASKS'),
        mpi=('OMPI_COMM_WORLD_RANK', 'OMPI_COMM_WORLD_SIZE'))[launcher]
    missing = [name for name in names if name not in os.environ]
    if missing:
        raise RuntimeError(
            f'launcher "{launcher}" needs {", ".join(missing)} in the '
            'environment: start the tool through torchrun, srun or mpirun, '
            'or through tools/dist_train.sh and its kin')
    if not torch.distributed.is_initialized():
        env_cfg = cfg.get('env_cfg') or {}
        seconds = (env_cfg.get('dist_cfg') or {}).get('timeout', 1800)
        os.environ.setdefault('MASTER_ADDR', '127.0.0.1')
        os.environ.setdefault('MASTER_PORT', '29500')
        torch.distributed.init_process_group(
            'gloo',
            rank=int(os.environ[names[0]]),
            world_size=int(os.environ[names[1]]),
            timeout=datetime.timedelta(seconds=seconds))
    wrapper = cfg.get('model_wrapper_cfg')
    if wrapper is None:
        # As the Runner wraps by default, apart from the device.
        wrapper = dict(
            type='MMDistributedDataParallel',
            broadcast_buffers=False,
            find_unused_parameters=cfg.get('find_unused_parameters', False))
    wrapper['device_ids'] = None
    cfg.model_wrapper_cfg = wrapper
    return True
