# Copyright (c) The mpm_postometro authors. All rights reserved.
"""The tools, as a user starts them."""
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest


def _free_port():
    with socket.socket() as sock:
        sock.bind(('127.0.0.1', 0))
        return sock.getsockname()[1]


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
            text=True)
        output = done.stdout + done.stderr
        assert (done.returncode != 0) == dies, output
        return output

    return run_tool
