# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Read arrays out of pickles without running what the pickle asks for.

SMPL's model files are pickles, some made with Python 2 and with ``chumpy``
objects inside; a plain ``pickle.load`` would call whatever such a file names.
Here a pickle can only build plain containers and the inert records below,
which :func:`resolve` turns into arrays afterwards. chumpy is not needed.
"""
import io
import pickle
import zipfile
from typing import Any, BinaryIO, Callable, Dict, Optional, Tuple, Union

import numpy as np
import scipy.sparse as sp

__all__ = ['UnsafePickleError', 'load_pickle', 'load_npy', 'load_npz']


class UnsafePickleError(pickle.UnpicklingError):
    """A pickle asked for something that is not plain array data."""


class _Record:
    """What the pickle wanted to build: arguments and state, never code."""

    args: tuple = ()
    state: Any = None

    def __init__(self, *args):
        self.args = args

    def __setstate__(self, state):
        self.state = state


class _Array(_Record):
    pass


class _DType(_Record):
    pass


class _Scalar(_Record):
    pass


class _Buffer(_Record):
    pass


class _Sparse(_Record):
    pass


class _Chumpy(_Record):
    pass


class _Allowed:
    """A callable that a pickle may name but can neither see nor change."""

    __slots__ = ('_function', )

    def __init__(self, function: Callable):
        self._function = function

    def __call__(self, *args):
        return self._function(*args)

    def __setstate__(self, state):
        raise UnsafePickleError('a pickle tried to change a function')


def _encode(text: str, encoding: str = 'latin1') -> bytes:
    if encoding not in ('latin1', 'latin-1'):
        raise UnsafePickleError(f"bytes in encoding '{encoding}'")
    return text.encode('latin1')


def _reconstructor(cls: type, base: Any, state: Any) -> _Record:
    if not (isinstance(cls, type) and issubclass(cls, _Record)):
        raise UnsafePickleError(f'an object of type {cls!r}')
    return cls()


def _table() -> Dict[Tuple[str, str], Any]:
    table = {
        ('numpy', 'ndarray'): _Array,
        ('numpy', 'dtype'): _DType,
        ('_codecs', 'encode'): _Allowed(_encode),
    }
    for core in ('numpy.core', 'numpy._core'):
        table[core + '.multiarray',
              '_reconstruct'] = _Allowed(lambda *args: _Array())
        table[core + '.multiarray', 'scalar'] = _Scalar
        table[core + '.numeric', '_frombuffer'] = _Buffer
    for module in ('__builtin__', 'builtins'):
        table[module, 'object'] = _Record
        table[module, 'set'] = _Allowed(set)
        table[module, 'bytes'] = _Allowed(_encode_or_empty)
    for module in ('copy_reg', 'copyreg'):
        table[module, '_reconstructor'] = _Allowed(_reconstructor)
    for kind in ('csc', 'csr', 'coo'):
        for module in (f'scipy.sparse.{kind}', f'scipy.sparse._{kind}'):
            for suffix in ('matrix', 'array'):
                name = f'{kind}_{suffix}'
                table[module, name] = type(name, (_Sparse, ), {'kind': kind})
    return table


def _encode_or_empty(text: str = '', encoding: str = 'latin1') -> bytes:
    return _encode(text, encoding)


_TABLE = _table()


class _RestrictedUnpickler(pickle.Unpickler):

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in _TABLE:
            return _TABLE[module, name]
        if module.split('.')[0] == 'chumpy':
            return type(str(name), (_Chumpy, ), {})
        raise UnsafePickleError(f"'{module}.{name}'")


def _dtype(record: Any) -> np.dtype:
    if not isinstance(record, _DType) or not record.args:
        raise UnsafePickleError('an array without a dtype')
    code, state = record.args[0], record.state
    # Kinds without structure only: numbers, text and object references.
    if not isinstance(code, str) or code[:1] not in 'biufcSUO?':
        raise UnsafePickleError(f'an array of dtype {code!r}')
    if state is not None and any(x is not None for x in state[2:5]):
        raise UnsafePickleError('a structured array')
    if code[:1] == 'O':
        return np.dtype(object)
    dtype = np.dtype(code)
    order = state[1] if state is not None else '='
    return dtype if order == '|' else dtype.newbyteorder(order)


def _build(shape: Any, dtype: np.dtype, fortran: bool, data: Any,
           memo: dict) -> np.ndarray:
    shape = tuple(int(n) for n in shape)
    order = 'F' if fortran else 'C'
    if dtype.hasobject:
        flat = np.empty(len(data), object)
        for index, item in enumerate(data):
            flat[index] = resolve(item, memo)
        return flat.reshape(shape, order=order)
    if isinstance(data, str):  # bytes of a Python 2 pickle
        data = data.encode('latin1')
    return np.frombuffer(bytes(data), dtype).reshape(shape, order=order).copy()


def _resolve_record(record: _Record, memo: dict) -> Any:
    if isinstance(record, _Array) and record.state is not None:
        shape, dtype, fortran, data = record.state[-4:]
        return _build(shape, _dtype(dtype), fortran, data, memo)
    if isinstance(record, _Buffer):
        data, dtype, shape, order = record.args
        return _build(shape, _dtype(dtype), order == 'F', data, memo)
    if isinstance(record, _Scalar):
        dtype, data = record.args
        return _build((), _dtype(dtype), False, data, memo)[()]
    if isinstance(record, _Sparse) and isinstance(record.state, dict):
        state = {k: resolve(v, memo) for k, v in record.state.items()}
        shape = state['_shape'] if '_shape' in state else state['shape']
        if record.kind == 'coo':
            row, col = state['coords'] if 'coords' in state else (state['row'],
                                                                  state['col'])
            return sp.coo_matrix((state['data'], (row, col)), shape=shape)
        build = sp.csc_matrix if record.kind == 'csc' else sp.csr_matrix
        return build((state['data'], state['indices'], state['indptr']),
                     shape=shape)
    if isinstance(record, _Chumpy) and isinstance(record.state, dict):
        state = record.state
        if 'x' in state:
            return resolve(state['x'], memo)
        if 'a' in state and 'idxs' in state:  # chumpy.reordering.Select
            source = np.asarray(resolve(state['a'], memo)).ravel()
            shape = resolve(state.get('preferred_shape', -1), memo)
            return source[np.asarray(resolve(state['idxs'],
                                             memo))].reshape(shape)
    return record  # not array data: whoever wants it will say so


def resolve(value: Any, memo: Optional[dict] = None) -> Any:
    """Turn records, in containers too, into arrays and sparse matrices.

    Args:
        value (Any): What the restricted unpickler gave.
        memo (dict, optional): Results so far, by id.

    Returns:
        Any: Same containers with arrays in place of records; records
        that hold no array stay records.
    """
    memo = {} if memo is None else memo
    key = id(value)
    if key in memo:
        return memo[key][0]
    if isinstance(value, _Record):
        result = _resolve_record(value, memo)
    elif isinstance(value, dict):
        result = {k: resolve(v, memo) for k, v in value.items()}
    elif isinstance(value, (list, tuple)):
        result = type(value)([resolve(v, memo) for v in value])
    else:
        return value
    memo[key] = (result, value)  # value is kept so that its id stays its own
    return result


def _read(fp: BinaryIO, where: str) -> Any:
    try:
        return resolve(_RestrictedUnpickler(fp, encoding='latin1').load())
    except UnsafePickleError as error:
        raise UnsafePickleError(
            f'{where}: refused to load {error}. Only numpy arrays, scipy '
            'sparse matrices and chumpy arrays are read from pickles; nothing '
            'in the file was run') from None
    except Exception as error:
        raise pickle.UnpicklingError(
            f'{where}: not a pickle of plain arrays '
            f'({type(error).__name__}: {error})') from error


def load_pickle(path: Any) -> Any:
    """Read a pickle of arrays, Python 2's included.

    Args:
        path (str | Path): File.

    Returns:
        Any: Containers, numbers, text, numpy arrays, scipy matrices.

    Raises:
        UnsafePickleError: If the file names anything else.
    """
    with open(path, 'rb') as fp:
        return _read(fp, str(path))


def _read_npy(raw: bytes, where: str) -> np.ndarray:
    fp = io.BytesIO(raw)
    version = np.lib.format.read_magic(fp)
    header = (
        np.lib.format.read_array_header_1_0
        if version == (1, 0) else np.lib.format.read_array_header_2_0)
    if header(fp)[2].hasobject:
        return _read(fp, where)
    fp.seek(0)
    return np.lib.format.read_array(fp, allow_pickle=False)


def load_npy(path: Any) -> np.ndarray:
    """Read a .npy file; object arrays by the restricted unpickler.

    Args:
        path (str | Path): File.

    Returns:
        np.ndarray: The array.
    """
    with open(path, 'rb') as fp:
        return _read_npy(fp.read(), str(path))


def load_npz(
        path: Any,
        keys: Optional[Union[tuple, list]] = None) -> Dict[str, np.ndarray]:
    """Read a .npz file; object arrays by the restricted unpickler.

    Args:
        path (str | Path): File.
        keys (Sequence[str], optional): Read these only. Others are not
            even looked at, so that they may hold what cannot be read.

    Returns:
        dict[str, np.ndarray]: The arrays.
    """
    arrays = {}
    with zipfile.ZipFile(path) as archive:
        for member in archive.namelist():
            key = member[:-4] if member.endswith('.npy') else member
            if keys is None or key in keys:
                arrays[key] = _read_npy(
                    archive.read(member), f"{path}, key '{key}'")
    return arrays
