# Copyright (c) The mpm_postometro authors. All rights reserved.
import io
import os
import pickle
import re
import struct
import sys
import types
import zipfile

import numpy as np
import pytest
import scipy.sparse as sp

from mpm_postometro.bodies.safe_pickle import (UnsafePickleError, load_npy,
                                               load_npz, load_pickle)


class Payload:
    """Runs a command when it is unpickled in the usual way."""

    def __init__(self, path):
        self.command = f'touch {path}'

    def __reduce__(self):
        return os.system, (self.command, )


class Python2Pickler(pickle._Pickler):
    """Writes bytes as Python 2's ``str``, as SMPL's files hold them."""

    dispatch = dict(pickle._Pickler.dispatch)

    def save_bytes(self, obj):
        self.write(pickle.BINSTRING + struct.pack('<i', len(obj)) + obj)
        self.memoize(obj)

    dispatch[bytes] = save_bytes


@pytest.fixture
def chumpy(monkeypatch):
    """Classes that pickle as chumpy's do, gone again when the file is read."""
    module = types.ModuleType('chumpy.ch')
    reordering = types.ModuleType('chumpy.reordering')

    class Ch:

        def __init__(self, **state):
            self.__dict__.update(state)

    class Select(Ch):
        pass

    Ch.__module__, Ch.__qualname__ = 'chumpy.ch', 'Ch'
    Select.__module__, Select.__qualname__ = 'chumpy.reordering', 'Select'
    module.Ch, reordering.Select = Ch, Select
    monkeypatch.setitem(sys.modules, 'chumpy', types.ModuleType('chumpy'))
    monkeypatch.setitem(sys.modules, 'chumpy.ch', module)
    monkeypatch.setitem(sys.modules, 'chumpy.reordering', reordering)
    return module.Ch, reordering.Select


def dump(path, value, protocol=2, pickler=pickle.Pickler):
    with open(path, 'wb') as fp:
        pickler(fp, protocol).dump(value)
    return path


ARRAYS = dict(
    doubles=np.arange(12.).reshape(3, 4),
    fortran=np.asfortranarray(np.arange(12, dtype=np.float32).reshape(3, 4)),
    big_endian=np.arange(5, dtype='>i4'),
    unsigned=np.array([[2**32 - 1, 7]], np.uint32),
    flags=np.array([True, False]),
    text=np.array(['ab', 'c']),
    empty=np.zeros((0, 3)),
    scalar=np.float64(2.5),
    objects=np.array([np.arange(3), 'x', None], dtype=object),
    plain=[1, 2.5, 'text', None, True, (1, 2), {
        'a': {1, 2}
    }])


def assert_same(actual, expected):
    assert type(actual) is type(expected)
    if isinstance(expected, np.ndarray):
        assert actual.dtype == expected.dtype
        assert actual.shape == expected.shape
        if expected.dtype == object:
            for a, e in zip(actual, expected):
                assert_same(a, e)
        else:
            np.testing.assert_array_equal(actual, expected)
    else:
        assert actual == expected


@pytest.fixture(params=['numpy.core', 'numpy._core'])
def numpy_name(request, monkeypatch):
    """What numpy 1 and numpy 2 call the module of their functions, whichever
    is there."""
    find = pickle.whichmodule

    def whichmodule(obj, name):
        found = find(obj, name)
        for core in ('numpy.core', 'numpy._core'):
            if found.startswith(f'{core}.'):
                renamed = request.param + found[len(core):]
                monkeypatch.setitem(sys.modules, renamed, sys.modules[found])
                return renamed
        return found

    monkeypatch.setattr(pickle, 'whichmodule', whichmodule)
    return request.param


@pytest.mark.parametrize('protocol, pickler',
                         [(p, pickle._Pickler)
                          for p in range(6)] + [(p, Python2Pickler)
                                                for p in (0, 1, 2)])
