# Copyright (c) The mpm_postometro authors. All rights reserved.
"""tools/setup_env.sh, in a folder of its own and without a package index."""
import os
import shutil
import subprocess
import sys
import venv

import pytest

# What the set-up calls: `venv` brings a pip that installs nothing, since the
# real one would take seconds.
INTERPRETER = """#!/usr/bin/env bash
if [ "$1 $2" = "-m venv" ]; then
    "{python}" "$@" --without-pip || exit
    site=$(echo "${{@: -1}}"/lib/python*/site-packages)
    mkdir -p "$site/pip" && touch "$site/pip/__main__.py"
else
    exec "{python}" "$@"
fi
"""


@pytest.fixture
def checkout(repo_root, tmp_path):
    """As much of a checkout as the set-up looks at."""
    for name in ('setup.py', 'requirements.txt', 'requirements/runtime.txt',
                 'stubs/chumpy/pyproject.toml', 'cv2.py',
                 'mpm_postometro/__init__.py', 'mmpose/__init__.py',
                 'mmpose/apis.py'):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / 'tools').mkdir()
    shutil.copy(repo_root / 'tools' / 'setup_env.sh', tmp_path / 'tools')
    _script(tmp_path / 'python', INTERPRETER.format(python=sys.executable))
    return tmp_path


def _script(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def _set_up(checkout):
    return subprocess.run(['bash', 'tools/setup_env.sh'],
                          cwd=checkout,
                          env=dict(
                              os.environ,
                              PYTHON=str(checkout / 'python'),
                              PYTHONPATH=''),
                          capture_output=True,
                          text=True)


def test_half_made_environment_is_made_again(checkout):
    # What Ctrl-C leaves between the link of the interpreter and pip.
    venv.create(checkout / '.venv', with_pip=False, symlinks=True)
    left = checkout / '.venv' / 'left'
    left.touch()
    done = _set_up(checkout)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'Making' in done.stdout and not left.exists()
    assert (checkout / '.venv' / 'setup.stamp').is_file()
    again = _set_up(checkout)
    assert (again.returncode, again.stdout, again.stderr) == (0, '', '')


@pytest.mark.parametrize('pip, refused', [(0, True), (1, False)])
def test_another_version_is_refused_unless_half_made(checkout, pip, refused):
    python = checkout / '.venv' / 'bin' / 'python'
    _script(
        python,
        f'#!/bin/sh\n[ "$1" = -m ] && exit {pip}\n[ "$1" = -c ] && echo 2.7\n')
    done = _set_up(checkout)
    assert ('holds Python 2.7' in done.stderr) == refused
    assert (done.returncode != 0) == refused, done.stdout + done.stderr
    assert (python.stat().st_size < 100) == refused
