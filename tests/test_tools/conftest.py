# Copyright (c) The mpm_postometro authors. All rights reserved.
"""The tools, as a user starts them."""
import os
import random
import socket
import subprocess
import sys
from pathlib import Path

import pytest


def _free_port():
    """Below the ports that systems hand out, or another process might be
    given it before the tool takes it."""
    while True:
        port = random.SystemRandom().randrange(10000, 30000)
        with socket.socket() as sock:
            if sock.connect_ex(('127.0.0.1', port)):
                return port


@pytest.fixture(scope='session')
def run(repo_root):
    """Run a tool; returns its output. ``dies`` expects it to fail."""

    def run_tool(tool, *arguments, dies=False, cwd=None, **env):
        start = ['bash'] if tool.endswith('.sh') else [sys.executable]
        command = [*start, repo_root / 'tools' / tool, *arguments]
        done = subprocess.run(
            [str(part) for part in command],
            env={
                **os.environ, 'PYTHON': sys.executable,
                'PORT': str(_free_port()),
                'PYTHONPATH': str(Path(__file__).parent),
                'PYTHONWARNINGS': 'ignore',
                'CUDA_VISIBLE_DEVICES': '',
                'OMP_NUM_THREADS': '1',
                **env
            },
            cwd=cwd,
            capture_output=True,
            text=True,
            timeout=900)
        output = done.stdout + done.stderr
        # The end says why, and is what is kept of long messages.
        assert (done.returncode != 0) == dies, output[-5000:]
        return output

    return run_tool
