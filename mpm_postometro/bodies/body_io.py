# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Find and read body files: SMPL's and the built-in one."""
import os
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Tuple, Union

import numpy as np
import scipy.sparse as sp

from .mesh_levels import LevelData, read_mesh_downsampling
from .safe_pickle import load_npy, load_npz, load_pickle
from .skeletons import SKELETONS, joint_mapping

__all__ = ['BodyData', 'OPEN_BODY', 'read_body']

PathLike = Union[str, Path]
#: The built-in body.
OPEN_BODY = Path(__file__).parent / 'assets' / 'open_body.npz'
#: Folders (os.pathsep between them) where body files are looked for.
SEARCH_VARIABLE = 'MPM_POSTOMETRO_BODY_MODELS'
_DEFAULT_FOLDER = Path('data') / 'body_models'

_METRO = ('https://github.com/microsoft/MeshTransformer/tree/main/metro/'
          'modeling/data')
# What goes with SMPL in files of its own: where it can be had, by what it is
# looked for, and how it is passed.
_COMPANIONS = {
    'h36m17':
    (f"J_regressor_h36m_correct.npy is MeshTransformer's ({_METRO}). SPIN's "
     'J_regressor_h36m.npy will do, too: its swapped legs are put right',
     ('J_regressor_h36m_correct.npy',
      'J_regressor_h36m*.npy'), "regressors={'h36m17': PATH}"),
    'coco17':
    ("J_regressor_coco.npy is Pose2Mesh's (https://github.com/hongsukchoi/"
     "Pose2Mesh_RELEASE). MeshTransformer's J_regressor_extra.npy (14 rows, "
     f'{_METRO}) gives these joints, too', ('J_regressor_coco.npy',
                                            'J_regressor_coco*.npy'),
     "regressors={'coco17': PATH}"),
    'extra':
    (f"J_regressor_extra.npy is MeshTransformer's (14 rows, {_METRO}). SPIN's "
     'of that name has 9 and will not do', ('J_regressor_extra.npy', ),
     "regressors={'extra': PATH}"),
    'levels': (f"mesh_downsampling.npz is MeshTransformer's ({_METRO}) and "
               "GraphCMR's", ('mesh_downsampling.npz', ), 'mesh_levels=PATH'),
}
_REGRESSOR_FILES = ('h36m17', 'coco17', 'extra')
_EXTRA_ROWS = 14
# Rows of SMPL's 24 joints followed by the 14 extra ones that make up J24.
_J24_ROWS = (8, 5, 29, 30, 4, 7, 21, 19, 17, 16, 18, 20, 31, 32, 33, 34, 35,
             36, 37, 24, 26, 25, 28, 27)


@dataclass
class BodyData:
    """Arrays of a body, as read from a file.

    Attributes:
        name (str): e.g. 'open_body'.
        source (str): The file.
        v_template (np.ndarray): (V, 3), metres, x left, y up, z forward.
        faces (np.ndarray): (F, 3).
        shapedirs (np.ndarray): (V, 3, S).
        weights (np.ndarray): (V, J), skinning weights.
        parents (np.ndarray): (J,), -1 for the root, parents first.
        regressors (dict): Name to (K, V); 'smpl24' must be there.
        posedirs (np.ndarray, optional): (V, 3, 9(J-1)).
        levels (LevelData, optional): Mesh levels.
        mirror_indices (np.ndarray, optional): (V,).
        vertex_groups (np.ndarray, optional): (V,).
        group_names (tuple[str]): Names of the groups.
        missing (dict[str, str]): Of mesh levels ('levels') and regressors
            that are in no file: which file would bring them, where it was
            looked for and where it can be had.
    """

    name: str
    source: str
    v_template: np.ndarray
    faces: np.ndarray
    shapedirs: np.ndarray
    weights: np.ndarray
    parents: np.ndarray
    regressors: Dict[str, np.ndarray]
    posedirs: Optional[np.ndarray] = None
    levels: Optional[LevelData] = None
    mirror_indices: Optional[np.ndarray] = None
    vertex_groups: Optional[np.ndarray] = None
    group_names: Tuple[str, ...] = field(default_factory=tuple)
    missing: Dict[str, str] = field(default_factory=dict)

    def __post_init__(self):
        vertices, joints = self.weights.shape
        expected = dict(
            v_template=(vertices, 3),
            shapedirs=(vertices, 3, self.shapedirs.shape[-1]),
            parents=(joints, ))
        if self.posedirs is not None:
            expected['posedirs'] = (vertices, 3, 9 * (joints - 1))
        for key, shape in expected.items():
            if getattr(self, key).shape != shape:
                raise ValueError(f'{self.source}: {key} must be {shape}, got '
                                 f'{getattr(self, key).shape}')
        if self.regressors['smpl24'].shape != (joints, vertices):
            raise ValueError(f'{self.source}: J_regressor must be '
                             f'{(joints, vertices)}, got '
                             f"{self.regressors['smpl24'].shape}")
        for key, matrix in self.regressors.items():
            if matrix.shape[1] != vertices or (
                    key in SKELETONS and key != 'smpl24'
                    and len(matrix) != SKELETONS[key].num_joints):
                raise ValueError(
                    f"{self.source}: regressor '{key}' has shape "
                    f'{matrix.shape}, which does not fit {vertices} vertices')
        if self.parents[0] != -1 or any(
                not 0 <= p < j for j, p in enumerate(self.parents) if j):
            raise ValueError(f'{self.source}: parents must start with -1 and '
                             'come before their children')


