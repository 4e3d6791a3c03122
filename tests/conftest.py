# Copyright (c) The mpm_postometro authors. All rights reserved.
"""What all tests share: seeds, one thread, and the folders of real data."""
import os
import random
from pathlib import Path

import numpy as np
import pytest
import torch

import mpm_postometro  # noqa: F401  (mends MMPose's imports for every test)

ROOT = Path(__file__).resolve().parents[1]


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
