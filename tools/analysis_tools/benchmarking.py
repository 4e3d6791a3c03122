# Copyright (c) The mpm_postometro authors. All rights reserved.
"""What the benchmarks share: times in turns, and memory in own processes."""
import ctypes
import json
import subprocess
import sys
import time
from typing import Callable, Dict

import torch


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


def product_rate(device: str, rows: int, width: int, columns: int) -> Callable:
    """Function that multiplies two matrices into a third, which is there
    already: what the machine reaches without asking for memory."""
    left = torch.randn(rows, width, device=device)
    right = torch.randn(width, columns, device=device)
    out = torch.empty(rows, columns, device=device)
    return lambda: torch.mm(left, right, out=out)


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