def _search_folders() -> List[Path]:
    folders = os.environ.get(SEARCH_VARIABLE, '').split(os.pathsep)
    return [Path(f) for f in folders if f] + [_DEFAULT_FOLDER]


def _model_names(gender: str) -> List[str]:
    short = {'neutral': 'neutral', 'male': 'm', 'female': 'f'}[gender]
    return [
        f'SMPL_{gender.upper()}.npz',
        f'SMPL_{gender.upper()}.pkl',
        f'basicModel_{short}_lbs_10_207_0_v1.0.0.pkl',
        f'basicmodel_{short}_lbs_10_207_0_v1.0.0.pkl',
        f'basicmodel_{short}_lbs_10_207_0_v1.1.0.pkl',
    ]


def find_model(path: PathLike, gender: str) -> Path:
    """Find a body file.

    Args:
        path (str | Path): File or folder, see :func:`load_body`.
        gender (str): 'neutral', 'male' or 'female'.

    Returns:
        Path: An existing file.

    Raises:
        FileNotFoundError: Says which file, where it was looked for, and
            where it can be had.
    """
    if gender not in ('neutral', 'male', 'female'):
        raise ValueError("gender must be 'neutral', 'male' or 'female', got "
                         f'{gender!r}')
    path = Path(path).expanduser()
    places = [path]
    if not path.is_absolute():
        places += [folder / path for folder in _search_folders()]
    tried = []
    for place in places:
        if place.is_file():
            return place
        if place.is_dir():
            for name in _model_names(gender):
                if (place / name).is_file():
                    return place / name
                tried.append(place / name)
        else:
            tried.append(place)
    listing = '\n  '.join(str(p) for p in tried)
    raise FileNotFoundError(
        f"body model '{path}' ({gender}) not found. Looked for\n  {listing}\n"
        'SMPL is free for research after registration at '
        'https://smpl.is.tue.mpg.de ("SMPL for Python Users"); its licence '
        'forbids us to ship it. Put the file in one of these places, name '
        f'its folder in ${SEARCH_VARIABLE}, or leave the path out (in our '
        'configs: MPM_POSTOMETRO_BODY=built-in): the built-in body needs no '
        'file')


def _companion_folders(model: Path) -> List[Path]:
    """Beside a model, above it, search folders."""
    folders = [model.parent, model.parent.parent] + _search_folders()
    return list(dict.fromkeys(folders))


def _find_companion(name: str, model: Path) -> Optional[Path]:
    """A file that goes with a model."""
    for folder in _companion_folders(model):
        for pattern in _COMPANIONS[name][1]:
            for match in sorted(folder.glob(pattern)):
                return match
    return None


def _explain_missing(name: str, model: Path) -> str:
    whence, patterns, argument = _COMPANIONS[name]
    places = '\n  '.join(str(folder) for folder in _companion_folders(model))
    return (f'{patterns[0]} not found. Looked in\n  {places}\n{whence}. Put '
            f'it into one of these folders or pass {argument}')


def _dense(value, source: str, key: str) -> np.ndarray:
    if isinstance(value, np.ndarray) and value.dtype == object \
            and value.ndim == 0:
        value = value.item()  # numpy.savez of a sparse matrix
    if sp.issparse(value):
        value = value.toarray()
    if not isinstance(value, np.ndarray) or value.dtype.kind not in 'biuf':
        raise ValueError(f"{source}: key '{key}' must be an array of numbers, "
                         f'got {type(value).__name__}')
    return value


def _stored_sparse(arrays: Mapping, prefix: str, rows: int,
                   columns: int) -> np.ndarray:
    index = arrays[prefix + '_idx'].astype(np.int64)
    matrix = np.zeros((rows, columns), np.float32)
    matrix[index[:, 0], index[:, 1]] = arrays[prefix + '_data']
    return matrix


