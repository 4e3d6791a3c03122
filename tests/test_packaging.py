# Copyright (c) The mpm_postometro authors. All rights reserved.
"""The wheel, installed into an environment of its own."""
import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile

import pytest

import mpm_postometro


def _run(*command, cwd):
    """Run a command away from the checkout and return its output."""
    env = {k: v for k, v in os.environ.items() if k != 'PYTHONPATH'}
    done = subprocess.run([str(part) for part in command],
                          cwd=cwd,
                          env=env,
                          capture_output=True,
                          text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope='module')
def wheel(repo_root, tmp_path_factory):
    """The wheel, built from the unpacked sdist as an index would."""
    folder = tmp_path_factory.mktemp('wheel')
    source = folder / 'source'
    # Away from the checkout, which must not fill up with build folders.
    shutil.copytree(
        repo_root,
        source,
        ignore=shutil.ignore_patterns('.*', 'tests', 'docs', 'work_dirs',
                                      'data', 'build', '*.egg-info',
                                      '__pycache__'))
    _run(sys.executable, 'setup.py', '-q', 'sdist', '-d', folder, cwd=source)
    archive, = folder.glob('*.tar.gz')
    with tarfile.open(archive) as tar:
        tar.extractall(folder / 'sdist', filter='data')
    unpacked, = (folder / 'sdist').iterdir()
    _run(
        sys.executable,
        'setup.py',
        '-q',
        'bdist_wheel',
        '-d',
        folder,
        cwd=unpacked)
    built, = folder.glob('*.whl')
    return built


@pytest.fixture(scope='module')
def installed(wheel, tmp_path_factory):
    """Interpreter of a second environment: our wheel, and a line that lends
    it the third-party packages of this one."""
    folder = tmp_path_factory.mktemp('second')
    venv.create(folder / 'env', with_pip=False, symlinks=os.name != 'nt')
    python = folder / 'env' / ('Scripts' if os.name == 'nt' else 'bin')
    python = python / 'python'
    site = _run(
        python,
        '-c',
        'import sysconfig; print(sysconfig.get_path("purelib"))',
        cwd=folder).strip()
    paths = {path for path in sys.path if path.endswith('-packages')}
    with open(os.path.join(site, 'lent.pth'), 'w') as file:
        # Paths in a .pth are not searched for further .pth files, so an
        # editable installation of ours does not shine through.
        file.write('\n'.join(sorted(paths)))
    _run(
        sys.executable,
        '-m',
        'pip',
        '--python',
        python,
        'install',
        '-q',
        '--no-deps',
        '--no-index',
        '--no-compile',
        wheel,
        cwd=folder)
    return python


def test_wheel_carries_what_the_repository_has(wheel, repo_root):
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for folder, pattern in (('configs', '*.py'), ('configs', '*.yml'),
                            ('tools', '*.py'), ('tools', '*.sh')):
        for path in (repo_root / folder).rglob(pattern):
            name = path.relative_to(repo_root).as_posix()
            assert f'mpm_postometro/.mim/{name}' in names
    assert 'mpm_postometro/.mim/model-index.yml' in names
    for path in (repo_root / 'mpm_postometro').rglob('*'):
        name = path.relative_to(repo_root).as_posix()
        if path.is_file() and '__pycache__' not in name:
            if not name.startswith('mpm_postometro/.mim'):
                assert name in names
    assert not [name for name in names if '__pycache__' in name]
    assert not [name for name in names if name.startswith(('tests', 'docs'))]


def test_wheel_metadata(wheel):
    with zipfile.ZipFile(wheel) as archive:
        name, = (
            name for name in archive.namelist() if name.endswith('/METADATA'))
        metadata = archive.read(name).decode()
        licence = [name for name in archive.namelist() if 'LICENSE' in name]
    assert re.search(rf'^Version: {re.escape(mpm_postometro.__version__)}$',
                     metadata, re.MULTILINE)
    python, = re.findall(r'^Requires-Python: (.+)$', metadata, re.MULTILINE)
    assert sorted(python.split(',')) == ['<3.12', '>=3.11']
    for extra in ('mim', 'tests', 'optional'):
        assert f'Provides-Extra: {extra}' in metadata
    required = re.findall(r'^Requires-Dist: ([\w-]+)(?!.*extra)', metadata,
                          re.MULTILINE)
    assert {'torch', 'numpy', 'scipy'} <= set(required)
    # It would draw in chumpy, which cannot be built.
    assert 'mmpose' not in required
    assert licence


def test_installed_package_works_alone(installed, tmp_path):
    out = _run(
        installed,
        '-W',
        'ignore',
        '-c', 'import os, mpm_postometro\n'
        'from mmengine.config import Config\n'
        'from mmpose.registry import MODELS, TRANSFORMS\n'
        'root = os.path.dirname(mpm_postometro.__file__)\n'
        'print(root)\n'
        'config = os.path.join(root, ".mim/configs/postometro_hrnet48.py")\n'
        'cfg = Config.fromfile(config)\n'
        'for name in ("PCTTokenizer", "TokenizerEstimator"):\n'
        '    assert name in MODELS.module_dict, name\n'
        'assert cfg.model.type in MODELS.module_dict\n'
        'assert "PackMeshInputs" in TRANSFORMS.module_dict\n'
        'from mpm_postometro.bodies import load_body\n'
        'print(len(load_body().faces))\n',
        cwd=tmp_path).splitlines()
    root, faces = out[-2:]
    assert os.path.realpath(root).startswith(
        os.path.realpath(installed.parents[1]))
    assert int(faces) > 0
    for tool in ('train', 'test'):
        out = _run(
            installed, f'{root}/.mim/tools/{tool}.py', '--help', cwd=tmp_path)
        assert '--launcher' in out


def test_mim_finds_config_and_tool(installed, tmp_path):
    pytest.importorskip('mim')
    found = _run(
        installed, '-m', 'mim', 'search', 'mpm_postometro', cwd=tmp_path)
    assert 'postometro_hrnet48' in found
    # It ends in our own parser, so mim has found config and tool.
    done = subprocess.run([
        str(installed), '-m', 'mim', 'train', 'mpm_postometro',
        'postometro_hrnet48.py', '--gpus', '0', '--interval', 'often'
    ],
                          cwd=tmp_path,
                          capture_output=True,
                          text=True)
    assert "--interval: invalid int value: 'often'" in done.stderr


def test_requirement_files_agree(repo_root):
    """Every requirement is pinned once, and only what is required."""
    folder = repo_root / 'requirements'

    def names(file):
        lines = (
            line.split('#')[0].strip()
            for line in file.read_text().splitlines())
        return {re.split(r'[<>=~! ]', line)[0] for line in lines if line}

    pinned = names(folder / 'constraints.txt')
    wanted = set()
    for file in ('runtime', 'mminstall', 'optional'):
        wanted |= names(folder / f'{file}.txt')
    assert wanted == pinned - {'opencv-python-headless'}
    for line in (folder / 'tests.txt').read_text().splitlines():
        assert not line or line.startswith('#') or '==' in line
