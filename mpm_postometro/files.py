# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Files that are there whole or not at all.

Lies below all rooms and imports none of them.
"""
import json
import os
import tempfile
from pathlib import Path
from typing import Any, Callable, Iterable, Union

__all__ = ['atomic_write', 'check_exist', 'read_json', 'write_json']

_SHOWN = 10  # missing files that an error names


def atomic_write(path: Union[str, Path], write: Callable[[str], Any]) -> Path:
    """Let a file appear whole or not at all.

    Args:
        path (str | Path): Where it goes; missing folders are made.
        write (Callable): Gets a temporary name in the same folder with the
            same suffix, and writes the file there.

    Returns:
        Path: ``path``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(
        prefix=f'.{path.stem[:40]}-', suffix=path.suffix, dir=path.parent)
    os.close(handle)
    try:
        write(temporary)
        # mkstemp makes private files; give what open() would have given.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        with open(temporary, 'rb') as file:
            os.fsync(file.fileno())  # its content before its name
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    return path


def check_exist(paths: Iterable[Union[str, Path]], hint: str = '') -> None:
    """Refuse to begin where files or folders are missing.

    Args:
        paths (Iterable[str | Path]): Those that are needed.
        hint (str): What else to say in the error.

    Raises:
        FileNotFoundError: Names all that are missing, the first ten if there
            are more.
    """
    missing = [
        str(path) for path in dict.fromkeys(paths) if not Path(path).exists()
    ]
    if missing:
        more = len(missing) - _SHOWN
        names = ', '.join(missing[:_SHOWN])
        names += f' and {more} more' if more > 0 else ''
        verb = 'do' if len(missing) > 1 else 'does'
        raise FileNotFoundError(f'{names} {verb} not exist{hint}')


def write_json(path: Union[str, Path], content: Any) -> Path:
    """Write JSON, whole or not at all."""
    text = json.dumps(content, indent=1)
    return atomic_write(path, lambda name: Path(name).write_text(text))


def read_json(path: Union[str, Path]) -> Any:
    """The content of a JSON file, or None where there is none."""
    path = Path(path)
    return json.loads(path.read_text()) if path.is_file() else None
