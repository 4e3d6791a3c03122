# Copyright (c) The mpm_postometro authors. All rights reserved.
"""MuCo-3DHP from the annotations that 3DMPPE made popular."""
from array import array
from pathlib import Path
from typing import Dict, List, Optional, Tuple

import numpy as np
from mmengine.utils import ProgressBar
from mmpose.registry import DATASETS

from mpm_postometro.files import check_exist
from .h36m_person_dataset import read_fit
from .json_stream import iterate_json
from .npz_tree import take
from .person_dataset import PersonDataset
from .person_table import NameList, PersonTable, check_numbers, gather_points
from .smpl_labels import LabelBodies, fit_errors, project
from .table_file import files_stamp, kept_table, settings_name

__all__ = ['MuCoDataset']

# Their 21 joints: crown, neck, right arm, left arm (shoulder to wrist), right
# leg, left leg (hip to ankle), pelvis, spine, head, hands, toes. In J14's
# order those that both have; 3DHP's neck and head are other places.
_LIMBS = (10, 9, 8, 11, 12, 13, 4, 3, 2, 5, 6, 7)
_PELVIS = 14
_MAX_PIXELS = 5.  # labels that do not project right are not understood
_STEP = 5000  # pictures a step of the progress bar
_WIDTH = 4 + 12 * 2 + 12 * 3 + 1  # box, pixels, joints, depth


