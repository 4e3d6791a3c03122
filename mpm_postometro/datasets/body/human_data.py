# Copyright (c) The mpm_postometro authors. All rights reserved.
"""MMHuman3D's HumanData."""
from typing import Any, Dict, List, Mapping, Optional, Tuple

import numpy as np
from mmpose.registry import DATASETS

from mpm_postometro.bodies.skeletons import HUMAN_DATA_POSITIONS
from .npz_labels import read_arrays, require
from .npz_tree import take
from .person_dataset import PersonDataset
from .person_table import (NameList, PersonTable, check_column, check_points,
                           gather_points, gender_codes, names_of)

__all__ = ['HumanDataDataset']

_NUM_JOINTS = 190
# Labels before what was regressed from a fitted body.
_VARIANTS = ('original', '', 'smpl', 'smplx')
_SMPL = (('global_orient', (3, )), ('body_pose', (23, 3)), ('betas', (10, )))


@DATASETS.register_module()
class HumanDataDataset(PersonDataset):
    """People of a HumanData ``.npz`` file, compressed by masks or not.

    Read are ``image_path``, ``bbox_xywh`` (N, 4 or 5), ``smpl``
    (``body_pose``, ``global_orient``, ``betas``, ``transl``), ``has_smpl``,
    ``meta`` (``gender``), ``cam_param`` (``K`` or ``in_mat``, ``H``, ``W``),
    and 2D and 3D joints with their masks: of several kinds
    ``keypoints3d_original`` before ``keypoints3d`` before
    ``keypoints3d_smpl`` before ``keypoints3d_smplx``, unless one is named.
    3D joints, metres, are taken as they are, without a change of axes.
    SMPL-X parameters are not read. Object arrays run no code.

    Args:
        ann_file (str): The file.
        keypoints_2d (str, optional): Key of the 2D joints.
        keypoints_3d (str, optional): Key of the 3D joints.
        **kwargs: See :class:`PersonDataset`; ``data_prefix['img']`` is the
            folder that the names begin in.

    Raises:
        ValueError: If the file has not what was expected; says where.
    """

    def __init__(self,
                 ann_file: str,
                 keypoints_2d: Optional[str] = None,
                 keypoints_3d: Optional[str] = None,
                 **kwargs) -> None:
        self.keypoints_2d = keypoints_2d
        self.keypoints_3d = keypoints_3d
        super().__init__(ann_file=ann_file, **kwargs)

    def load_people(self) -> PersonTable:
        """Read the file."""
        keys = {
            dims: [named] if named else
            [f'keypoints{dims}d' + (f'_{v}' if v else '') for v in _VARIANTS]
            for dims, named in ((2, self.keypoints_2d), (3, self.keypoints_3d))
        }
        named = [k for k in (self.keypoints_2d, self.keypoints_3d) if k]
        points = [*keys[2], *keys[3]]
        arrays = read_arrays(
            self.ann_file, ('image_path', 'bbox_xywh', *named),
            ('smpl', 'has_smpl', 'meta', 'cam_param',
             '__keypoints_compressed__', *points, *(f'{k}_mask'
                                                    for k in points)))
        count = len(np.atleast_1d(arrays['image_path']))
        names, image = NameList.unique(names_of(arrays['image_path']))
        columns = dict(
            image=image, image_names=names, bbox=self._boxes(arrays, count))
        for dims, targets in ((2, (('keypoints', 'coco17'),
                                   ('joints_2d', 'j14'))), (3, (('joints_3d',
                                                                 'j14'), ))):
            key = next((k for k in keys[dims] if k in arrays), None)
            if key is not None:
                sources = self._sources(arrays, key, count, dims + 1)
                for column, skeleton in targets:
                    columns[column] = gather_points(sources, skeleton)
        if 'joints_3d' in columns:
            columns['has_joints_3d'] = columns['joints_3d'][..., 3].any(1)
        columns.update(self._body(arrays, count))
        columns.update(self._camera(arrays, count))
        return PersonTable(**columns, source=self.ann_file)

    def _where(self, key: str) -> str:
        return f"{self.ann_file}: '{key}'"

    def _boxes(self, arrays: Dict[str, np.ndarray], count: int) -> np.ndarray:
        boxes = require(arrays['bbox_xywh'], self._where('bbox_xywh'), count)
        boxes = check_column(boxes[..., :4], self._where('bbox_xywh'), count,
                             (4, ))
        return np.concatenate([boxes[:, :2], boxes[:, :2] + boxes[:, 2:]], 1)

    def _sources(self, arrays: Dict[str, np.ndarray], key: str, count: int,
                 dims: int) -> List[Tuple[str, np.ndarray]]:
        """The joints under a key, by skeletons of ours."""
        where = self._where(key)
        points = require(arrays[key], where, count)
        if f'{key}_mask' in arrays:
            mask = np.ravel(arrays[f'{key}_mask']).astype(bool)
        else:
            mask = np.ones(_NUM_JOINTS, bool)
        if mask.shape != (_NUM_JOINTS, ):
            raise ValueError(f"{self._where(key + '_mask')} must be "
                             f'({_NUM_JOINTS},), got {mask.shape}')
        compressed = bool(
            arrays.get('__keypoints_compressed__', points.shape[1:2]
                       != (_NUM_JOINTS, )))
        compressed = compressed and f'{key}_mask' in arrays
        number = int(mask.sum()) if compressed else _NUM_JOINTS
        if points.shape != (count, number, dims):
            raise ValueError(
                f'{where} must be {(count, number, dims)}, '
                f"{'compressed by its mask' if compressed else 'whole'}, got "
                f'{points.shape}')
        # Columns of the file; only those of our skeletons are looked at.
        columns = np.cumsum(mask) - 1 if compressed else np.arange(number)
        sources = []
        for name, positions in HUMAN_DATA_POSITIONS.items():
            positions = np.array(positions)
            known = mask[positions]
            taken = points[:, columns[positions]].astype(np.float32)
            taken[..., -1] *= known
            sources.append((name,
                            check_points(
                                taken,
                                where,
                                count,
                                len(positions),
                                dims,
                                clip=True)))
        return sources

    def _body(self, arrays: Dict[str, np.ndarray],
              count: int) -> Dict[str, np.ndarray]:
        columns = {}
        meta = _item(arrays.get('meta'))
        if isinstance(meta, Mapping) and meta.get('gender') is not None:
            words = meta['gender']
            if isinstance(words, str):
                words = [words] * count
            columns['gender'] = gender_codes(
                words, f"{self._where('meta')}['gender']", count)
        smpl = _item(arrays.get('smpl'))
        if smpl is None:
            return columns
        has_smpl = np.ravel(arrays.get('has_smpl', np.ones(count))) > 0
        has_smpl = require(has_smpl, self._where('has_smpl'), count)
        for key, shape in (*_SMPL, ('transl', (3, ))):
            where = f"{self._where('smpl')}['{key}']"
            if key == 'transl' and key not in smpl:
                continue
            values = require(
                take(smpl, key, self._where('smpl')), where, count)
            if values.size != count * int(np.prod(shape)):
                raise ValueError(f'{where} must be {(count, *shape)}, got '
                                 f'{values.shape}')
            values = values.reshape(count, *shape).copy()
            values[~has_smpl] = 0  # may be anything
            columns[key] = check_column(values, where, count, shape)
        if 'transl' in columns:
            columns['transl'][~has_smpl] = np.nan
        return dict(columns, has_smpl=has_smpl)

    def _camera(self, arrays: Dict[str, np.ndarray],
                count: int) -> Dict[str, np.ndarray]:
        cameras = _item(arrays.get('cam_param'))
        if cameras is None or isinstance(cameras, Mapping):
            return {}
        where = self._where('cam_param')
        require(cameras, where, count)
        matrices = np.full((count, 3, 3), np.nan, np.float32)
        sizes = np.zeros((count, 2), np.int32)
        for i, camera in enumerate(cameras):
            matrix = camera.get('K', camera.get('in_mat'))
            if matrix is not None:
                matrix = np.asarray(matrix, np.float32)
                if matrix.ndim != 2 or min(matrix.shape) < 3:
                    raise ValueError(f'{where}[{i}] must have a matrix of at '
                                     f'least (3, 3), got {matrix.shape}')
                matrices[i] = matrix[:3, :3]
            if camera.get('W') and camera.get('H'):
                sizes[i] = camera['W'], camera['H']
        return dict(intrinsics=matrices, image_size=sizes)


def _item(array: Any) -> Any:
    """What was no array before it was saved."""
    if isinstance(array, np.ndarray) and array.shape == ():
        return array.item()
    return array