def test_arrays_come_back(tmp_path, protocol, pickler, numpy_name):
    file = dump(tmp_path / 'a.pkl', ARRAYS, protocol, pickler)
    assert f'{numpy_name}.multiarray'.encode() in file.read_bytes()
    loaded = load_pickle(file)
    assert set(loaded) == set(ARRAYS)
    for key, value in ARRAYS.items():
        assert_same(loaded[key], value)
    loaded['doubles'] += 1  # writable, as a fresh array is


@pytest.mark.parametrize('kind', ['csc', 'csr', 'coo'])
@pytest.mark.parametrize('suffix', ['matrix', 'array'])
def test_sparse_matrices_come_back(tmp_path, kind, suffix):
    matrix = getattr(sp, f'{kind}_{suffix}')(
        sp.random(5, 7, .3, random_state=0))
    loaded = load_pickle(dump(tmp_path / 'a.pkl', [matrix, matrix]))
    assert sp.issparse(loaded[0]) and loaded[0].shape == (5, 7)
    np.testing.assert_array_equal(loaded[0].toarray(), matrix.toarray())


@pytest.mark.parametrize('protocol', [0, 2])
def test_chumpy_arrays_come_back_without_chumpy(tmp_path, chumpy, protocol,
                                                monkeypatch):
    ch, select = chumpy
    values = np.arange(6.).reshape(2, 3)
    file = dump(
        tmp_path / 'a.pkl',
        dict(
            plain=ch(x=values, _dirty_vars={'x'}),
            chosen=select(
                a=ch(x=values), idxs=np.array([5, 0]), preferred_shape=(2, 1)),
            other=ch(formula='unknown')), protocol, Python2Pickler)
    for name in ('chumpy', 'chumpy.ch', 'chumpy.reordering'):
        monkeypatch.delitem(sys.modules, name)
    loaded = load_pickle(file)
    np.testing.assert_array_equal(loaded['plain'], values)
    np.testing.assert_array_equal(loaded['chosen'], [[5.], [0.]])
    assert not isinstance(loaded['other'], np.ndarray)


def nested(payload, where):
    """A payload where SMPL's files have something harmless."""
    if where == 'object array':
        return np.array([1, payload], dtype=object)
    if where == 'sparse matrix':
        matrix = sp.csc_matrix(np.eye(2))
        matrix.indices = payload
        return matrix
    if where == 'chumpy array':
        module = sys.modules['chumpy.ch']
        return module.Ch(x=payload)
    return {'f': [payload]}


@pytest.mark.parametrize('protocol', range(6))
@pytest.mark.parametrize(
    'where', ['list', 'object array', 'sparse matrix', 'chumpy array'])
def test_a_command_is_refused_and_not_run(tmp_path, protocol, where, chumpy):
    mark = tmp_path / 'ran'
    file = dump(tmp_path / 'evil.pkl', nested(Payload(mark), where), protocol)
    with pytest.raises(UnsafePickleError, match=r'evil\.pkl.*system'):
        load_pickle(file)
    assert not mark.exists()
    pickle.loads(file.read_bytes())  # the payload itself is a true one
    assert mark.exists()


@pytest.mark.parametrize('protocol', range(6))
def test_a_command_in_an_object_array_is_refused(tmp_path, protocol):
    """As numpy writes them, whatever the protocol of the pickle inside."""
    mark = tmp_path / 'ran'
    evil = np.array([1, Payload(mark)], dtype=object)
    member = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        member, dict(descr='|O', fortran_order=False, shape=(2, )))
    pickle.dump(evil, member, protocol)
    good = io.BytesIO()
    np.save(good, np.arange(3))
    with zipfile.ZipFile(tmp_path / 'evil.npz', 'w') as archive:
        archive.writestr('good.npy', good.getvalue())
        archive.writestr('bad.npy', member.getvalue())
    with pytest.raises(UnsafePickleError, match=r"evil\.npz, key 'bad'"):
        load_npz(tmp_path / 'evil.npz')
    # The key that nobody wants is not even looked at.
    assert list(load_npz(tmp_path / 'evil.npz', keys=['good'])) == ['good']
    (tmp_path / 'evil.npy').write_bytes(member.getvalue())
    with pytest.raises(UnsafePickleError, match=r'evil\.npy'):
        load_npy(tmp_path / 'evil.npy')
    assert not mark.exists()
    np.load(tmp_path / 'evil.npz', allow_pickle=True)['bad']  # a true one
    assert mark.exists()


