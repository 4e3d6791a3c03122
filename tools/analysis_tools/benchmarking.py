# Copyright (c) The mpm_postometro authors. All rights reserved.
"""What the benchmarks share: times in turns, and memory in own processes."""
import argparse
import ctypes
import json
import subprocess
import sys
import time
import warnings
from typing import Callable, Dict

import torch
from torch.utils.flop_counter import FlopCounterMode

from mpm_postometro.compat import keep_freed_memory
from mpm_postometro.models.layers import linear


def add_cpu_flags(parser: argparse.ArgumentParser) -> None:
    """Flags that :func:`set_up_cpu` reads."""
    parser.add_argument('--threads', type=int, default=torch.get_num_threads())
    parser.add_argument(
        '--freed-memory',
        choices=('kept', 'returned'),
        default='kept',
        help='on a CPU: what the C library does with it; our tools have it '
        'kept, by default glibc returns it to the system')


def set_up_cpu(args: argparse.Namespace) -> None:
    """Before the first tensor."""
    torch.set_num_threads(args.threads)
    if args.freed_memory == 'kept' and not keep_freed_memory():
        args.freed_memory = 'returned'  # as the system does, or has it set


def best_times(functions: Dict[str, Callable], rounds: int,
               device: str) -> Dict[str, float]:
    """Seconds of each function, the best of rounds in which they take turns,
    after two rounds of warming up."""
    best = dict.fromkeys(functions, float('inf'))
    for index in range(rounds + 2):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            if device.startswith('cuda'):
                torch.cuda.synchronize()
            if index >= 2:
                best[name] = min(best[name], time.perf_counter() - start)
    return best


def count_gflop(function: Callable) -> float:
    """Operations of the matrix products, in billions. Without oneDNN, whose
    products the counter does not know."""
    with warnings.catch_warnings(), FlopCounterMode(display=False) as counter:
        warnings.simplefilter('ignore')  # about flags that stay as they are
        with torch.backends.mkldnn.flags(enabled=False):
            function()
    return counter.get_total_flops() / 1e9


class Products:
    """What the machine reaches: two ways to multiply matrices, that of our
    linear layers and torch's, which has its result's memory already.

    Args:
        device (str): Where.
        rows (int): Of the left one.
        width (int): Of the left one.
        columns (int): Of the right one.
        dtype (torch.dtype): Of all.
    """

    def __init__(self,
                 device: str,
                 rows: int,
                 width: int,
                 columns: int,
                 dtype: torch.dtype = torch.float32) -> None:
        left = torch.randn(rows, width, device=device, dtype=dtype)
        right = torch.randn(columns, width, device=device, dtype=dtype)
        out = torch.empty(rows, columns, device=device, dtype=dtype)
        self.gflop = 2 * rows * width * columns / 1e9
        self.work = {
            'torch.mm': lambda: torch.mm(left, right.t(), out=out),
            'linear': torch.no_grad()(lambda: linear(left, right))
        }

    def take_rates(self, times: Dict[str, float]) -> Dict[str, float]:
        """GFLOP/s of both, whose seconds are taken out of ``times``."""
        return {name: self.gflop / times.pop(name) for name in self.work}


def _resident(key: str) -> float:
    """MB of ``VmRSS`` (now) or ``VmHWM`` (peak) of this process (Linux)."""
    with open('/proc/self/status') as file:
        value = next(line for line in file if line.startswith(key))
    return int(value.split()[1]) / 1024


def added_memory(work: Callable, warm_up: Callable, device: str) -> float:
    """MB that work adds, at its peak, to what the process had before: the
    same at a small size has already brought in the libraries' own."""
    warm_up()
    ctypes.CDLL(None).malloc_trim(0)  # give back what is free (glibc)
    with open('/proc/self/clear_refs', 'w') as file:
        file.write('5')  # forget the peak so far
    before = _resident('VmRSS')
    if device.startswith('cuda'):
        torch.cuda.reset_peak_memory_stats()
    work()
    if device.startswith('cuda'):
        return torch.cuda.max_memory_allocated() / 2**20
    return _resident('VmHWM') - before


def printed_by(script: str, args, *flags: str, **changes) -> float:
    """The number that a benchmark prints in a process of its own, with the
    same arguments and further flags."""
    command = [sys.executable, script, *flags]
    for key, value in {**vars(args), **changes}.items():
        if value is not None:
            values = value if isinstance(value, (list, tuple)) else [value]
            command += [f'--{key.replace("_", "-")}', *map(str, values)]
    return json.loads(subprocess.check_output(command, text=True))
