# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Labels of many people, a column for each kind, no object for a person."""
from dataclasses import dataclass, field, fields
from typing import (Any, Dict, Iterable, List, Mapping, NamedTuple, Optional,
                    Sequence, Tuple)

import numpy as np

from mpm_postometro.bodies.skeletons import SKELETONS, joint_mapping

__all__ = [
    'GENDERS', 'NameList', 'PersonTable', 'box_from_center', 'check_column',
    'check_numbers', 'check_points', 'gather_points', 'gender_codes',
    'merge_without_duplicates', 'names_of'
]

#: tuple[str]: What the numbers in the column ``gender`` mean.
GENDERS = ('neutral', 'male', 'female')


class _Column(NamedTuple):
    shape: Tuple[int, ...]
    dtype: type
    unknown: float  # what a person without this label has


_COLUMNS = dict(
    image=_Column((), np.int32, -1),
    bbox=_Column((4, ), np.float32, 0),
    image_size=_Column((2, ), np.int32, 0),
    keypoints=_Column((17, 3), np.float32, 0),
    joints_2d=_Column((14, 3), np.float32, 0),
    joints_3d=_Column((14, 4), np.float32, 0),
    global_orient=_Column((3, ), np.float32, 0),
    body_pose=_Column((23, 3), np.float32, 0),
    betas=_Column((10, ), np.float32, 0),
    transl=_Column((3, ), np.float32, np.nan),
    intrinsics=_Column((3, 3), np.float32, np.nan),
    has_smpl=_Column((), bool, False),
    has_joints_3d=_Column((), bool, False),
    gender=_Column((), np.int8, 0),
    annotation_id=_Column((), np.int64, -1),
    frame=_Column((), np.int32, -1),
    sequence=_Column((), np.int32, -1))
_POINTS = ('keypoints', 'joints_2d', 'joints_3d')
_SMPL = ('global_orient', 'body_pose', 'betas')


class NameList:
    """Many names in one array of bytes.

    Args:
        names (Iterable[str]): The names.
    """

    def __init__(self, names: Iterable[str] = ()) -> None:
        parts = [str(name).encode() for name in names]
        self._bytes = np.frombuffer(b''.join(parts), np.uint8)
        self._ends = np.cumsum([0, *map(len, parts)], dtype=np.int64)

    @classmethod
    def unique(cls, names: Sequence[str]) -> Tuple['NameList', np.ndarray]:
        """Keep each name once.

        Args:
            names (Sequence[str]): N names.

        Returns:
            tuple[NameList, np.ndarray]: The different names, and for each of
            the N where it is among them, int32.
        """
        distinct, rows = np.unique(np.asarray(names, str), return_inverse=True)
        return cls(distinct), rows.reshape(-1).astype(np.int32)

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        if not 0 <= index < len(self):
            raise IndexError(f'{index} of {len(self)} names')
        start, end = self._ends[index:index + 2]
        return self._bytes[start:end].tobytes().decode()

    def __add__(self, other: 'NameList') -> 'NameList':
        joined = NameList()
        joined._bytes = np.concatenate([self._bytes, other._bytes])
        joined._ends = np.concatenate(
            [self._ends, other._ends[1:] + self._ends[-1]])
        return joined

    @property
    def arrays(self) -> Tuple[np.ndarray, np.ndarray]:
        """tuple[np.ndarray]: Bytes of all names, and where names end."""
        return self._bytes, self._ends

    @classmethod
    def from_arrays(cls, text: np.ndarray, ends: np.ndarray) -> 'NameList':
        """The names of :attr:`arrays`.

        Raises:
            ValueError: If the two do not fit.
        """
        if text.dtype != np.uint8 or ends.dtype != np.int64 or \
                ends.ndim != 1 or not len(ends) or ends[0] != 0 or \
                ends[-1] != len(text) or (np.diff(ends) < 0).any():
            raise ValueError('bytes and ends of names do not fit')
        names = cls()
        names._bytes, names._ends = text, ends
        return names

    def with_prefix(self, prefix: str) -> 'NameList':
        """The names with something before each of them."""
        return NameList(prefix + name for name in self)

    @property
    def nbytes(self) -> int:
        """int: Memory."""
        return self._bytes.nbytes + self._ends.nbytes


