# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Data sets that METRO and FastMETRO train and evaluate with."""
import json
from itertools import chain
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

import numpy as np
import yaml
from mmengine.utils import ProgressBar
from mmpose.registry import DATASETS

from mpm_postometro.files import check_exist
from .metro_tsv import TSVFile, TSVRows, read_linelist
from .person_dataset import PersonDataset
from .person_table import (NameList, PersonTable, box_from_center,
                           gather_points, gender_codes)
from .table_file import files_stamp, kept_table

__all__ = ['METRODataset']

_CHUNK = 8192  # rows that lie in memory as they come
_SHOW_FROM = 20000  # rows that take seconds
_JOINTS = {'2d_joints': (24, 3), '3d_joints': (24, 4)}
_SHAPES = dict(_JOINTS, center=(2, ), scale=(), pose=(72, ), betas=(10, ))
_FLAGS = {
    '2d_joints': 'has_2d_joints',
    '3d_joints': 'has_3d_joints',
    'pose': 'has_smpl',
    'betas': 'has_smpl'
}


@DATASETS.register_module()
class METRODataset(PersonDataset):
    """People of METRO's tables, as its .yaml file names them.

    The .yaml file has ``img``, ``label``, and where there are such files
    ``hw`` and ``linelist``, below its own folder; with ``composite: true`` the
    first three are lists, and a line of ``linelist`` says which file and
    which of its rows. See :class:`TSVFile` for the files.

    A label is a list with one person: ``center`` and ``scale`` (box, 1.2
    times the person, in units of 200 pixels), ``2d_joints`` (24, 3), pixels,
    ``3d_joints`` (24, 4), metres, about the person, ``pose`` (72) and
    ``betas`` (10), their flags ``has_2d_joints``, ``has_3d_joints``,
    ``has_smpl``, and sometimes ``gender``. Further people of a row are left
    out, as METRO does. METRO takes true meshes from the neutral SMPL whatever
    the gender.

    Pictures are decoded when asked for and given as ``img``. Labels of large
    tables are parsed once: ``train.people.npz`` beside ``train.yaml`` keeps
    them, and is made anew when one of the files has changed.

    Args:
        ann_file (str): The .yaml file.
        tables (Sequence[str], optional): Words, of which the path of an image
            table below the .yaml file must have one; people of others are
            left out. Defaults to None: all.
        **kwargs: See :class:`PersonDataset`; ``data_prefix`` is not used.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file has not what was expected; says which row.
    """

    def __init__(self,
                 ann_file: str,
                 tables: Optional[Sequence[str]] = None,
                 **kwargs) -> None:
        self.tables = tables
        super().__init__(ann_file=ann_file, **kwargs)

    def load_people(self) -> PersonTable:
        """Read the labels."""
        config = self._read_config()
        paths = {
            key: self._paths(config, key)
            for key in ('img', 'label', 'hw') if config.get(key)
        }
        linelist = [self._below(config['linelist'])
                    ] if config.get('linelist') else []
        check_exist([*chain.from_iterable(paths.values()), *linelist])
        files = {key: [*map(TSVFile, paths[key])] for key in paths}
        for key in set(files) - {'img'}:
            for image, other in zip(files['img'], files[key]):
                if len(image) != len(other):
                    raise ValueError(f'{other.path} has {len(other)} rows, '
                                     f'but {image.path} has {len(image)}')
        table, name = self._read_linelist(config)
        self._images = TSVRows(files['img'], table, name)
        labels = TSVRows(files['label'], table, name)
        sizes = TSVRows(files['hw'], table, name) if 'hw' in files else None
        used = [Path(self.ann_file), *linelist]
        for file in files['label'] + files.get('hw', []):
            used += [file.path, file.lineidx]
        people = kept_table(used[0].with_suffix('.people.npz'),
                            files_stamp(used),
                            lambda: self._read_all(labels, sizes))
        self._keys = people.image_names
        # Pictures are found by their rows, keys only name them.
        people = people.replace(image_names=None)
        if self.tables is None:
            return people
        wanted = self._wanted(config)
        which = np.zeros(len(people),
                         np.int64) if table is None else table[people.image, 0]
        return people.select(wanted[which], 'of a table that is not wanted')

    def _wanted(self, config: Mapping) -> np.ndarray:
        """Which image tables have a word of ``tables``."""
        paths = config['img']
        paths = paths if isinstance(paths, list) else [paths]
        for word in self.tables:
            if not any(word in path for path in paths):
                raise ValueError(f'{self.ann_file} has no table with {word!r} '
                                 f'in its path, only {paths}')
        return np.array(
            [any(word in path for word in self.tables) for path in paths])

    def _read_all(self, labels: TSVRows,
                  sizes: Optional[TSVRows]) -> PersonTable:
        """Parse the labels; ``image_names`` are the keys of all rows."""
        keys, tables = [], []
        bar = None
        if len(labels) >= _SHOW_FROM:
            print(f'Labels of {self.ann_file}:')
            bar = ProgressBar(-(-len(labels) // _CHUNK))
        for start in range(0, len(labels), _CHUNK):
            rows = range(start, min(start + _CHUNK, len(labels)))
            tables.append(self._read_people(labels, sizes, rows, keys))
            if bar is not None:
                bar.update()
        if bar is not None:
            print()
        return PersonTable.concatenate(tables).replace(
            image_names=NameList(keys))

    def read_image(self, row: int) -> np.ndarray:
        """The picture of a person, (H, W, 3) uint8 BGR."""
        file, line = self._images[self.table.image[row]]
        return file.image(line)

    def image_file(self, row: int) -> bytes:
        """The file of a person's picture, as the table has it."""
        file, line = self._images[self.table.image[row]]
        return file.file(line)

    def image_path(self, row: int) -> str:
        """The table and the key of a person's picture."""
        index = int(self.table.image[row])
        return f'{self._images[index][0].path}:{self._keys[index]}'

    def _read_config(self) -> Dict[str, Any]:
        path = Path(self.ann_file)
        if not path.is_file():
            raise FileNotFoundError(f'{path} does not exist')
        try:
            config = yaml.safe_load(path.read_text())
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise ValueError(f'{path} is no YAML file: {error}') from None
        if not isinstance(config, Mapping):
            raise ValueError(f"{path} must have 'img' and 'label', got "
                             f'{type(config).__name__}')
        missing = [key for key in ('img', 'label') if not config.get(key)]
        if missing:
            raise ValueError(f'{path} has no {missing}, only {sorted(config)}')
        return config

    def _paths(self, config: Mapping, key: str) -> List[Path]:
        paths = config[key]
        composite = bool(config.get('composite'))
        if isinstance(paths, list) != composite:
            raise ValueError(
                f"{self.ann_file}: '{key}' must be "
                f'{"a list of files" if composite else "one file"} where '
                f'composite is {composite}, got {paths}')
        paths = paths if composite else [paths]
        if composite and len(paths) != len(config['img']):
            raise ValueError(f"{self.ann_file}: '{key}' has {len(paths)} "
                             f"files, but 'img' has {len(config['img'])}")
        return [self._below(path) for path in paths]

    def _below(self, path: str) -> Path:
        return Path(self.ann_file).parent / path

    def _read_linelist(self,
                       config: Mapping) -> Tuple[Optional[np.ndarray], str]:
        if not config.get('linelist'):
            return None, self.ann_file
        path = self._below(config['linelist'])
        if config.get('composite'):
            return read_linelist(path, 2), str(path)
        rows = read_linelist(path, 1)
        return np.concatenate([np.zeros_like(rows), rows], 1), str(path)

    def _read_people(self, labels: TSVRows, sizes: Optional[TSVRows],
                     rows: range, keys: List[str]) -> PersonTable:
        """The people of some rows; appends the keys of all of them."""
        columns = {
            key: np.zeros((len(rows), *shape), np.float32)
            for key, shape in _SHAPES.items()
        }
        flags = {key: np.zeros(len(rows), bool) for key in _FLAGS}
        image_size = np.zeros((len(rows), 2), np.int32)
        genders, others = [''] * len(rows), 0
        present = np.zeros(len(rows), bool)
        for i, row in enumerate(rows):
            file, line = labels[row]
            keys.append(file.key(line))
            people = file.json(line)
            where = file.where(line)
            if not isinstance(people, list) or not all(
                    isinstance(x, Mapping) for x in people):
                raise ValueError(f'{where} must be a list of dictionaries, '
                                 'one a person')
            if not people:
                continue
            present[i] = True
            others += len(people) - 1
            person = people[0]
            for key, shape in _SHAPES.items():
                known = key not in _FLAGS or _flag(person, _FLAGS[key], where)
                if known:
                    columns[key][i] = _numbers(person, key, shape, where)
                    if key in flags:
                        flags[key][i] = True
            if columns['scale'][i] <= 0:
                raise ValueError(f"{where}: 'scale' must be positive, got "
                                 f"{columns['scale'][i]}")
            if person.get('gender') is not None:
                genders[i] = str(np.ravel(person['gender'])[0])
                gender_codes([genders[i]], f"{where}: 'gender'", 1)
            if sizes is not None:
                image_size[i] = _size(*sizes[row])
        points = gather_points([('j24', columns['2d_joints'])], 'j14')
        joints = gather_points([('j24', columns['3d_joints'])], 'j14')
        table = PersonTable(
            image=np.arange(rows.start, rows.stop),
            bbox=box_from_center(columns['center'],
                                 np.where(present, columns['scale'], 1),
                                 self.ann_file),
            image_size=image_size if sizes is not None else None,
            keypoints=gather_points([('j24', columns['2d_joints'])], 'coco17'),
            joints_2d=points,
            joints_3d=joints,
            has_joints_3d=flags['3d_joints'],
            global_orient=columns['pose'][:, :3],
            body_pose=columns['pose'][:, 3:].reshape(-1, 23, 3),
            betas=columns['betas'],
            has_smpl=flags['pose'],
            gender=gender_codes(genders, self.ann_file, len(rows)),
            drop_report={'not the first person of a row': others}
            if others else {},
            source=self.ann_file)
        return table.select(present, 'nobody in the row')


def _numbers(person: Mapping, key: str, shape: tuple,
             where: str) -> np.ndarray:
    """An entry of a label; leading dimensions of 1 are taken off."""
    if key not in person:
        raise ValueError(f"{where} has no '{key}', only {sorted(person)}")
    try:
        values = np.array(person[key], np.float32)
    except (TypeError, ValueError):
        raise ValueError(f"{where}: '{key}' must be numbers {shape}") from None
    while values.ndim > len(shape) and values.shape[0] == 1:
        values = values[0]
    if values.shape != shape:
        raise ValueError(f"{where}: '{key}' must be {shape}, got "
                         f'{values.shape}')
    if key in _JOINTS:
        values[:, -1] = values[:, -1].clip(0, 1)
        values[values[:, -1] == 0] = 0  # unknown ones may be anything
    if not np.isfinite(values).all():
        raise ValueError(f"{where}: '{key}' is not finite")
    return values


def _flag(person: Mapping, key: str, where: str) -> bool:
    return bool(_numbers(person, key, (), where))


def _size(file: TSVFile, line: int) -> Tuple[int, int]:
    """Width and height out of a row of a ``.hw.tsv``."""
    text = file[line][-1]
    try:
        if text.lstrip()[:1] in (b'[', b'{'):
            size = json.loads(text)
            size = size[0] if isinstance(size, list) else size
            height, width = size['height'], size['width']
        else:
            height, width = text.split()
        return int(width), int(height)
    except (ValueError, KeyError, TypeError, IndexError):
        raise ValueError(
            f'{file.where(line)} should end in height and width, "480 640" or '
            '[{"height": 480, "width": 640}], got '
            f'{text[:60]!r}') from None