@DATASETS.register_module()
class MuCoDataset(PersonDataset):
    """People of ``MuCo-3DHP.json``, as 3DMPPE, I2L-MeshNet and Pose2Mesh
    read it.

    The file has COCO's ``images`` (``id``, ``file_name``, ``width``,
    ``height``, focal lengths ``f`` and centre ``c``) and ``annotations``
    (``id``, ``image_id``, ``bbox`` xywh, ``keypoints_img`` (21, 2),
    ``keypoints_cam`` (21, 3), camera, millimetres). The file of fits has
    ``pose`` (72), ``shape`` (10) and ``trans`` (3) of the neutral SMPL by
    annotation id, before the camera, metres.

    Joints are the 12 of J14's limbs: 3DHP's neck and head lie elsewhere.
    People whose joints do not project on their pixels are left out: what was
    said here of the file does not hold for them. Large tables are kept beside
    the file and read from there until something changes
    (:func:`kept_table`).

    Args:
        ann_file (str): The file.
        fits (str, optional): The file of fits, 'smpl_param.json', beside it.
            Defaults to None: no SMPL labels.
        nearest_only (bool): Takes of each picture, put together from up to
            four, the person nearest to the camera, as published. Defaults to
            True.
        body (dict, optional): Arguments of ``load_body``, to leave out fits
            that are too far off. ``dict()`` is the built-in body, which they
            do not belong to.
        max_fit_error (float): Millimetres. People whose fits are further off
            the measured joints (see :func:`fit_errors`) keep the joints only.
            Defaults to 50.
        **kwargs: See :class:`PersonDataset`; ``data_prefix['img']`` is the
            folder with ``augmented_set`` and ``unaugmented_set``.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file has not what was expected; says where.
    """

    def __init__(self,
                 ann_file: str,
                 fits: Optional[str] = None,
                 nearest_only: bool = True,
                 body: Optional[dict] = None,
                 max_fit_error: float = 50.,
                 **kwargs) -> None:
        self.fits = fits
        self.nearest_only = nearest_only
        self.max_fit_error = max_fit_error
        self._bodies = None if body is None else LabelBodies(body)
        super().__init__(ann_file=ann_file, **kwargs)

    def load_people(self) -> PersonTable:
        """Read the files."""
        path = Path(self.ann_file)
        paths = [path, self._fits_path] if self.fits else [path]
        check_exist(paths)
        bodies = self._bodies if self.fits else None
        settings = [
            self.fits, self.nearest_only, self.max_fit_error, bodies
            and bodies.settings
        ]
        return kept_table(
            path.with_suffix(f'.{settings_name(settings)}.people.npz'),
            [settings,
             files_stamp(paths), bodies and bodies.stamp('neutral')],
            self._read_all)

    def _read_all(self) -> PersonTable:
        names, images, people, values = self._read()
        order = np.argsort(images[:, 0])
        row = np.searchsorted(images[:, 0], people[:, 1], sorter=order)
        row = order[row.clip(max=len(order) - 1)]
        unknown = images[row, 0] != people[:, 1]
        if unknown.any():
            raise ValueError(
                f"{self.ann_file}: 'annotations'[{unknown.argmax()}]: "
                "'image_id' is that of no image")
        intrinsics = np.zeros((len(images), 3, 3), np.float32)
        intrinsics[:, (0, 1, 0, 1, 2), (0, 1, 2, 2, 2)] = np.concatenate(
            [images[:, 3:], np.ones((len(images), 1))], 1)
        good = self._project_right(values, intrinsics, row)
        kept = good
        if self.nearest_only:
            order = np.lexsort((values[:, -1], ~good, row))
            nearest = np.zeros(len(row), bool)
            nearest[order[np.unique(row[order], return_index=True)[1]]] = True
            kept = good & nearest
        report = _report({
            '3D joints do not project on the 2D joints': ~good,
            'not the nearest person of the picture': good & ~kept
        })
        values, row, people = values[kept], row[kept], people[kept]
        points, joints = map(_as_j24, _joints_of(values))
        distinct, image = NameList.unique(names)
        table = PersonTable(
            image=image[row],
            image_names=distinct,
            image_size=images[row, 1:3],
            bbox=np.concatenate(
                [values[:, :2], values[:, :2] + values[:, 2:4]], 1),
            keypoints=gather_points([('j24', points)], 'coco17'),
            joints_2d=gather_points([('j24', points)], 'j14'),
            joints_3d=gather_points([('j24', joints)], 'j14'),
            intrinsics=intrinsics[row],
            annotation_id=people[:, 0],
            drop_report=report,
            source=self.ann_file)
        return self._add_fits(table) if self.fits and len(table) else table

    @staticmethod
    def _project_right(values: np.ndarray, intrinsics: np.ndarray,
                       row: np.ndarray) -> np.ndarray:
        good = np.zeros(len(values), bool)
        for start in range(0, len(values), _STEP):
            some = slice(start, start + _STEP)
            pixels, joints = _joints_of(values[some])
            away = project(joints, intrinsics[row[some]]) - pixels
            away = np.linalg.norm(away, axis=-1)
            good[some] = np.median(away, 1) <= _MAX_PIXELS  # not so for NaN
        return good

    @property
    def _fits_path(self) -> Path:
        return Path(self.ann_file).with_name(self.fits)

    def _read(self) -> Tuple[List[str], np.ndarray, np.ndarray, np.ndarray]:
        """Names of the pictures; their ids, sizes and lenses; ids of people
        and of their pictures; labels of people."""
        names: List[str] = []
        images, people, values = array('d'), array('q'), array('f')
        bar = None
        for keys, entry in iterate_json(self.ann_file, 2):
            where = f"{self.ann_file}: '{keys[0]}'{list(keys[1:])}"
            if keys[0] == 'images':
                names.append(take(entry, 'file_name', where))
                images.extend(
                    float(take(entry, key, where))
                    for key in ('id', 'width', 'height'))
                for key in ('f', 'c'):
                    images.extend(
                        check_numbers(
                            take(entry, key, where), f"{where}: '{key}'",
                            (2, )).tolist())
                if len(names) % _STEP == 0:
                    bar = bar or self._bar()
                    bar.update()
            elif keys[0] == 'annotations':
                people.extend(
                    take(entry, key, where) for key in ('id', 'image_id'))
                box, points, joints = (check_numbers(
                    take(entry, key, where), f"{where}: '{key}'",
                    shape) for key, shape in (('bbox', (4, )),
                                              ('keypoints_img', (21, 2)),
                                              ('keypoints_cam', (21, 3))))
                for part in (box, points[_LIMBS, :], joints[_LIMBS, :] / 1000):
                    values.extend(part.ravel().tolist())
                values.append(joints[_PELVIS, 2])
                if len(people) // 2 % _STEP == 0:
                    bar = bar or self._bar()
                    bar.update()
        if bar is not None:
            print()
        if not names or not people:
            raise ValueError(f"{self.ann_file} must have 'images' and "
                             f"'annotations', got {len(names)} and "
                             f'{len(people) // 2} of them')
        return (names,
                np.array(images).reshape(-1,
                                         7), np.array(people).reshape(-1, 2),
                np.array(values, np.float32).reshape(-1, _WIDTH))

    def _bar(self) -> ProgressBar:
        print(f'{self.ann_file}, in steps of {_STEP} pictures or people:')
        return ProgressBar()

    def _add_fits(self, table: PersonTable) -> PersonTable:
        rows = {n: i for i, n in enumerate(table.annotation_id.tolist())}
        fits = np.full((len(table), 85), np.nan, np.float32)
        for (key, *_), value in iterate_json(self._fits_path, 1):
            row = rows.get(int(key)) if str(key).isdigit() else None
            if row is not None:
                fits[row] = read_fit(value, f"{self._fits_path}: '{key}'")
        known, broken = ~np.isnan(fits[:, 0]), np.isinf(fits[:, 0])
        if not known.any():
            raise ValueError(f'{self._fits_path} has no fit of the people of '
                             f'{self.ann_file}, by their annotation ids')
        known &= ~broken
        fits[~known] = 0
        pose, betas = fits[:, :72].reshape(-1, 24, 3), fits[:, 72:82]
        transl = np.where(known[:, None], fits[:, 82:], np.nan)
        far = np.zeros_like(broken)
        if self._bodies is not None:
            posed = self._bodies.pose(betas, pose[:, 1:], pose[:, 0],
                                      fits[:, 82:],
                                      np.zeros(len(table),
                                               np.int8), table.intrinsics)
            errors = fit_errors(posed.joints, table.joints_3d)
            far = known & (errors > self.max_fit_error / 1000)
            known &= ~far
            pose[far], betas[far], transl[far] = 0, 0, np.nan
        reasons = {
            'only the SMPL fit: not finite':
            broken,
            f'only the SMPL fit: more than {self.max_fit_error:g} mm off the '
            'measured joints':
            far
        }
        return table.replace(
            global_orient=pose[:, 0],
            body_pose=pose[:, 1:],
            betas=betas,
            transl=transl,
            has_smpl=known,
            drop_report={
                **table.drop_report,
                **_report(reasons)
            })


def _report(reasons: Dict[str, np.ndarray]) -> Dict[str, int]:
    return {
        reason: int(which.sum())
        for reason, which in reasons.items() if which.any()
    }


def _joints_of(values: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Pixels (N, 12, 2) and joints (N, 12, 3)."""
    return (values[:, 4:28].reshape(-1, 12,
                                    2), values[:, 28:64].reshape(-1, 12, 3))


def _as_j24(points: np.ndarray) -> np.ndarray:
    """The limbs as the first 12 of J24, with weights; the rest unknown."""
    j24 = np.zeros((len(points), 24, points.shape[-1] + 1), np.float32)
    j24[:, :12, :-1] = points
    j24[:, :12, -1] = 1
    return j24
