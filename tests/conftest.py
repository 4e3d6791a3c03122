# Copyright (c) The mpm_postometro authors. All rights reserved.
"""What all tests share: seeds, one thread, the folders of real data, and a
browser without a screen."""
import os
import random
import re
import shutil
import subprocess
from pathlib import Path
from typing import Dict, List, NamedTuple

import numpy as np
import pytest
import torch

import mpm_postometro  # noqa: F401  (mends MMPose's imports for every test)

ROOT = Path(__file__).resolve().parents[1]

# What Chromium says about drawing without a graphics card; not our doing.
_HARMLESS = re.compile('GL Driver Message|software WebGL')
_CHROMIUM_FLAGS = [
    '--headless', '--no-sandbox', '--disable-gpu', '--disable-quic',
    '--no-first-run', '--disable-background-networking',
    '--disable-component-update', '--disable-sync', '--hide-scrollbars',
    '--host-resolver-rules=MAP * ~NOTFOUND', '--enable-logging=stderr',
    '--v=0', '--virtual-time-budget=5000', '--dump-dom'
]


@pytest.fixture(scope='session', autouse=True)
def _one_thread():
    """Tensors are small here; more threads only make the times wobble."""
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seeded():
    """Each test draws the same numbers whichever tests ran before it."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


def _folder(variable: str, holds: str) -> Path:
    value = os.environ.get(variable)
    if not value:
        pytest.skip(f'{variable} is not set (the folder of {holds})')
    if not Path(value).is_dir():
        pytest.fail(f'{variable}={value} is not a folder')
    return Path(value)


@pytest.fixture(scope='session')
def data_dir() -> Path:
    """Folder of sample data: motion capture, a photo, detections."""
    return _folder('MPM_POSTOMETRO_DATA', 'sample data')


@pytest.fixture(scope='session')
def golden_dir() -> Path:
    """Folder of golden numbers of the published implementations."""
    return _folder('MPM_POSTOMETRO_GOLDEN', 'golden numbers')


@pytest.fixture(scope='session')
def repo_root() -> Path:
    """Root of the checkout."""
    return ROOT


class Opened(NamedTuple):
    """A page after its scripts ran."""
    dom: str
    console: List[str]

    def attributes(self, css_class: str) -> List[Dict[str, str]]:
        """``data-`` attributes of the elements with just this class."""
        tags = re.findall(rf'<div class="{css_class}"([^>]*)>', self.dom)
        return [dict(re.findall(r'data-(\w+)="([^"]*)"', tag)) for tag in tags]


@pytest.fixture
def browser(tmp_path):
    """Function: open a page in headless Chromium, (path, *flags) -> Opened."""
    names = ('chromium', 'chromium-browser', 'google-chrome', 'chrome')
    program = next(filter(None, map(shutil.which, names)), None)
    if program is None:
        pytest.skip('no Chromium on this machine')

    def open_page(path, *flags):
        done = subprocess.run([
            program, *_CHROMIUM_FLAGS,
            f'--user-data-dir={tmp_path / "profile"}', *flags,
            path.resolve().as_uri()
        ],
                              capture_output=True,
                              text=True,
                              timeout=120)
        assert done.returncode == 0, done.stderr[-2000:]
        console = [
            line for line in done.stderr.splitlines()
            if 'CONSOLE' in line and not _HARMLESS.search(line)
        ]
        return Opened(done.stdout, console)

    return open_page
