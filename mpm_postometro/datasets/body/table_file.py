# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Tables of labelled people, kept in files that are read in a moment."""
import json
import warnings
import zipfile
import zlib
from dataclasses import fields
from pathlib import Path
from typing import Any, Callable, Mapping, Optional, Sequence, Union

import numpy as np

from mpm_postometro.files import atomic_write
from .person_table import NameList, PersonTable

__all__ = [
    'files_stamp', 'kept_table', 'load_table', 'save_table', 'settings_name'
]

_VERSION = 1  # another one where readers make other tables of the same files
KEEP_FROM = 20000  # people whose labels take seconds to read
_NAMES = ('image_names', 'sequence_names')


def files_stamp(paths: Sequence[Union[str, Path]]) -> list:
    """What tells whether files are those that a table was made of.

    Args:
        paths (Sequence[str | Path]): The files. Those that do not exist are
            told apart from those that do.

    Returns:
        list: Names, sizes, times of the last change.
    """
    stamp: list = [_VERSION]
    for path in map(Path, paths):
        if path.is_file():
            status = path.stat()
            stamp.append([path.name, status.st_size, status.st_mtime_ns])
        else:
            stamp.append([path.name, None, None])
    return stamp


def settings_name(settings: Any) -> str:
    """A short name that tells settings of a reader apart.

    Args:
        settings (Any): What can be written as JSON.

    Returns:
        str: Eight letters and digits.
    """
    return f'{zlib.crc32(json.dumps(settings).encode()):08x}'


def kept_table(path: Union[str, Path], stamp: Any,
               make: Callable[[], PersonTable]) -> PersonTable:
    """A table that is made once and then read from a file.

    Any number of processes may ask for it at once: those that find no file
    make the table, and the file appears whole or not at all.

    Args:
        path (str | Path): The file. Not written if there are only a few
            people; a warning says so if it cannot be written.
        stamp (Any): What the table is made of, see :func:`files_stamp`.
        make (Callable): Makes it.

    Returns:
        PersonTable: The table.
    """
    table = load_table(path, stamp)
    if table is None:
        table = make()
        try:
            if len(table) >= KEEP_FROM:
                save_table(path, table, stamp)
        except OSError as error:
            warnings.warn(f'{path} cannot be kept ({error}): labels are read '
                          'anew each time')
    return table


def save_table(path: Union[str, Path], table: PersonTable, stamp: Any) -> None:
    """Keep a table; the file appears whole or not at all.

    Args:
        path (str | Path): An .npz file.
        table (PersonTable): The table.
        stamp (Any): What it was made of, see :func:`files_stamp`.

    Raises:
        OSError: If the file cannot be written.
    """
    about = dict(
        stamp=stamp, drop_report=dict(table.drop_report), source=table.source)
    arrays = dict(about=np.array(json.dumps(about)))
    for field in fields(table):
        value = getattr(table, field.name)
        if isinstance(value, np.ndarray):
            arrays[field.name] = value
        elif isinstance(value, NameList):
            for key, array in zip(('bytes', 'ends'), value.arrays):
                arrays[f'{field.name}.{key}'] = array
    atomic_write(path, lambda name: np.savez(name, **arrays))


def load_table(path: Union[str, Path], stamp: Any) -> Optional[PersonTable]:
    """Read what :func:`save_table` wrote.

    Args:
        path (str | Path): The file.
        stamp (Any): What the table should be made of.

    Returns:
        PersonTable | None: None if there is no such file, it was made of
        other files, or is broken.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            about: Mapping = json.loads(str(file['about']))
            if about['stamp'] != json.loads(json.dumps(stamp)):
                return None
            columns = {
                key: file[key]
                for key in file.files if key != 'about' and '.' not in key
            }
            for key in _NAMES:
                if f'{key}.bytes' in file.files:
                    columns[key] = NameList.from_arrays(
                        file[f'{key}.bytes'], file[f'{key}.ends'])
        return PersonTable(
            **columns,
            drop_report=about['drop_report'],
            source=about['source'])
    except (OSError, ValueError, KeyError, TypeError, EOFError,
            zipfile.BadZipFile):
        return None
