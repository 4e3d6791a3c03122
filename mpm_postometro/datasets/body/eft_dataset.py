# Copyright (c) The mpm_postometro authors. All rights reserved.
"""EFT's fits of SMPL to people of COCO, MPII and LSPet."""
from typing import Any, Dict, List, Mapping

import numpy as np
import torch
from mmpose.registry import DATASETS

from mpm_postometro.bodies.rotations import matrix_to_axis_angle
from .json_stream import iterate_json_list
from .person_dataset import PersonDataset
from .person_table import (NameList, PersonTable, box_from_center,
                           check_points, gather_points, names_of)

__all__ = ['EFTDataset']

_SHAPES = dict(
    parm_pose=(24, 3, 3),
    parm_shape=(10, ),
    bbox_center=(2, ),
    bbox_scale=(),
    gt_keypoint_2d=(49, 3))
_ROTATION_TOLERANCE = 1e-2


@DATASETS.register_module()
class EFTDataset(PersonDataset):
    """People of a file of EFT, such as ``COCO2014-All-ver01.json``.

    The file has ``data``, a list of ``parm_pose`` (24, 3, 3) rotation
    matrices, ``parm_shape`` (10), ``bbox_center``, ``bbox_scale`` (1.2 times
    the person, in units of 200 pixels), ``gt_keypoint_2d`` (49, 3), the first
    25 OpenPose's and the last 24 the annotated J24, which are read;
    ``imageName`` and, for COCO, ``annotId``. Fits are pseudo ground truth;
    there are no 3D joints. ``parm_cam``, of the crop, is not read. Fits of
    SMPL-X are left out.

    Args:
        ann_file (str): The file.
        **kwargs: See :class:`PersonDataset`; ``data_prefix['img']`` is the
            folder of the pictures.

    Raises:
        ValueError: If the file has not what was expected; says where.
    """

    def load_people(self) -> PersonTable:
        """Read the file."""
        rows: Dict[str, List] = {key: [] for key in _SHAPES}
        names, ids, other_bodies = [], [], 0
        for number, entry in enumerate(
                iterate_json_list(self.ann_file, 'data')):
            where = f"{self.ann_file}: 'data'[{number}]"
            if not isinstance(entry, Mapping):
                raise ValueError(f'{where} must be a dictionary, got '
                                 f'{type(entry).__name__}')
            if str(entry.get('smpltype', 'smpl')).lower() != 'smpl':
                other_bodies += 1
                continue
            for key, shape in _SHAPES.items():
                rows[key].append(_array(entry, key, shape, where))
            if 'imageName' not in entry:
                raise ValueError(f"{where} has no 'imageName'")
            names.append(names_of(entry['imageName'])[0])
            # Data sets without such numbers have 0 in its place.
            try:
                ids.append(int(entry.get('annotId') or -1))
            except (TypeError, ValueError):
                raise ValueError(f"{where}['annotId'] must be a whole number, "
                                 f"got {entry['annotId']!r}") from None
        if not names:
            raise ValueError(f"{self.ann_file}: 'data' has nobody fitted with "
                             f'SMPL; {other_bodies} with another body')
        arrays = {key: np.stack(values) for key, values in rows.items()}
        table = self._table(arrays, names, ids)
        report = {'fitted with another body': other_bodies}
        return table.replace(drop_report=report) if other_bodies else table

    def _table(self, arrays: Dict[str, np.ndarray], names: List[str],
               ids: List[int]) -> PersonTable:
        image_names, image = NameList.unique(names)
        points = check_points(
            arrays['gt_keypoint_2d'][:, 25:],
            f"{self.ann_file}: 'gt_keypoint_2d'",
            len(names),
            24,
            3,
            clip=True)
        matrices = torch.from_numpy(arrays['parm_pose'])
        turned = matrices @ matrices.transpose(-1, -2) - torch.eye(3)
        broken = ~(turned.abs().amax((1, 2, 3)) < _ROTATION_TOLERANCE)
        if broken.any():
            raise ValueError(
                f"{self.ann_file}: 'parm_pose' holds no rotations in "
                f'{int(broken.sum())} of {len(names)} entries, the first '
                f'{broken.nonzero().flatten()[:5].tolist()}')
        poses = matrix_to_axis_angle(matrices).numpy()
        return PersonTable(
            image=image,
            image_names=image_names,
            bbox=box_from_center(arrays['bbox_center'], arrays['bbox_scale'],
                                 self.ann_file),
            keypoints=gather_points([('j24', points)], 'coco17'),
            joints_2d=gather_points([('j24', points)], 'j14'),
            global_orient=poses[:, 0],
            body_pose=poses[:, 1:],
            betas=arrays['parm_shape'],
            annotation_id=np.array(ids),
            source=self.ann_file)


def _array(entry: Mapping, key: str, shape: tuple, where: str) -> np.ndarray:
    if key not in entry:
        raise ValueError(f"{where} has no '{key}', only {sorted(entry)}")
    try:
        array = np.array(entry[key], np.float32)
        if array.size != int(np.prod(shape)):
            raise ValueError
    except (TypeError, ValueError):
        raise ValueError(f"{where}['{key}'] must be numbers {shape}, got "
                         f'{_shape_of(entry[key])}') from None
    return array.reshape(shape)


def _shape_of(value: Any) -> str:
    try:
        return str(np.shape(value))
    except ValueError:
        return 'a list of unequal lists'