def _read_open_body(path: Path) -> BodyData:
    """The built-in body's own, compact layout."""
    arrays = load_npz(path)
    vertices = len(arrays['v_template'])
    parents = arrays['parents'].astype(np.int64)
    weights = np.zeros((vertices, len(parents)), np.float32)
    # Unused slots hold weight 0, perhaps at a joint that is used: add.
    np.add.at(weights, (np.arange(vertices)[:, None], arrays['weights_idx']),
              arrays['weights_val'])
    regressors = dict(
        smpl24=_stored_sparse(arrays, 'J_regressor', len(parents), vertices))
    for key, prefix in (('h36m17', 'J_regressor_h36m'), ('coco17',
                                                         'J_regressor_coco')):
        regressors[key] = _stored_sparse(arrays, prefix,
                                         SKELETONS[key].num_joints, vertices)

    first = arrays['level1_idx'].astype(np.int64)
    second = arrays['level2_idx'].astype(np.int64)  # also fine indices
    place = np.full(vertices, -1)
    place[first] = np.arange(len(first))
    if (place[second] < 0).any():
        raise ValueError(f'{path}: level2_idx must be a choice of level1_idx')

    def upsample(key, shape):
        return sp.csr_matrix(
            (arrays[f'{key}_data'], arrays[f'{key}_indices'].astype(
                np.int64), arrays[f'{key}_indptr'].astype(np.int64)),
            shape=shape)

    levels = LevelData(
        faces=[
            arrays[k].astype(np.int64) for k in ('f', 'level1_f', 'level2_f')
        ],
        selections=[first, place[second]],
        upsample=[
            upsample('upsample_10', (vertices, len(first))),
            upsample('upsample_21', (len(first), len(second)))
        ])
    groups = 'vertex_groups' in arrays
    return BodyData(
        name='open_body',
        source=str(path),
        v_template=arrays['v_template'],
        faces=arrays['f'].astype(np.int64),
        shapedirs=arrays['shapedirs'],
        weights=weights,
        parents=parents,
        regressors=regressors,
        levels=levels,
        mirror_indices=arrays['mirror_idx'].astype(np.int64),
        vertex_groups=arrays['vertex_groups'].astype(np.int64)
        if groups else None,
        group_names=tuple(str(n) for n in arrays['group_names']) if groups else
        ())


_SMPL_KEYS = ('v_template', 'f', 'shapedirs', 'posedirs', 'weights',
              'J_regressor', 'kintree_table')


def _read_smpl(path: Path, arrays: Mapping, name: str) -> BodyData:
    if not isinstance(arrays, dict):
        raise ValueError(f'{path}: expected a dict of arrays, got '
                         f'{type(arrays).__name__}')
    missing = [k for k in _SMPL_KEYS if k not in arrays and k != 'posedirs']
    if missing:
        raise ValueError(f'{path}: not an SMPL model, keys {missing} are '
                         f'missing (found {sorted(map(str, arrays))})')
    arrays = {
        k: _dense(arrays[k], str(path), k)
        for k in _SMPL_KEYS if k in arrays
    }
    # The root's parent is stored as 2^32 - 1.
    parents = arrays['kintree_table'][0].astype(np.int64)
    parents[0] = -1
    return BodyData(
        name=name,
        source=str(path),
        v_template=arrays['v_template'],
        faces=arrays['f'].astype(np.int64),
        shapedirs=arrays['shapedirs'],
        weights=arrays['weights'],
        parents=parents,
        posedirs=arrays.get('posedirs'),
        regressors=dict(smpl24=arrays['J_regressor']))


@lru_cache(maxsize=4)
def _read_cached(path: Path, gender: str, stamp: tuple) -> BodyData:
    suffix = path.suffix.lower()
    name = f'smpl_{gender}'
    if suffix == '.pkl':
        return _read_smpl(path, load_pickle(path), name)
    if suffix == '.npz':
        with np.load(path, allow_pickle=False) as archive:
            keys = archive.files
        if 'weights_idx' in keys:
            return _read_open_body(path)
        return _read_smpl(path, load_npz(path, keys=_SMPL_KEYS), name)
    raise ValueError(f'{path}: expected a .pkl or .npz body model')


def _straighten_legs(regressor: np.ndarray,
                     v_template: np.ndarray) -> np.ndarray:
    """Put H36M's rows in order: 1-3 right leg, 4-6 left leg.

    Two variants of the file are about that differ in just this; the
    template tells which one it is, as its left is at +x.
    """
    x = regressor[1:7] @ v_template[:, 0]
    if x[:3].mean() < x[3:].mean():
        return regressor
    return regressor[[0, 4, 5, 6, 1, 2, 3] + list(range(7, len(regressor)))]


