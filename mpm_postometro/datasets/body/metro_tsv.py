# Copyright (c) The mpm_postometro authors. All rights reserved.
"""METRO's tables: pictures and labels as lines of text in one large file.

A ``.tsv`` file has a row a line, columns between tabs: a key first, the
content last (base64 of a JPEG file, or JSON). The ``.lineidx`` file beside it
says at which byte each row begins, so that any row is one read.
"""
import binascii
import json
import os
import threading
import warnings
from pathlib import Path
from typing import Any, List, NoReturn, Optional, Sequence, Tuple, Union

import cv2
import numpy as np
from mmengine.utils import ProgressBar

from mpm_postometro.files import atomic_write

__all__ = ['TSVFile', 'TSVRows', 'decode_picture', 'read_linelist']

_CHUNK = 1 << 24  # bytes
_SHOW_FROM = 1 << 30  # files whose indexing takes seconds
_JPEG_START, _JPEG_SCAN, _JPEG_END = b'\xff\xd8', b'\xff\xda', b'\xff\xd9'


class TSVFile:
    """One ``.tsv`` file, read row by row in any order.

    Every row is checked as it is read: it begins where a line begins and ends
    where that line ends. The first and the last one are checked at once, so
    that a file that is cut off does not wait for the middle of an epoch.

    Any number of threads and processes may share an object, forked or
    spawned: each opens the file for itself.

    Args:
        path (str | Path): The file.
        lineidx (str | Path, optional): The index, one byte offset a line.
            Defaults to the path with ``.lineidx`` in place of ``.tsv``; if
            there is none, it is made and kept there, or in memory where the
            folder cannot be written to.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file is empty or cut off, or the index is not its
            own; says which row and what was expected.
    """

    def __init__(self,
                 path: Union[str, Path],
                 lineidx: Union[None, str, Path] = None) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise FileNotFoundError(f'{path} does not exist')
        self.lineidx = Path(lineidx or self.path.with_suffix('.lineidx'))
        self._local = threading.local()
        size = self.path.stat().st_size
        if not size:
            raise ValueError(f'{path} is empty')
        starts = self._read_index() if self.lineidx.is_file() else \
            self._make_index()
        self._check_index(starts, size)
        self._starts = np.append(starts, size)  # one more: where it ends
        self[0], self[len(self) - 1]

    def __getstate__(self) -> dict:
        return {k: v for k, v in vars(self).items() if k != '_local'}

    def __setstate__(self, state: dict) -> None:
        vars(self).update(state, _local=threading.local())

    def __len__(self) -> int:
        return len(self._starts) - 1

    def __getitem__(self, row: int) -> List[bytes]:
        """The columns of a row.

        Raises:
            IndexError: If there is no such row.
            ValueError: If the index does not point to a whole line.
        """
        if not 0 <= row < len(self):
            raise IndexError(f'{self.path} has {len(self)} rows, no row {row}')
        # With the line break before it, which belongs to the check.
        before = int(row > 0)
        start, end = int(self._starts[row]), int(self._starts[row + 1])
        line = self._read(start - before, end)
        if len(line) != end - start + before:
            self._fail(
                row, f'ends at byte {start - before + len(line)}, '
                f'expected {end}: the file is cut off')
        if before and line[:1] != b'\n':
            self._fail(
                row, f'does not begin at byte {start}, as '
                f'{self.lineidx} says: expected a line break before '
                f'it. {self._cure}')
        line = line[before:]
        if line[-1:] != b'\n':
            if row == len(self) - 1:
                self._fail(
                    row, 'is the last one and does not end in a line '
                    'break: the file is cut off')
            self._fail(
                row, f'does not end at byte {end}, as {self.lineidx} '
                f'says: expected a line break there. {self._cure}')
        inside = line.find(b'\n')
        if inside != len(line) - 1:
            self._fail(
                row, f'should end at byte {end} by {self.lineidx}, but '
                f'there is a line break at byte {start + inside}. '
                f'{self._cure}')
        return line[:-1].rstrip(b'\r').split(b'\t')

    def key(self, row: int) -> str:
        """The first column."""
        return self[row][0].decode('utf-8', 'replace')

    def json(self, row: int) -> Any:
        """The last column, parsed.

        Raises:
            ValueError: If it is no JSON.
        """
        try:
            return json.loads(self[row][-1])
        except ValueError as error:
            self._fail(row, f'should end in a column of JSON: {error}')

    def file(self, row: int) -> bytes:
        """The file in the last column, as it was put there.

        Raises:
            ValueError: If it is no base64.
        """
        columns = self[row]
        if len(columns) < 2:
            self._fail(
                row, 'has one column, expected a key and the base64 of '
                'a JPEG file')
        try:
            return binascii.a2b_base64(columns[-1], strict_mode=True)
        except binascii.Error as error:
            self._fail(row, 'should end in the base64 of a JPEG file: '
                       f'{error}')

    def image(self, row: int) -> np.ndarray:
        """The picture in the last column, turned upright as its EXIF says.

        Returns:
            np.ndarray: (H, W, 3) uint8, BGR.

        Raises:
            ValueError: If it is no base64, or no picture, or a JPEG that is
                cut off.
        """
        data = self.file(row)
        try:
            return decode_picture(data)
        except ValueError as error:
            self._fail(row, f'has a file that {error}')

    def where(self, row: int) -> str:
        """Names a row in messages."""
        return f'{self.path}, row {row}'

    @property
    def _cure(self) -> str:
        return ('The index belongs to another file; without it, it is made '
                'anew')

    def _fail(self, row: int, message: str) -> NoReturn:
        raise ValueError(f'{self.where(row)} {message}') from None

    def _read(self, start: int, end: int) -> bytes:
        local = self._local
        # A forked child inherits the file and its position with it.
        if getattr(local, 'pid', None) != os.getpid():
            local.file = open(self.path, 'rb', buffering=0)
            local.pid = os.getpid()
        local.file.seek(start)
        return local.file.read(end - start)

    def _read_index(self) -> np.ndarray:
        lines = self.lineidx.read_bytes().split()
        try:
            return np.array(lines, np.int64)
        except (ValueError, OverflowError):  # beyond 18 digits
            number, line = next((i, x) for i, x in enumerate(lines, 1)
                                if not x.isdigit() or len(x) > 18)
            raise ValueError(f'{self.lineidx}, line {number} should be a byte '
                             f'offset, got {line[:40]!r}') from None

    def _make_index(self) -> np.ndarray:
        size = self.path.stat().st_size
        steps = -(-size // _CHUNK)
        bar = None
        if size >= _SHOW_FROM:
            print(f'Index of {self.path}:')
            bar = ProgressBar(steps)
        ends = []
        with open(self.path, 'rb') as file:
            for step in range(steps):
                chunk = np.frombuffer(file.read(_CHUNK), np.uint8)
                ends.append(np.flatnonzero(chunk == 10) + step * _CHUNK)
                if bar is not None:
                    bar.update()
        if bar is not None:
            print()
        starts = np.append(0, np.concatenate(ends) + 1)
        starts = starts[starts < size]
        text = '\n'.join(map(str, starts.tolist())) + '\n'
        try:
            atomic_write(self.lineidx,
                         lambda name: Path(name).write_text(text))
        except OSError as error:
            warnings.warn(f'{self.lineidx} cannot be kept ({error}): it is '
                          'made anew each time')
        return starts

    def _check_index(self, starts: np.ndarray, size: int) -> None:
        if not len(starts) or starts[0] != 0:
            raise ValueError(f'{self.lineidx} must begin with 0, got '
                             f'{starts[:1].tolist()}')
        bad = np.flatnonzero(np.diff(starts) <= 0)
        if len(bad):
            raise ValueError(
                f'{self.lineidx}, line {bad[0] + 2}: offsets must increase, '
                f'got {starts[bad[0] + 1]} after {starts[bad[0]]}')
        if starts[-1] >= size:
            row = int(np.argmax(starts >= size))
            raise ValueError(
                f'{self.path} has {size} bytes, but by {self.lineidx} row '
                f'{row} of {len(starts)} begins at {starts[row]}: the file is '
                'cut off, or the index belongs to another one')


class TSVRows:
    """Some rows of some files, in any order: what a linelist picks.

    Args:
        files (Sequence[TSVFile]): The files.
        table (np.ndarray, optional): (N, 2) ints, which file and which of its
            rows. Defaults to all rows of all files.
        name (str): Names the table in messages.

    Raises:
        ValueError: If the table points to what is not there; says where.
    """

    def __init__(self,
                 files: Sequence[TSVFile],
                 table: Optional[np.ndarray] = None,
                 name: str = 'table') -> None:
        self.files = list(files)
        if table is None:
            table = np.concatenate([
                np.stack(
                    [np.full(len(f), i), np.arange(len(f))], 1)
                for i, f in enumerate(self.files)
            ])
        limits = np.array([len(f) for f in self.files])
        wrong = (table[:, 0] < 0) | (table[:, 0] >= len(limits))
        if wrong.any():
            line = int(wrong.argmax())
            raise ValueError(f'{name}, line {line + 1}: there is no file '
                             f'{table[line, 0]}, only {len(limits)} (from 0)')
        wrong = (table[:, 1] < 0) | (table[:, 1] >= limits[table[:, 0]])
        if wrong.any():
            line = int(wrong.argmax())
            file = self.files[table[line, 0]]
            raise ValueError(f'{name}, line {line + 1}: there is no row '
                             f'{table[line, 1]} in {file.path}, which has '
                             f'{len(file)}')
        self.table = table.astype(np.int32)

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, index: int) -> Tuple[TSVFile, int]:
        """Which file, and which of its rows."""
        file, row = self.table[index]
        return self.files[file], int(row)


