# Copyright (c) The mpm_postometro authors. All rights reserved.
"""What tests with two processes have in common."""
import datetime
import functools

import torch

from mpm_postometro.compat import finish_distributed


def in_group_of_two(function):
    """Make a function of rank and folder, which ``mp.spawn`` calls in two
    processes, run inside a gloo group. What it has is gone when the group is
    left."""

    @functools.wraps(function)
    def run(rank, folder, *args):
        torch.set_num_threads(1)
        torch.distributed.init_process_group(
            'gloo',
            f'file://{folder}/store',
            rank=rank,
            world_size=2,
            # a process that waits for ever is an error
            timeout=datetime.timedelta(seconds=120))
        function(rank, folder, *args)
        finish_distributed()

    return run
