# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Rendered items on disk.

Items are stored in shards of :data:`SHARD_SIZE`: ``<number>.img.npy`` holds
the pictures and is memory-mapped, ``<number>.npz`` the labels and a checksum
of every picture. Both are written to temporary files and moved into place,
the labels last, so that a shard either is whole or does not count. Any number
of processes may build at once: a shard is claimed by a lock on a file, which
the system drops when its process dies.
"""
import zipfile
import zlib
from contextlib import contextmanager
from pathlib import Path
from typing import Callable, Dict, Iterator, List, Optional

import numpy as np

from mpm_postometro.files import atomic_write

try:
    import fcntl
except ImportError:  # no such locks on Windows: work may be done twice there
    fcntl = None

__all__ = ['SHARD_SIZE', 'ShardCache']

#: Items in a shard.
SHARD_SIZE = 32


class ShardCache:
    """A folder of shards.

    Args:
        folder (str | Path): Where; made when the first shard is written.
        make_item (Callable[[int], dict]): Renders an item: ``img`` and
            labels.
    """

    def __init__(self, folder, make_item: Callable[[int], dict]) -> None:
        self.folder = Path(folder)
        self.make_item = make_item
        self._open: Dict[int, tuple] = {}

    def __getstate__(self) -> dict:
        # Memory maps are opened anew in each process.
        return {**self.__dict__, '_open': {}}

    def read(self, index: int) -> Optional[dict]:
        """An item, or None if its shard is not there or damaged.

        A damaged shard is removed, so that it is built again.

        Args:
            index (int): Which item.

        Returns:
            dict: ``img`` and labels, arrays of one's own.
        """
        number, row = divmod(index, SHARD_SIZE)
        shard = self._load(number)
        if shard is None:
            return None
        images, labels, checksums = shard
        image = np.array(images[row])
        if zlib.crc32(image) != checksums[row]:
            self._drop(number)
            return None
        item = {key: value[row].copy() for key, value in labels.items()}
        item['img'] = image
        return item

    def get(self, index: int) -> dict:
        """An item; if its shard is missing, the shard is built first.

        If another process is building that shard, the item alone is made.

        Args:
            index (int): Which item.
        """
        item = self.read(index)
        if item is not None:
            return item
        number, row = divmod(index, SHARD_SIZE)
        with self._claim(number) as mine:
            if mine:
                item = self.read(index)  # perhaps built in the meantime
                return item or self._build(number)[row]
        return self.make_item(index)

    def missing(self, length: int) -> List[int]:
        """Numbers of the shards of the first ``length`` items that are not
        there or cannot be read."""
        count = -(-length // SHARD_SIZE)
        return [n for n in range(count) if self._load(n) is None]

    def build(self, number: int, wait: bool = True) -> bool:
        """Build a shard if it is missing.

        Args:
            number (int): Which shard.
            wait (bool): If another process is at it, wait for that one.

        Returns:
            bool: Whether the shard is there now.
        """
        with self._claim(number, wait) as mine:
            if mine and self._load(number) is None:
                self._build(number)
        return self._load(number) is not None

    def _paths(self, number: int):
        return (self.folder / f'{number:06d}.img.npy',
                self.folder / f'{number:06d}.npz')

    def _load(self, number: int):
        if number in self._open:
            return self._open[number]
        image_path, label_path = self._paths(number)
        if not label_path.exists():
            return None
        try:
            with np.load(label_path, allow_pickle=False) as file:
                labels = {key: file[key] for key in file}
            checksums = labels.pop('checksum')
            images = np.load(image_path, mmap_mode='r', allow_pickle=False)
            if len(images) != SHARD_SIZE or len(checksums) != SHARD_SIZE:
                raise ValueError('wrong number of items')
        except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile,
                zlib.error):
            self._drop(number)
            return None
        self._open[number] = images, labels, checksums
        return self._open[number]

    def _drop(self, number: int) -> None:
        self._open.pop(number, None)
        for path in self._paths(number):
            path.unlink(missing_ok=True)

    def _build(self, number: int) -> List[dict]:
        first = number * SHARD_SIZE
        items = [self.make_item(first + row) for row in range(SHARD_SIZE)]
        images = np.stack([item['img'] for item in items])
        labels = {
            key: np.stack([item[key] for item in items])
            for key in items[0] if key != 'img'
        }
        labels['checksum'] = np.array([zlib.crc32(image) for image in images],
                                      np.uint32)
        image_path, label_path = self._paths(number)
        atomic_write(image_path, lambda name: np.save(name, images))
        atomic_write(label_path, lambda name: np.savez(name, **labels))
        return items

    @contextmanager
    def _claim(self, number: int, wait: bool = False) -> Iterator[bool]:
        self.folder.mkdir(parents=True, exist_ok=True)
        if fcntl is None:
            yield True
            return
        with open(self.folder / f'{number:06d}.lock', 'w') as lock:
            try:
                fcntl.flock(lock,
                            fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError:
                yield False
                return
            except OSError:  # a file system without locks
                yield True
                return
            yield True