def decode_picture(data: bytes) -> np.ndarray:
    """Decode a picture file, turned upright as its EXIF says.

    Args:
        data (bytes): The file.

    Returns:
        np.ndarray: (H, W, 3) uint8, BGR.

    Raises:
        ValueError: If it is no picture, or a JPEG that is cut off.
    """
    # OpenCV fills up what is missing with grey, and says nothing. Inside
    # the scan no end can be; a preview's end comes before it.
    if data.startswith(_JPEG_START) and \
            data.rfind(_JPEG_END) < data.rfind(_JPEG_SCAN):
        raise ValueError(f'is a JPEG of {len(data)} bytes that is cut off')
    image = None
    if data:
        image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(
            'is no picture: expected a JPEG file or the like, got '
            f'{len(data)} bytes that begin with {data[:8]!r}')
    return image


def read_linelist(path: Union[str, Path], columns: int) -> np.ndarray:
    """Read a ``.linelist.tsv``.

    Args:
        path (str | Path): The file: a row number a line, or with two columns
            which file and which of its rows.
        columns (int): 1 or 2.

    Returns:
        np.ndarray: (N, columns) int64.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a line is something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path} does not exist')
    lines = path.read_bytes().splitlines()
    fields = [line.split() for line in lines]
    for number, row in enumerate(fields, 1):
        if len(row) != columns or not all(x.isdigit() for x in row):
            raise ValueError(f'{path}, line {number}: expected {columns} '
                             f'row number{"s"[:columns - 1]}, got '
                             f'{lines[number - 1][:60]!r}')
    return np.array(fields, np.int64).reshape(-1, columns)
