# Copyright (c) The mpm_postometro authors. All rights reserved.
"""3DOH50K from the annotation files of its authors."""
import json
from pathlib import Path
from typing import Dict, Mapping, Optional

import numpy as np
from mmpose.registry import DATASETS

from .npz_tree import take
from .person_dataset import PersonDataset
from .person_table import (NameList, PersonTable, check_numbers, check_points,
                           gather_points)
from .smpl_labels import LabelBodies, project, turn_to_camera
from .table_file import files_stamp, kept_table, settings_name

__all__ = ['ThreeDOHDataset']

_SHAPES = dict(
    extri=(4, 4),
    intri=(3, 3),
    bbox=(2, 2),
    pose=(72, ),
    betas=(10, ),
    scale=())
_JOINTS = dict(
    smpl_joints_2d=(24, 2),
    smpl_joints_3d=(24, 3),
    lsp_joints_2d=(14, 2),
    lsp_joints_3d=(14, 3))
# Labels whose joints do not meet their own projection are in another frame.
_MAX_PIXELS = 5.


@DATASETS.register_module()
class ThreeDOHDataset(PersonDataset):
    """People of 3DOH's ``trainset/annots.json`` or ``testset/annots.json``.

    The file has for each person ``img_path``, ``bbox`` (two corners),
    ``intri``, ``extri``, SMPL's ``pose`` and ``betas``, a ``scale`` that the
    mesh is multiplied by to come to the units of the calibration, and joints
    before the camera in these units, ``lsp_joints_3d`` (14, 3) and
    ``smpl_joints_3d`` (24, 3), with their pixels; one number more of a joint
    is taken for its weight. Divided by ``scale``, joints
    are metres; the orientation is turned from the world before the camera.
    People whose 3D joints do not project on their 2D joints are left out:
    what was said here of their labels does not hold.

    ``joints_3d`` are those of the mesh where ``body`` is given, as PARE
    evaluates them, and ``joints_2d`` their projection; else they are the
    file's, which know LSP's crown but not J14's head. ``transl`` needs the
    body too, since SMPL's root joint is not its origin.

    Args:
        ann_file (str): The file.
        body (dict, optional): Arguments of ``load_body``; ``dict()`` is the
            built-in body, which the labels do not belong to.
        **kwargs: See :class:`PersonDataset`; ``data_prefix['img']`` is the
            folder that the names of the pictures begin in.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the file has not what was expected; says where.
    """

    def __init__(self,
                 ann_file: str,
                 body: Optional[dict] = None,
                 **kwargs) -> None:
        self._bodies = None if body is None else LabelBodies(body)
        super().__init__(ann_file=ann_file, **kwargs)

    def load_people(self) -> PersonTable:
        """Read the file."""
        path = Path(self.ann_file)
        bodies = self._bodies
        settings = bodies and bodies.settings
        stamp = [settings, files_stamp([path])]
        return kept_table(
            path.with_suffix(f'.{settings_name(settings)}.people.npz'),
            [*stamp, bodies and bodies.stamp('neutral')], self._read_all)

    def _read_all(self) -> PersonTable:
        people = self._read()
        values = {
            key: np.zeros((len(people), *shape), np.float32)
            for key, shape in _SHAPES.items()
        }
        for key, (joints, dims) in _JOINTS.items():
            values[key] = np.zeros((len(people), joints, dims + 1), np.float32)
        names = []
        for i, (key, person) in enumerate(people.items()):
            where = f"{self.ann_file}: '{key}'"
            names.append(str(take(person, 'img_path', where)))
            for name, shape in _SHAPES.items():
                values[name][i] = check_numbers(
                    take(person, name, where), f"{where}: '{name}'", shape)
            for name, shape in _JOINTS.items():
                values[name][i] = _joints(
                    take(person, name, where), f"{where}: '{name}'", shape)
            if values['scale'][i] <= 0:
                raise ValueError(f"{where}: 'scale' must be positive, got "
                                 f"{values['scale'][i]}")
        good = self._project_right(values)
        distinct, image = NameList.unique(
            [name.replace('\\', '/') for name in names])
        reason = '3D joints do not project on the 2D joints'
        return PersonTable(
            image=image[good],
            image_names=distinct,
            drop_report={reason: int((~good).sum())} if not good.all() else {},
            source=self.ann_file,
            **self._columns({
                key: x[good]
                for key, x in values.items()
            }))

    def _read(self) -> Mapping:
        path = Path(self.ann_file)
        if not path.is_file():
            raise FileNotFoundError(f'{path} does not exist')
        try:
            people = json.loads(path.read_bytes())
        except ValueError as error:
            raise ValueError(f'{path} is no JSON file: {error}') from None
        if not isinstance(people, Mapping) or not people:
            raise ValueError(f'{path} must be a dictionary of people, got '
                             f'{type(people).__name__} of {len(people)}')
        return people

    @staticmethod
    def _project_right(values: Mapping[str, np.ndarray]) -> np.ndarray:
        points, pixels = (
            np.concatenate(
                [values[f'{s}_joints_{d}'] for s in ('lsp', 'smpl')], 1)
            for d in ('3d', '2d'))
        away = project(points[..., :3], values['intri']) - pixels[..., :2]
        away = np.linalg.norm(away, axis=-1)
        away[(points[..., 3] == 0) | (pixels[..., 2] == 0)] = np.nan
        known = np.isfinite(away).any(1)
        away[~known] = np.inf
        return np.nanmedian(away, 1) <= _MAX_PIXELS

    def _columns(self, values: Dict[str, np.ndarray]) -> Dict:
        count, scale = len(values['scale']), values['scale'][:, None]
        gender = np.zeros(count, np.int8)
        pose, betas = values['pose'].reshape(count, 24, 3), values['betas']
        extrinsics, intrinsics = values['extri'], values['intri']
        points = _as_j24(values['lsp_joints_2d'])
        joints = _as_j24(values['lsp_joints_3d'])
        joints[..., :3] /= scale[..., None]
        columns = dict(
            bbox=np.concatenate([values['bbox'].min(1), values['bbox'].max(1)],
                                1),
            keypoints=gather_points([('j24', points)], 'coco17'),
            joints_2d=gather_points([('j24', points)], 'j14'),
            joints_3d=gather_points([('j24', joints)], 'j14'),
            body_pose=pose[:, 1:],
            betas=betas,
            intrinsics=intrinsics,
            gender=gender)
        still = np.zeros((count, 3), np.float32)
        columns['global_orient'], _ = turn_to_camera(pose[:, 0], still, still,
                                                     extrinsics[:, :3, :3],
                                                     still)
        if self._bodies is not None:
            root = values['smpl_joints_3d'][:, 0, :3] / scale
            columns['transl'] = root - self._bodies.rest_roots(betas, gender)
            posed = self._bodies.pose(*(columns[key]
                                        for key in ('betas', 'body_pose',
                                                    'global_orient', 'transl',
                                                    'gender', 'intrinsics')))
            certain = np.ones((count, 14, 1), np.float32)
            pixels = project(posed.joints, intrinsics)
            columns['joints_3d'] = np.concatenate([posed.joints, certain], -1)
            columns['joints_2d'] = np.concatenate([pixels, certain], -1)
        return columns


def _joints(value, where: str, shape: tuple) -> np.ndarray:
    """Joints with weights, (K, D + 1)."""
    joints, dims = shape
    if np.shape(value)[-1:] == (dims + 1, ):
        return check_points(
            np.reshape(value, (1, -1, dims + 1)),
            where,
            1,
            joints,
            dims + 1,
            clip=True)[0]
    points = check_numbers(value, where, shape)
    return np.concatenate([points, np.ones_like(points[:, :1])], 1)


def _as_j24(points: np.ndarray) -> np.ndarray:
    """LSP's 14 joints as the first of J24, the rest unknown."""
    j24 = np.zeros((len(points), 24, points.shape[-1]), np.float32)
    j24[:, :14] = points
    return j24
