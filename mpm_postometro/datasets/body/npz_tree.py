# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Nested dictionaries out of .npz files, without running their pickles."""
import zipfile
from pathlib import Path
from typing import Any, Mapping, Union

import numpy as np

from mpm_postometro.bodies.safe_pickle import load_npz

__all__ = ['read_tree', 'take']


def read_tree(path: Union[str, Path], key: str) -> Mapping:
    """A dictionary that somebody saved into an .npz file.

    Args:
        path (str | Path): The file.
        key (str): Where in the file.

    Returns:
        Mapping: The dictionary; see :mod:`bodies.safe_pickle`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no .npz file, or the key is missing or holds
            something else.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path} does not exist')
    try:
        arrays = load_npz(path, [key])
        if key not in arrays:
            with zipfile.ZipFile(path) as archive:
                found = [Path(name).stem for name in archive.namelist()]
            raise ValueError(f"{path}: has no key '{key}', only {found}")
    except zipfile.BadZipFile:
        raise ValueError(f'{path} is no .npz file') from None
    tree = arrays[key]
    if isinstance(tree, np.ndarray) and tree.shape == ():
        tree = tree.item()
    if not isinstance(tree, Mapping):
        raise ValueError(f"{path}: '{key}' must be a dictionary, got "
                         f'{type(tree).__name__}')
    return tree


def take(tree: Any, key: Any, where: str) -> Any:
    """An entry of a dictionary, or an error with the place and the keys.

    Args:
        tree (Any): Should be a dictionary with ``key``.
        key (Any): The key.
        where (str): File and keys so far.

    Returns:
        Any: The entry.

    Raises:
        ValueError: If it is not there.
    """
    if not isinstance(tree, (dict, Mapping)):  # mostly dict: much faster
        raise ValueError(f"{where} must be a dictionary with '{key}', got "
                         f'{type(tree).__name__}')
    if key not in tree:
        raise ValueError(f"{where} has no '{key}', only {sorted(tree)[:20]}")
    return tree[key]
