# Copyright (c) The mpm_postometro authors. All rights reserved.
import os

import pytest

from mpm_postometro.files import (atomic_write, check_exist, read_json,
                                  write_json)


def test_makes_folders_and_leaves_nothing_else(tmp_path):
    path = tmp_path / 'a' / 'b.npz'
    names = []

    def write(name):
        names.append(name)
        with open(name, 'w') as file:
            file.write('whole')

    assert atomic_write(str(path), write) == path
    assert path.read_text() == 'whole'
    assert os.listdir(path.parent) == ['b.npz']
    # numpy and cv2 look at the suffix.
    assert names[0].endswith('.npz') and os.path.dirname(names[0]) == str(
        path.parent)
    mask = os.umask(0)
    os.umask(mask)
    assert path.stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = tmp_path / 'a.txt'
    path.write_text('old')

    def fail(name):
        with open(name, 'w') as file:
            file.write('half')
        raise OSError('disk full')

    with pytest.raises(OSError, match='disk full'):
        atomic_write(path, fail)
    assert path.read_text() == 'old'
    assert [p.name for p in tmp_path.iterdir()] == ['a.txt']


def test_json_is_written_whole(tmp_path):
    path = str(tmp_path / 'a.json')
    write_json(path, dict(a=1))
    with pytest.raises(TypeError):
        write_json(path, dict(a=object()))
    assert read_json(path) == dict(a=1)
    assert read_json(str(tmp_path / 'none.json')) is None
    assert os.path.exists(path)


def test_all_missing_files_are_named(tmp_path):
    names = [tmp_path / f'{i}.json' for i in range(14)]
    for path in names[12:]:
        path.write_text('')
    check_exist([])
    check_exist([tmp_path, *names[12:]])
    for paths, message in ((names[11:], '11.json does not exist!$'),
                           ([*names[10:],
                             names[10]], '10.json, .*/11.json do not exist!$'),
                           (names[2:], '2.json, .*, .*11.json do not exist!$'),
                           (names,
                            '0.json, .*, .*9.json and 2 more do not exist!$')):
        with pytest.raises(FileNotFoundError, match=f'^{tmp_path}/{message}'):
            check_exist(paths, '!')
