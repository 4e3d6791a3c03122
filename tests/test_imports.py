# Copyright (c) The mpm_postometro authors. All rights reserved.
"""The rooms of the house: arrows run downwards only (docs/design.md)."""
import ast
from pathlib import Path

import pytest

PACKAGE = 'mpm_postometro'
SOURCE = Path(__file__).resolve().parents[1] / PACKAGE

# What the modules of a room may import of ours, besides the room itself. The
# first room whose path fits counts.
ROOMS = {
    'compat': (),
    'files': (),
    'bodies': (),
    'models/layers': (),
    'models': ('bodies', 'models/layers', 'compat'),
    'datasets': ('bodies', 'compat', 'files'),
    'evaluation': ('bodies', 'files'),
    'visualization': ('bodies', 'files'),
    'apis': ('bodies', 'models', 'datasets', 'evaluation', 'visualization',
             'compat', 'files', ''),
}
# Rooms that know nothing of MMPose, and so outlive it.
PLAIN = ('bodies', 'models/layers', 'datasets/synthesis')
OPENMMLAB = {'mmengine', 'mmcv', 'mmpose', 'mmdet'}


def _modules():
    return sorted(
        path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob('*.py')
        if path.parent != SOURCE)


def _room(module):
    """The room of a module, as a key of ``ROOMS``; '' for the package."""
    return next(
        (room
         for room in ROOMS if module == room or module.startswith(room + '/')),
        '')


def _imports(path, module):
    """The modules that a file imports, ours as paths within the package."""
    package = module.split('/')[:-1]  # folder of the module
    ours, foreign = set(), set()
    for node in ast.walk(ast.parse(path.read_text(encoding='utf-8'))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name.split('.') for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = (node.module or '').split('.') if node.module else []
            if node.level:
                kept = len(package) - (node.level - 1)
                start = [PACKAGE] + package[:kept] + start
            # `from . import x` may name a module.
            names = [start + [alias.name] for alias in node.names]
        for name in names:
            if name[0] == PACKAGE:
                ours.add('/'.join(name[1:]))
            else:
                foreign.add(name[0])
    return ours, foreign


@pytest.mark.parametrize('module', _modules())
def test_arrows_run_downwards(module):
    ours, foreign = _imports(SOURCE / module, module)
    room = _room(module[:-len('.py')])
    allowed = ROOMS[room] + (room, )
    wrong = {name for name in ours if _room(name) not in allowed}
    assert not wrong, f'{module} ({room}/) must not import {sorted(wrong)}'
    if any(module.startswith(plain + '/') for plain in PLAIN):
        assert not foreign & OPENMMLAB, (
            f'{module} is plain torch and numpy: {foreign & OPENMMLAB}')


def test_every_folder_is_a_known_room():
    folders = {path.name for path in SOURCE.iterdir() if path.is_dir()}
    folders -= {'__pycache__', '.mim'}
    rooms = {name.split('/')[0] for name in ROOMS}
    assert folders == rooms - {'compat', 'files'}


@pytest.mark.parametrize('source, expected', [
    ('from ..models.heads import x', {'models/heads/x'}),
    ('from . import cameras', {'bodies/cameras'}),
    ('import mpm_postometro.apis.infer', {'apis/infer'}),
    ('def f():\n    from mpm_postometro.datasets import body',
     {'datasets/body'}),
])
def test_imports_are_seen(tmp_path, source, expected):
    """The reader above would pass everything if it saw nothing."""
    path = tmp_path / 'module.py'
    path.write_text(source)
    assert _imports(path, 'bodies/module.py')[0] == expected


def test_files_carry_the_notice():
    notice = '# Copyright (c) The mpm_postometro authors.'
    without = [
        path.relative_to(SOURCE).as_posix() for path in SOURCE.rglob('*.py')
        if not path.read_text(encoding='utf-8').startswith(notice)
    ]
    assert not without