@dataclass(frozen=True, eq=False)
class PersonTable:
    """N labelled people. Arrays are read-only; those left out cost nothing.

    Points carry a weight as their last number, from 0 (unknown; all its
    numbers are 0) to 1.

    Attributes:
        image (np.ndarray): (N, ) int32, row of ``image_names``, or whatever
            number the data set finds the picture by.
        bbox (np.ndarray): (N, 4) xyxy, pixels, the whole person.
        image_names (NameList | None): Paths, relative to the data set's
            folder.
        image_size (np.ndarray | None): (N, 2) int32, width and height; 0 =
            unknown.
        keypoints (np.ndarray | None): (N, 17, 3), COCO-17, pixels.
        joints_2d (np.ndarray | None): (N, 14, 3), J14, pixels.
        joints_3d (np.ndarray | None): (N, 14, 4), J14, metres, axes of the
            camera; the origin may be the person's where ``transl`` is
            unknown.
        global_orient, body_pose, betas (np.ndarray | None): (N, 3), (N, 23,
            3) axis-angle, (N, 10), SMPL in the camera's frame.
        transl (np.ndarray | None): (N, 3), metres; NaN = unknown.
        intrinsics (np.ndarray | None): (N, 3, 3), pixels; NaN = unknown.
        has_smpl, has_joints_3d (np.ndarray): (N, ) bool; default: where the
            columns are there.
        gender (np.ndarray | None): (N, ) int8, row of :data:`GENDERS`.
        annotation_id (np.ndarray | None): (N, ) int64; -1 = unknown.
        frame, sequence (np.ndarray | None): (N, ) int32, number of the frame
            and row of ``sequence_names``; -1 = unknown.
        sequence_names (NameList | None): See ``sequence``.
        drop_report (dict[str, int]): Why people were left out, and how many.
        source (str): The file, for errors.

    Raises:
        ValueError: If a column has another shape, or numbers that are not
            finite; says which and where.
    """

    image: np.ndarray
    bbox: np.ndarray
    image_names: Optional[NameList] = None
    image_size: Optional[np.ndarray] = None
    keypoints: Optional[np.ndarray] = None
    joints_2d: Optional[np.ndarray] = None
    joints_3d: Optional[np.ndarray] = None
    global_orient: Optional[np.ndarray] = None
    body_pose: Optional[np.ndarray] = None
    betas: Optional[np.ndarray] = None
    transl: Optional[np.ndarray] = None
    intrinsics: Optional[np.ndarray] = None
    has_smpl: Optional[np.ndarray] = None
    has_joints_3d: Optional[np.ndarray] = None
    gender: Optional[np.ndarray] = None
    annotation_id: Optional[np.ndarray] = None
    frame: Optional[np.ndarray] = None
    sequence: Optional[np.ndarray] = None
    sequence_names: Optional[NameList] = None
    drop_report: Mapping[str, int] = field(default_factory=dict)
    source: str = ''

    def __post_init__(self) -> None:
        count = len(self.image)
        for flag, names in (('has_smpl', _SMPL), ('has_joints_3d',
                                                  ('joints_3d', ))):
            missing = [n for n in names if getattr(self, n) is None]
            flags = getattr(self, flag)
            if flags is None:
                self._set(flag, np.full(count, not missing))
            elif missing and np.any(flags):
                raise ValueError(f'{self._where(flag)} is set, but {missing} '
                                 'are missing')
        for name in _COLUMNS:
            if getattr(self, name) is not None:
                self._set(name, self._checked(name, count))
        for index, names in (('image', 'image_names'), ('sequence',
                                                        'sequence_names')):
            rows, names = getattr(self, index), getattr(self, names)
            if rows is not None and names is not None and len(rows) and \
                    rows.max() >= len(names):
                raise ValueError(f'{self._where(index)} names row '
                                 f'{rows.max()} of {len(names)}')

    def _set(self, name: str, value: Any) -> None:
        object.__setattr__(self, name, value)

    def _where(self, name: str) -> str:
        return f"{self.source or 'PersonTable'}: '{name}'"

    def _checked(self, name: str, count: int) -> np.ndarray:
        shape, dtype, unknown = _COLUMNS[name]
        where = self._where(name)
        array = getattr(self, name)
        if name in _POINTS:
            array = check_points(array, where, count, *shape)
        elif dtype is np.float32 and unknown == 0:
            array = check_column(array, where, count, shape)
        elif np.shape(array) != (count, *shape):
            raise ValueError(f'{where} must be {(count, *shape)}, got '
                             f'{np.shape(array)}')
        array = np.ascontiguousarray(array, dtype).view()
        array.setflags(write=False)
        return array

    def __len__(self) -> int:
        return len(self.image)

    def __deepcopy__(self, memo: dict) -> 'PersonTable':
        return self  # nobody can change it

    @property
    def nbytes(self) -> int:
        """int: Memory of all columns and names."""
        values = [getattr(self, f.name) for f in fields(self)]
        return sum(
            v.nbytes for v in values if isinstance(v, (np.ndarray, NameList)))

    def image_name(self, row: int) -> str:
        """Path of a person's picture."""
        return self.image_names[self.image[row]]

    def replace(self, **changes) -> 'PersonTable':
        """The same with other columns."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return PersonTable(**{**values, **changes})

    def select(self, which: np.ndarray, reason: str = '') -> 'PersonTable':
        """Some of the people.

        Args:
            which (np.ndarray): (N, ) bool, or their rows.
            reason (str): Why the others are left out, for ``drop_report``.

        Returns:
            PersonTable: Shares the lists of names.
        """
        if which.dtype == bool and which.all():
            return self  # not twice the memory
        columns = {
            name: getattr(self, name)[which]
            for name in _COLUMNS if getattr(self, name) is not None
        }
        report = dict(self.drop_report)
        left_out = len(self) - len(columns['image'])
        if reason and left_out:
            report[reason] = report.get(reason, 0) + left_out
        return self.replace(**columns, drop_report=report)

    @classmethod
    def concatenate(cls, tables: Sequence['PersonTable']) -> 'PersonTable':
        """One table of several.

        Args:
            tables (Sequence[PersonTable]): At least one. Columns that some
                lack are filled with what means unknown.

        Returns:
            PersonTable: Drop reports are added up.

        Raises:
            ValueError: If only some of them have names of pictures.
        """
        if len(tables) == 1:
            return tables[0]
        named = [t.image_names is not None for t in tables]
        if any(named) != all(named):
            raise ValueError(
                'tables whose pictures have names and tables whose pictures '
                f'have none do not go together: {[t.source for t in tables]}')
        columns: Dict[str, Any] = {
            name: np.concatenate([_column_of(t, name) for t in tables])
            for name in _COLUMNS if any(
                getattr(t, name) is not None for t in tables)
        }
        for index, names in (('image', 'image_names'), ('sequence',
                                                        'sequence_names')):
            lists = [getattr(t, names) or NameList() for t in tables]
            if index in columns and any(map(len, lists)):
                starts = np.cumsum([0, *map(len, lists)])[:-1]
                shift = np.repeat(starts, [len(t) for t in tables])
                rows = columns[index]
                columns[index] = np.where(rows < 0, rows, rows + shift)
                columns[names] = sum(lists[1:], lists[0])
        report: Dict[str, int] = {}
        for table in tables:
            for reason, count in table.drop_report.items():
                report[reason] = report.get(reason, 0) + count
        sources = list(dict.fromkeys(t.source for t in tables if t.source))
        return cls(**columns, drop_report=report, source=', '.join(sources))


def _column_of(table: PersonTable, name: str) -> np.ndarray:
    array = getattr(table, name)
    if array is None:
        shape, dtype, unknown = _COLUMNS[name]
        array = np.full((len(table), *shape), unknown, dtype)
    return array


def merge_without_duplicates(tables: Sequence[PersonTable]) -> PersonTable:
    """Labels of the same people from several files, each person once.

    Args:
        tables (Sequence[PersonTable]): All with the annotation ids of one
            data set, such as CLIFF's and EFT's of COCO. Of people in several
            of them the first table's labels are kept. People without an id
            are all kept.

    Returns:
        PersonTable: ``drop_report`` says how many were left out.

    Raises:
        ValueError: If a table has no annotation ids.
    """
    for table in tables:
        if table.annotation_id is None:
            raise ValueError(f"{table.source or 'a table'} has no annotation "
                             'ids to find duplicates by')
    everybody = PersonTable.concatenate(tables)
    ids = everybody.annotation_id
    keep = ids < 0
    keep[np.unique(ids, return_index=True)[1]] = True  # first occurrences
    return everybody.select(keep, 'labelled in an earlier file too')


def _numbers(array: Any, where: str, shape: Tuple) -> np.ndarray:
    try:
        numbers = np.asarray(array)
        if numbers.dtype != np.float32:
            numbers = numbers.astype(np.float32)
    except (TypeError, ValueError):
        raise ValueError(f'{where} must be numbers {shape}, got '
                         f'{type(array).__name__}') from None
    if numbers.shape != shape:
        raise ValueError(f'{where} must be {shape}, got {numbers.shape}')
    return numbers


def _refuse_rows(bad: np.ndarray, where: str, what: str) -> None:
    rows = np.flatnonzero(bad.any(tuple(range(1, bad.ndim))))
    if len(rows):
        raise ValueError(f'{where} {what} in {len(rows)} of {len(bad)} rows, '
                         f'the first {rows[:5].tolist()}')


def check_column(array: Any, where: str, count: int,
                 shape: Sequence[int]) -> np.ndarray:
    """A column as float32, or an error that says what is wrong.

    Args:
        array (Any): Should be (count, *shape), finite.
        where (str): File and key, for the error.
        count (int): Number of people.
        shape (Sequence[int]): Of one person.

    Returns:
        np.ndarray: float32.

    Raises:
        ValueError: If it is something else.
    """
    numbers = _numbers(array, where, (count, *shape))
    _refuse_rows(~np.isfinite(numbers), where, 'is not finite')
    return numbers


def check_numbers(value: Any, where: str, shape: Sequence[int]) -> np.ndarray:
    """What one person has, as float32; see :func:`check_column`.

    Args:
        value (Any): Should be of the shape, finite; leading dimensions of 1
            are taken off.
        where (str): File and key, for the error.
        shape (Sequence[int]): What is expected.

    Returns:
        np.ndarray: float32.

    Raises:
        ValueError: If it is something else.
    """
    try:
        array = np.asarray(value, np.float32)
    except (TypeError, ValueError):
        raise ValueError(f'{where} must be numbers {tuple(shape)}') from None
    while array.ndim > len(shape) and array.shape[0] == 1:
        array = array[0]
    if array.shape != tuple(shape):
        raise ValueError(f'{where} must be {tuple(shape)}, got {array.shape}')
    if not np.isfinite(array).all():
        raise ValueError(f'{where} is not finite')
    return array


def check_points(array: Any,
                 where: str,
                 count: int,
                 num_points: int,
                 dims: int,
                 clip: bool = False) -> np.ndarray:
    """Weighted points as float32, those of weight 0 all zero.

    Args:
        array (Any): Should be (count, num_points, dims), the last number a
            weight from 0 to 1. Points of weight 0 may be anything.
        where (str): File and key, for the error.
        count (int): Number of people.
        num_points (int): Points a person.
        dims (int): 3 for x, y, weight; 4 for x, y, z, weight.
        clip (bool): Bring weights to [0, 1], such as COCO's 2. Defaults to
            False: others are refused.

    Returns:
        np.ndarray: float32.

    Raises:
        ValueError: If it is something else.
    """
    numbers = _numbers(array, where, (count, num_points, dims))
    if clip:
        weights = numbers[..., -1:].clip(0, 1)
        numbers = np.concatenate([numbers[..., :-1], weights], -1)
    weights = numbers[..., -1]
    _refuse_rows(~((weights >= 0) & (weights <= 1)), where,
                 'has weights outside [0, 1]')
    known = weights > 0
    _refuse_rows(~np.isfinite(numbers).all(-1) & known, where, 'is not finite')
    if known.all() or not numbers[~known].any():
        return numbers
    return np.where(known[..., None], numbers, np.float32(0))


def box_from_center(center: Any,
                    scale: Any,
                    where: str,
                    enlarged: float = 1.2) -> np.ndarray:
    """Square boxes from SPIN's and METRO's centres and scales.

    Args:
        center (Any): (N, 2), pixels.
        scale (Any): (N, ), side of the crop in units of 200 pixels.
        where (str): The file, for the error.
        enlarged (float): How much larger than the person the crop is; pads
            are left to the pipeline. Defaults to 1.2, as the authors have it.

    Returns:
        np.ndarray: (N, 4) xyxy, float32.

    Raises:
        ValueError: If an array is not of this shape, or a scale not positive.
    """
    count = len(center)
    center = check_column(center, f"{where}: 'center'", count, (2, ))
    scale = check_column(np.reshape(scale, -1), f"{where}: 'scale'", count, ())
    _refuse_rows(scale <= 0, f"{where}: 'scale'", 'is not positive')
    half = (scale * (100 / enlarged))[:, None]
    return np.concatenate([center - half, center + half], 1)


def gather_points(sources: Sequence[Tuple[str, np.ndarray]],
                  target: str) -> np.ndarray:
    """Weighted points of one skeleton out of those of others.

    Args:
        sources (Sequence[tuple[str, np.ndarray]]): Skeletons and their points
            (N, K, D), the last number a weight. Of the first one that has a
            joint, with a weight above 0, it is taken.
        target (str): The skeleton that is wanted.

    Returns:
        np.ndarray: (N, K', D), float32; zeros for what none of them has.
    """
    count, _, dims = sources[0][1].shape
    found = np.zeros((count, SKELETONS[target].num_joints, dims), np.float32)
    for name, points in sources:
        for joint, source in enumerate(
                joint_mapping(name, target, allow_missing=True)):
            if source >= 0:
                wanted = (found[:, joint, -1] == 0) & (
                    points[:, source, -1] > 0)
                found[wanted, joint] = points[wanted, source]
    return found


def gender_codes(values: Any, where: str, count: int) -> np.ndarray:
    """Rows of :data:`GENDERS` for 'm', 'male', 'f', 'female', 'neutral', ''.

    Args:
        values (Any): N of them.
        where (str): File and key, for the error.
        count (int): N.

    Returns:
        np.ndarray: (N, ) int8.

    Raises:
        ValueError: If there are other words, or not N.
    """
    words, inverse = np.unique(
        np.asarray([w.lower() for w in names_of(values)], str),
        return_inverse=True)
    codes = dict(m=1, male=1, f=2, female=2, n=0, neutral=0, none=0)
    codes[''] = 0
    unknown = sorted(set(words.tolist()) - set(codes))
    if unknown or len(inverse) != count:
        raise ValueError(
            f"{where} must be {count} of 'm', 'f', 'neutral', "
            f'got {len(inverse)} with {unknown or words.tolist()}')
    return np.array([codes[w] for w in words.tolist()],
                    np.int8)[inverse.reshape(-1)]


def names_of(values: Any) -> List[str]:
    """Text of arrays of str, bytes or objects, with forward slashes."""
    return [
        (v.decode() if isinstance(v, bytes) else str(v)).replace('\\', '/')
        for v in np.ravel(values).tolist()
    ]
