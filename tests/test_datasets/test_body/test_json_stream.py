# Copyright (c) The mpm_postometro authors. All rights reserved.
import json

import pytest

from mpm_postometro.datasets.body import json_stream
from mpm_postometro.datasets.body.json_stream import (iterate_json,
                                                      iterate_json_list)

TREE = {
    'ver': 1.25,
    'none': {},
    'people': [dict(a=i, b=['ü[],{}"people"' * (i % 3)]) for i in range(50)],
    'actions': {
        '2': {
            '1': [[1, 2.5], [-3e-5, 1e20]]
        },
        '3': {}
    },
    'last': 123456
}


def flatten(value, depth, keys=()):
    """The same by the json module."""
    if depth and isinstance(value, (dict, list)):
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        return [
            x for key, entry in pairs
            for x in flatten(entry, depth - 1, (*keys, key))
        ]
    return [(keys, value)]


@pytest.mark.parametrize('chunk', [1, 7, 1000, 1 << 20])
@pytest.mark.parametrize('indent', [None, 2])
def test_entries_of_all_depths(tmp_path, monkeypatch, chunk, indent):
    monkeypatch.setattr(json_stream, '_CHUNK', chunk)
    path = tmp_path / 'a.json'
    path.write_text(json.dumps(TREE, indent=indent))
    for depth in range(5):
        assert list(iterate_json(path, depth)) == flatten(TREE, depth)
    assert list(iterate_json_list(path, 'people')) == TREE['people']


@pytest.mark.parametrize('text, message', [
    ('{"a": [1, 2', r"\['a'\]\[1\] breaks off .* got the end of the file"),
    ('{"a": [1, {"b"', r"\['a'\]\[1\] breaks off or is no JSON: "),
    ('{"a" 1}', "the file breaks off or is no JSON: expected one of ':'"),
    ('{"a": [1 2]}', r"\['a'\]\[0\] .* expected one of ',\]', got '2'"),
    ('', 'the file breaks off or is no JSON: Expecting value'),
    (b'\xff\xd8\xff\xe0', 'is no text'),
])
def test_broken_text(tmp_path, text, message):
    path = tmp_path / 'broken.json'
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=message) as caught:
        list(iterate_json(path, 2))
    assert 'broken.json' in str(caught.value)


def test_lists_that_are_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match='none.json does not exist'):
        list(iterate_json_list(tmp_path / 'none.json', 'a'))
    for text in ('{"b": [1]}', '{"a": []}', '{"a": 1}', '[]'):
        (tmp_path / 'a.json').write_text(text)
        with pytest.raises(ValueError, match="a.json has no list 'a', or an"):
            list(iterate_json_list(tmp_path / 'a.json', 'a'))
