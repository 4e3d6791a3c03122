# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Entries of large JSON files, one after the other.

A few hundred megabytes of text make gigabytes of Python objects; here only
one entry at a time is one.
"""
import json
import re
from pathlib import Path
from typing import Any, Iterator, NoReturn, Tuple, Union

__all__ = ['iterate_json', 'iterate_json_list']

_CHUNK = 1 << 20  # characters
_SPACE = re.compile(r'[ \t\n\r]*')
_IN_NUMBERS = '.eE'  # and '', where a piece ends
_DECODER = json.JSONDecoder()


class _Text:
    """The text of a file that is not yet read, a piece of it in memory."""

    def __init__(self, file, path: Path) -> None:
        self._file = file
        self._path = path
        self._text = file.read(_CHUNK)
        self._position = 0

    def peek(self) -> str:
        """The next character that is no space; '' at the end."""
        while True:
            end = _SPACE.match(self._text, self._position).end()
            self._position = end
            if end < len(self._text) or not self._more():
                return self._text[end:end + 1]

    def skip(self, expected: str, keys: tuple) -> str:
        """The same, which is then behind us; an error if it is another."""
        found = self.peek()
        if not found or found not in expected:
            self.fail(
                keys, f"expected one of '{expected}', got "
                f"{repr(found) if found else 'the end of the file'}")
        self._position += 1
        return found

    def value(self, keys: tuple) -> Any:
        """Whatever comes next, as a whole."""
        self.peek()
        while True:
            try:
                value, end = _DECODER.raw_decode(self._text, self._position)
                # A number may go on in the next piece.
                if self._text[end:end + 1] not in _IN_NUMBERS or \
                        not self._more():
                    self._position = end
                    return value
            except json.JSONDecodeError as error:
                if not self._more():
                    self.fail(keys, error.msg)

    def fail(self, keys: tuple, message: str) -> NoReturn:
        where = ''.join(f'[{key!r}]' for key in keys)
        raise ValueError(
            f'{self._path}: {where or "the file"} breaks off or is no JSON: '
            f'{message}') from None

    def _more(self) -> bool:
        rest = self._text[self._position:]
        more = self._file.read(max(_CHUNK, len(rest)))
        self._text, self._position = rest + more, 0
        return bool(more)


def iterate_json(path: Union[str, Path],
                 depth: int) -> Iterator[Tuple[tuple, Any]]:
    """What lies at a depth of a JSON file, one after the other.

    Args:
        path (str | Path): The file.
        depth (int): How many dictionaries and lists to go into. With 2,
            ``{"a": [x, y], "b": z}`` gives ``('a', 0), x``, ``('a', 1), y``
            and ``('b', ), z`` if z is neither of them.

    Yields:
        tuple[tuple, Any]: Keys of dictionaries and numbers of list entries,
        and what is there.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it breaks off or is no JSON; says where.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path} does not exist')
    try:
        with open(path, encoding='utf-8') as file:
            yield from _walk(_Text(file, path), (), depth)
    except UnicodeDecodeError as error:
        raise ValueError(f'{path} is no text: {error}') from None


def _walk(text: _Text, keys: tuple, depth: int) -> Iterator[Tuple[tuple, Any]]:
    opening = text.peek()
    if not depth or opening not in ('{', '['):
        yield keys, text.value(keys)
        return
    closing = '}' if opening == '{' else ']'
    text.skip(opening, keys)
    number = 0
    if text.peek() == closing:
        text.skip(closing, keys)
        return
    while True:
        key = number
        if opening == '{':
            key = text.value(keys)
            text.skip(':', keys)
        if depth == 1:
            yield (*keys, key), text.value((*keys, key))
        else:
            yield from _walk(text, (*keys, key), depth - 1)
        number += 1
        if text.skip(',' + closing, (*keys, key)) == closing:
            return


def iterate_json_list(path: Union[str, Path], key: str) -> Iterator[Any]:
    """The objects of a list in a JSON file, one after the other.

    Args:
        path (str | Path): The file: a dictionary, with the list in it.
        key (str): Name of the list.

    Yields:
        Any: Entry after entry.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If there is no such list, or it breaks off.
    """
    found = False
    for keys, value in iterate_json(path, 2):
        if len(keys) == 2 and keys[0] == key:
            found = True
            yield value
    if not found:
        raise ValueError(f"{path} has no list '{key}', or an empty one")
