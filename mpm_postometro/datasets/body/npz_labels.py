# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Arrays of .npz files, with errors that say which file and key."""
import zipfile
from pathlib import Path
from typing import Any, Dict, Sequence, Union

import numpy as np

from mpm_postometro.bodies.safe_pickle import load_npz

__all__ = ['read_arrays', 'require']


def read_arrays(
    path: Union[str, Path],
    required: Sequence[str],
    optional: Sequence[str] = ()
) -> Dict[str, np.ndarray]:
    """Some arrays of an .npz file; object arrays run no code.

    Args:
        path (str | Path): The file.
        required (Sequence[str]): Keys that must be there.
        optional (Sequence[str]): Keys that may be.

    Returns:
        dict[str, np.ndarray]: Those that there are.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no .npz file, or a key is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path} does not exist')
    try:
        with zipfile.ZipFile(path) as archive:
            found = [name[:-len('.npy')] for name in archive.namelist()]
        missing = [key for key in required if key not in found]
        if missing:
            raise ValueError(f'{path}: has no {missing}, only {sorted(found)}')
        return load_npz(path, [*required, *optional])
    except (zipfile.BadZipFile, EOFError) as error:
        raise ValueError(f'{path} is no whole .npz file: {error}') from None


def require(array: Any, where: str, length: int) -> np.ndarray:
    """An array about so many people.

    Raises:
        ValueError: If it is about another number.
    """
    array = np.asarray(array)
    if array.shape[:1] != (length, ):
        raise ValueError(f'{where} must be about {length} people, got shape '
                         f'{array.shape}')
    return array