def test_pickles_are_read_here_only(repo_root):
    """What the package and its tools read goes through this reader."""
    unsafe = re.compile(r'allow_pickle\s*=\s*True|pickle\.load\(|joblib|'
                        r'read_pickle|cPickle')
    found = [
        f'{path.name}: {line.strip()}'
        for folder in ('mpm_postometro', 'tools')
        for path in (repo_root / folder).rglob('*.py')
        for line in path.read_text(encoding='utf-8').splitlines()
        if unsafe.search(line) and path.name != 'safe_pickle.py'
    ]
    assert not found


# Hand-written pickles: names that a filter by module would let through.
SNEAKY = dict(
    builtin_eval=b"c__builtin__\neval\n(S'1'\ntR.",
    numpy_load=b"cnumpy\nload\n(S'x'\ntR.",
    numpy_runstring=b'cnumpy.testing._private.utils\nrunstring\n'
    b"(S'1'\n(dtR.",
    attribute_chain=b'\x80\x04\x8c\x05numpy\x8c\x0fndarray.__class__\x93.',
    inst=b"(S'x'\nios\nsystem\n.",
    change_class=b'cnumpy\nndarray\n(dS\'args\'\nI1\nsb.',
    change_function=b'c_codecs\nencode\n(dS\'x\'\nI1\nsb.',
    reconstruct_foreign=b'ccopy_reg\n_reconstructor\n(c__builtin__\nset\n'
    b'c__builtin__\nobject\nNtR.',
    persistent=b'Pid\n.',
    extension=b'\x80\x02\x82\x01.',
    truncated=b'\x80\x02]q\x00(K',
    text=b'hello, not a pickle',
    empty=b'')


@pytest.mark.parametrize('name', sorted(SNEAKY))
def test_sneaky_pickles_are_refused(tmp_path, name):
    file = tmp_path / 'sneaky.pkl'
    file.write_bytes(SNEAKY[name])
    with pytest.raises(pickle.UnpicklingError, match=r'sneaky\.pkl'):
        load_pickle(file)


def test_wrong_array_states_are_refused(tmp_path):
    structured = np.zeros(2, dtype=[('a', 'f4')])
    with pytest.raises(pickle.UnpicklingError, match='dtype|structured'):
        load_pickle(dump(tmp_path / 'a.pkl', structured))
    # Fewer bytes than the shape promises.
    raw = pickle.dumps(np.arange(4, dtype=np.uint8), 2)
    short = raw.replace(b'K\x04\x85', b'K\x09\x85')
    assert short != raw
    (tmp_path / 'b.pkl').write_bytes(short)
    with pytest.raises(pickle.UnpicklingError, match='reshape'):
        load_pickle(tmp_path / 'b.pkl')


def test_npz_as_numpy_reads_it(tmp_path):
    np.savez_compressed(
        tmp_path / 'a.npz',
        numbers=np.arange(6).reshape(2, 3),
        objects=np.array(
            [np.arange(2), sp.identity(3, format='csc')], dtype=object))
    loaded = load_npz(tmp_path / 'a.npz')
    np.testing.assert_array_equal(loaded['numbers'], [[0, 1, 2], [3, 4, 5]])
    np.testing.assert_array_equal(loaded['objects'][0], [0, 1])
    np.testing.assert_array_equal(loaded['objects'][1].toarray(), np.eye(3))


def test_npz_with_a_broken_member(tmp_path):
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.arange(4))
    with zipfile.ZipFile(tmp_path / 'a.npz', 'w') as archive:
        archive.writestr('x.npy', buffer.getvalue()[:-8])
    with pytest.raises(ValueError):
        load_npz(tmp_path / 'a.npz')
