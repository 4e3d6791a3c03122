# Copyright (c) The mpm_postometro authors. All rights reserved.
"""What the commands that convert published weights have in common."""
import pickle
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Sequence

import torch
from mmengine.config import Config

from mpm_postometro.files import atomic_write

__all__ = [
    'dashed', 'end_on_bad_weights', 'fitting_configs', 'print_weights',
    'write_weights'
]


@contextmanager
def end_on_bad_weights(source: Path) -> Iterator[None]:
    """End the command with one line about its file, not with a traceback.

    Args:
        source (Path): What is read meanwhile.

    Raises:
        SystemExit: If it cannot be read, or does not hold what was expected.
    """
    try:
        yield
    except ValueError as error:
        raise SystemExit(f'{source}: {error}') from None
    except (OSError, pickle.UnpicklingError) as error:  # names the file
        raise SystemExit(str(error)) from None


def fitting_configs(folder: Path, pattern: str,
                    check: Callable[[Any], None]) -> List[str]:
    """Configs that weights fit.

    Args:
        folder (Path): ``configs/METHOD``.
        pattern (str): Of the names of files in it.
        check (Callable): Gets ``model`` of a config; raises ValueError where
            weights do not load into it strictly.

    Returns:
        list[str]: ``configs/METHOD/NAME.py``, sorted.
    """
    names = []
    for path in sorted(folder.glob(pattern)):
        model = Config.fromfile(path).model
        try:
            check(model)
        except ValueError:
            continue
        names.append(path.relative_to(folder.parents[1]).as_posix())
    return names


def print_weights(source: Path, found: Sequence[str],
                  fits: Sequence[str]) -> None:
    """Say what is in a file.

    Args:
        source (Path): The file.
        found (Sequence[str]): One line for each part.
        fits (Sequence[str]): Configs that it fits.
    """
    print(f'{source}: ' + '\n  '.join(found))
    print('  fits: ' + ('\n        '.join(fits) or 'none of our configs'))


def write_weights(target: Path, state: Dict[str, torch.Tensor], kind: str,
                  source: Path) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        target (Path): Where to.
        state (dict[str, Tensor]): The weights.
        kind (str): Of the network.
        source (Path): The file that they were converted from.
    """
    meta = dict(kind=kind, converted_from=source.name)
    checkpoint = dict(meta=meta, state_dict=state)
    atomic_write(target, lambda name: torch.save(checkpoint, name))
    print(f'wrote {target}')


def dashed(numbers: Sequence[int], sign: str = '-') -> str:
    """``(2, 2, 18)`` -> ``'2-2-18'``."""
    return sign.join(map(str, numbers))