def _companions(
    data: BodyData, model: Path, regressors: Union[None, PathLike, Mapping]
) -> Tuple[Dict[str, np.ndarray], Dict[str, str]]:
    """Regressors that live in files of their own, and what to do about those
    that are missing."""
    found = {}
    given = regressors if isinstance(regressors, Mapping) else {}
    unknown = set(given) - set(_REGRESSOR_FILES)
    if unknown:
        raise ValueError(f'unknown regressors {sorted(unknown)}, expected '
                         f'{sorted(_REGRESSOR_FILES)}')
    folder = None if isinstance(regressors, Mapping) else regressors
    if folder is not None and not Path(folder).is_dir():
        raise FileNotFoundError(f'folder of regressors {folder} not found')
    beside = model if folder is None else Path(folder) / model.name
    # The built-in body has its own: SMPL's would not fit its vertices, though
    # the numbers agree.
    search = data.levels is None or folder is not None
    for key in _REGRESSOR_FILES:
        value = given.get(key)
        if value is None and search:
            value = _find_companion(key, beside)
        if value is None:
            continue
        if not isinstance(value, np.ndarray):
            value = load_npy(value)
        found[key] = _dense(value, f'regressor {key}', key)
    for key, matrix in found.items():
        if matrix.ndim != 2 or matrix.shape[1] != len(data.v_template):
            raise ValueError(f"regressor '{key}' must be (K, "
                             f'{len(data.v_template)}), got {matrix.shape}')
    if 'h36m17' in found:
        found['h36m17'] = _straighten_legs(found['h36m17'], data.v_template)
    if 'coco17' in found:
        # Pose2Mesh's file has COCO's 17 rows first; more may follow.
        found['coco17'] = found['coco17'][:SKELETONS['coco17'].num_joints]
    extra = found.pop('extra', None)
    if 'extra' in given and len(extra) < _EXTRA_ROWS:
        raise ValueError(f"regressor 'extra' must have {_EXTRA_ROWS} rows "
                         "(MeshTransformer's; SPIN's has 9), got "
                         f'{extra.shape}')
    # SPIN's may lie beside a model: no fault unless it is wanted.
    if extra is not None and len(extra) >= _EXTRA_ROWS:
        stacked = np.concatenate([data.regressors['smpl24'], extra])
        found['j24'] = stacked[list(_J24_ROWS)]
        found.setdefault('coco17', found['j24'][joint_mapping('j24',
                                                              'coco17')])
    missing = {}
    if search:
        missing = {
            name: _explain_missing(key, beside)
            for name, key in (('h36m17', 'h36m17'), ('coco17', 'coco17'),
                              ('j24', 'extra'))
            if name not in found and name not in data.regressors
        }
    return found, missing


def read_body(path: Optional[PathLike],
              gender: str = 'neutral',
              regressors: Union[None, PathLike, Mapping] = None,
              mesh_levels: Optional[PathLike] = None) -> BodyData:
    """Find and read a body and the files that go with it.

    Args:
        path (str | Path, optional): See :func:`load_body`.
        gender (str): See :func:`load_body`.
        regressors (str | Path | dict, optional): See :func:`load_body`.
        mesh_levels (str | Path, optional): See :func:`load_body`.

    Returns:
        BodyData: The arrays. They are cached and shared: do not write.
    """
    model = OPEN_BODY if path is None else find_model(path, gender)
    model = model.resolve()
    stat = model.stat()
    data = _read_cached(model, gender, (stat.st_mtime_ns, stat.st_size))
    if data.levels is not None and regressors is None and mesh_levels is None:
        return data
    changes = dict(data.__dict__)
    if data.levels is None or regressors is not None:
        found, missing = _companions(data, model, regressors)
        changes['regressors'] = {**data.regressors, **found}
        changes['missing'] = missing
    levels = mesh_levels
    if levels is None and data.levels is None:
        levels = _find_companion('levels', model)
        if levels is None:
            changes['missing']['levels'] = _explain_missing('levels', model)
    if levels is not None:
        if not Path(levels).is_file():
            raise FileNotFoundError(f'mesh levels {levels} not found')
        changes['levels'] = read_mesh_downsampling(levels)
        if changes['levels'].sizes[0] != len(data.v_template):
            raise ValueError(
                f"{levels}: finest level has {changes['levels'].sizes[0]} "
                f'vertices, the body {len(data.v_template)}')
    return BodyData(**changes)
