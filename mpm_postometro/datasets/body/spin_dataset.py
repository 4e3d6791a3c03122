# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Label files of SPIN and of those who took over its format."""
from typing import Any, Dict, Optional

import numpy as np
from mmpose.registry import DATASETS

from .npz_labels import read_arrays, require
from .person_dataset import PersonDataset
from .person_table import (NameList, PersonTable, box_from_center,
                           check_column, check_points, gather_points,
                           gender_codes, names_of)

__all__ = ['SPINDataset']

_OPTIONAL = ('part', 'openpose', 'S', 'pose', 'shape', 'has_smpl', 'gender',
             'annot_id', 'global_t')


@DATASETS.register_module()
class SPINDataset(PersonDataset):
    """People of an .npz file as SPIN's preprocessing writes it.

    Read are ``imgname``, ``center`` and ``scale`` (box, 1.2 times the person,
    in units of 200 pixels); where they are there ``part`` (N, 24, 3), 2D
    joints; ``S`` (N, 24, 4), 3D joints in metres, relative to the pelvis;
    ``pose`` (N, 72) and ``shape`` (N, 10), ``has_smpl``, ``gender`` and
    ``openpose`` (N, 25, 3). CLIFF's ``coco2014part_cliffGT.npz`` and
    ``mpii_cliffGT.npz`` also have ``annot_id`` and ``global_t`` (N, 3), which
    becomes ``transl``; the size of the picture, and with it the middle of
    their camera, is not in the file.

    Args:
        ann_file (str): The file.
        openpose_threshold (float, optional): Detections by OpenPose at least
            as certain as this become ``keypoints`` where nothing is labelled.
            Defaults to None: they are not read.
        **kwargs: See :class:`PersonDataset`; ``data_prefix['img']`` is the
            folder that the names begin in.

    Raises:
        ValueError: If the file has not what was expected; says where.
    """

    def __init__(self,
                 ann_file: str,
                 openpose_threshold: Optional[float] = None,
                 **kwargs) -> None:
        self.openpose_threshold = openpose_threshold
        super().__init__(ann_file=ann_file, **kwargs)

    def load_people(self) -> PersonTable:
        """Read the file."""
        path = self.ann_file
        arrays = read_arrays(path, ('imgname', 'center', 'scale'), _OPTIONAL)
        count = len(arrays['imgname'])
        for key, array in arrays.items():
            require(array, f"{path}: '{key}'", count)
        names, image = NameList.unique(names_of(arrays['imgname']))
        columns = dict(
            image=image,
            image_names=names,
            bbox=box_from_center(arrays['center'], arrays['scale'], path))
        columns.update(self._points(arrays, count))
        columns.update(self._body(arrays, count))
        if 'gender' in arrays:
            columns['gender'] = gender_codes(arrays['gender'],
                                             f"{path}: 'gender'", count)
        if 'annot_id' in arrays:
            columns['annotation_id'] = self._numbers(arrays, 'annot_id')
        return PersonTable(**columns, source=path)

    def _numbers(self, arrays: Dict[str, Any], key: str) -> np.ndarray:
        try:
            return arrays[key].reshape(-1).astype(np.int64)
        except (TypeError, ValueError):
            raise ValueError(f"{self.ann_file}: '{key}' must be whole "
                             'numbers') from None

    def _points(self, arrays: Dict[str, np.ndarray],
                count: int) -> Dict[str, np.ndarray]:
        sources, columns = [], {}
        for key, name, joints in (('part', 'j24', 24), ('openpose',
                                                        'openpose25', 25)):
            if key not in arrays:
                continue
            points = check_points(
                arrays[key],
                f"{self.ann_file}: '{key}'",
                count,
                joints,
                3,
                clip=True)
            if key == 'part':
                columns['joints_2d'] = gather_points([(name, points)], 'j14')
            elif self.openpose_threshold is None:
                continue
            else:
                points = points * (points[..., 2:] >= self.openpose_threshold)
            sources.append((name, points))
        if sources:
            columns['keypoints'] = gather_points(sources, 'coco17')
        if 'S' in arrays:
            joints = check_points(
                arrays['S'], f"{self.ann_file}: 'S'", count, 24, 4, clip=True)
            joints = gather_points([('j24', joints)], 'j14')
            columns.update(
                joints_3d=joints, has_joints_3d=joints[..., 3].any(1))
        return columns

    def _body(self, arrays: Dict[str, np.ndarray],
              count: int) -> Dict[str, np.ndarray]:
        if 'pose' not in arrays or 'shape' not in arrays:
            return {}
        has_smpl = arrays.get('has_smpl', np.ones(count)).reshape(count) > 0
        known = {}
        for key, size in (('pose', 72), ('shape', 10), ('global_t', 3)):
            if key in arrays:
                # those without a body may have anything there
                values = arrays[key].copy()
                values[~has_smpl] = 0
                known[key] = check_column(values, f"{self.ann_file}: '{key}'",
                                          count, (size, ))
        columns = dict(
            global_orient=known['pose'][:, :3],
            body_pose=known['pose'][:, 3:].reshape(count, 23, 3),
            betas=known['shape'],
            has_smpl=has_smpl)
        if 'global_t' in known:
            columns['transl'] = np.where(has_smpl[:, None], known['global_t'],
                                         np.nan)
        return columns
