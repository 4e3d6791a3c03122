# Copyright (c) The mpm_postometro authors. All rights reserved.
"""UP-3D (Unite the People) from the files of its authors."""
import pickle
import re
import struct
from pathlib import Path
from typing import Dict, List, Mapping, Optional, Tuple

import numpy as np
import torch
from mmengine.utils import ProgressBar
from mmpose.registry import DATASETS

from mpm_postometro.bodies.rotations import axis_angle_to_matrix
from mpm_postometro.bodies.safe_pickle import load_pickle
from mpm_postometro.files import check_exist
from .npz_tree import take
from .person_dataset import PersonDataset
from .person_table import (NameList, PersonTable, check_numbers, check_points,
                           gather_points)
from .smpl_labels import LabelBodies, project, turn_to_camera

__all__ = ['UP3DDataset']

_BODY = dict(pose=(72, ), betas=(10, ), trans=(3, ), rt=(3, ), t=(3, ), f=())
_PICTURE = re.compile(r'/?(\d+)_image\.png')
_PNG = b'\x89PNG\r\n\x1a\n'
_MARGIN = 0.1  # of the longer side: how far a body reaches beyond its joints
_MAX_AWAY = 0.1  # of a box's longer side, from labelled joints to the fit's
_SHOW_FROM = 1000


@DATASETS.register_module()
class UP3DDataset(PersonDataset):
    """People of UP-3D's ``train.txt``, ``val.txt``, ``trainval.txt`` or
    ``test.txt``.

    A line of the list is ``/01234_image.png``. Beside the list lie for each
    person ``01234_image.png``, ``01234_joints.npy`` (3, 14), x, y and
    whether it is seen, LSP's joints as people marked them;
    ``01234_body.pkl``, the fit of the neutral SMPL, with ``pose``, ``betas``,
    ``trans``, and the camera that it was made for, ``rt``, ``t`` and ``f``
    in pixels; and ``01234_fit_crop_info.txt``, the size of the picture that
    the fit was made for and which part of this picture it was: height,
    width, y from, to, x from, to.

    The fit's camera looks at the middle of its picture from far away (``f``
    is 5000, a guess of SMPLify's). ``keypoints`` and ``joints_2d`` are the
    marked ones, which know LSP's crown but not J14's head.

    With ``body``, ``joints_3d`` are those of the mesh and ``bbox`` is about
    it; people whose fit does not project near the marked joints are left out:
    what was said here of the files does not hold for them. Without it there
    are no 3D joints, and boxes are about the marked joints and a tenth more.

    Args:
        ann_file (str): The list.
        body (dict, optional): Arguments of ``load_body``; ``dict()`` is the
            built-in body, which the labels do not belong to.
        data_prefix (dict, optional): ``img`` defaults to the list's folder.
        **kwargs: See :class:`PersonDataset`.

    Raises:
        FileNotFoundError: If a file of labels is missing.
        ValueError: If a file has not what was expected; says which.
    """

    def __init__(self,
                 ann_file: str,
                 body: Optional[dict] = None,
                 data_prefix: Optional[dict] = None,
                 **kwargs) -> None:
        self._bodies = None if body is None else LabelBodies(body)
        super().__init__(
            ann_file=ann_file,
            data_prefix=data_prefix or dict(img=str(Path(ann_file).parent)),
            **kwargs)

    def load_people(self) -> PersonTable:
        """Read the files."""
        names = self._read_list()
        check_exist(
            path for name in names for path in self._paths(name).values())
        bar = None
        if len(names) >= _SHOW_FROM:
            print(f'UP-3D, {self.ann_file}:')
            bar = ProgressBar(len(names))
        people = []
        for name in names:
            people.append(self._read_person(name))
            if bar is not None:
                bar.update()
        if bar is not None:
            print()
        values = {
            key: np.stack([person[key] for person in people])
            for key in people[0]
        }
        columns, reasons = self._columns(values)
        report, keep = {}, np.ones(len(names), bool)
        for reason, wrong in reasons.items():
            if (keep & wrong).any():
                report[reason] = int((keep & wrong).sum())
            keep &= ~wrong
        return PersonTable(
            image=np.flatnonzero(keep),
            image_names=NameList(f'{name}_image.png' for name in names),
            drop_report=report,
            source=self.ann_file,
            **{
                key: column[keep]
                for key, column in columns.items()
            })

    def _read_list(self) -> List[str]:
        path = Path(self.ann_file)
        if not path.is_file():
            raise FileNotFoundError(f'{path} does not exist')
        names = []
        lines = path.read_text(encoding='utf-8', errors='replace').split('\n')
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            match = _PICTURE.fullmatch(line.strip())
            if match is None:
                raise ValueError(f'{path}, line {number}: expected a name '
                                 f'like /00001_image.png, got {line[:60]!r}')
            names.append(match.group(1))
        if not names:
            raise ValueError(f'{path} has no names of pictures')
        return names

    def _paths(self, name: str) -> Dict[str, Path]:
        """The files of labels of a person."""
        stem = str(Path(self.ann_file).parent / name)
        return {
            key: Path(stem + ending)
            for key, ending in (('body', '_body.pkl'), ('joints',
                                                        '_joints.npy'),
                                ('crop', '_fit_crop_info.txt'))
        }

    def _read_person(self, name: str) -> Dict[str, np.ndarray]:
        paths = self._paths(name)
        values = _read_body(paths['body'])
        values['joints'] = _read_joints(paths['joints'])
        values['intrinsics'] = _read_lens(paths['crop'], values.pop('f'))
        values['size'] = np.array(
            _png_size(Path(self.data_prefix['img']) / f'{name}_image.png'),
            int)
        return values

    def _columns(
        self, values: Mapping[str, np.ndarray]
    ) -> Tuple[Dict[str, np.ndarray], Dict[str, np.ndarray]]:
        """Columns of the table, and whom to leave out by reason."""
        count = len(values['pose'])
        gender = np.zeros(count, np.int8)
        pose, betas = values['pose'].reshape(count, 24, 3), values['betas']
        rotation = axis_angle_to_matrix(torch.from_numpy(values['rt'])).numpy()
        root = np.zeros((count, 3), np.float32)
        if self._bodies is not None:
            root = self._bodies.rest_roots(betas, gender)
        orient, transl = turn_to_camera(pose[:, 0], values['trans'], root,
                                        rotation, values['t'])
        if self._bodies is None:  # not known where the camera turns it to
            transl[np.abs(values['rt']).max(1) > 0] = np.nan
        points = np.zeros((count, 24, 3), np.float32)
        points[:, :14] = values['joints']
        columns = dict(
            image_size=values['size'],
            keypoints=gather_points([('j24', points)], 'coco17'),
            joints_2d=gather_points([('j24', points)], 'j14'),
            global_orient=orient,
            body_pose=pose[:, 1:],
            betas=betas,
            transl=transl,
            intrinsics=values['intrinsics'])
        if self._bodies is None:
            columns['bbox'], known = _boxes_about_marks(values['joints'])
            return columns, {'fewer than two joints marked': ~known}
        posed = self._bodies.pose(betas, pose[:, 1:], orient, transl, gender,
                                  values['intrinsics'])
        joints, columns['bbox'] = posed.joints, posed.bbox
        columns['joints_3d'] = np.concatenate(
            [joints, np.ones((count, 14, 1), np.float32)], -1)
        behind = np.isnan(columns['bbox']).any(1)
        columns['bbox'][behind] = 0
        away = np.linalg.norm(
            project(joints, values['intrinsics']) -
            columns['joints_2d'][..., :2],
            axis=-1)
        away[columns['joints_2d'][..., 2] == 0] = np.nan
        unmarked = np.isnan(away).all(1)
        away[unmarked] = 0
        side = (columns['bbox'][:, 2:] - columns['bbox'][:, :2]).max(1)
        return columns, {
            'fit reaches behind the camera':
            behind,
            'fit does not project on the marked joints':
            ~(np.nanmedian(away, 1) <= _MAX_AWAY * side)
        }


def _read_body(path: Path) -> Dict[str, np.ndarray]:
    try:
        body = load_pickle(path)
    except (pickle.UnpicklingError, EOFError) as error:
        raise ValueError(f'{path} is no pickle of arrays: '
                         f'{error}') from None
    values = {
        key: np.ravel(take(body, key, str(path))) for key in _BODY
    }  # yapf: disable
    return {
        key: check_numbers(values[key], f"{path}: '{key}'", shape)
        for key, shape in _BODY.items()
    }


def _read_joints(path: Path) -> np.ndarray:
    """Marked joints, (14, 3) x, y and whether they are known."""
    try:
        joints = np.load(path, allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ValueError(f'{path} is no .npy file of numbers: '
                         f'{error}') from None
    if joints.shape == (2, 14):  # without the row that says which are seen
        joints = np.concatenate([joints, np.ones((1, 14))])
    if joints.shape != (3, 14):
        raise ValueError(f'{path} must be (3, 14), got {joints.shape}')
    joints = joints.T.astype(np.float32)
    joints[(joints[:, :2] <= 0).any(1), 2] = 0
    return check_points(joints[None], str(path), 1, 14, 3, clip=True)[0]


def _read_lens(path: Path, focal: np.ndarray) -> np.ndarray:
    """Intrinsics (3, 3) of the whole picture."""
    text = path.read_text(encoding='utf-8', errors='replace')
    try:
        height, width, top, bottom, left, right = map(float, text.split())
        scale = (height / (bottom - top) + width / (right - left)) / 2
        if not 0 < scale < float('inf') or not focal > 0:
            raise ValueError
    except (ValueError, ZeroDivisionError):
        raise ValueError(
            f'{path} must be height, width and where from and to in y and x, '
            f'six numbers, got {text[:60]!r}; focal length '
            f'{float(focal)}') from None
    lens = np.diag([focal / scale, focal / scale, 1]).astype(np.float32)
    lens[:2, 2] = width / 2 / scale + left, height / 2 / scale + top
    return lens


def _png_size(path: Path) -> Tuple[int, int]:
    """Width and height; zeros where there is no such picture."""
    if not path.is_file():
        return 0, 0
    with open(path, 'rb') as file:
        head = file.read(24)
    known = head[:8] == _PNG and len(head) == 24
    return struct.unpack('>II', head[16:24]) if known else (0, 0)


def _boxes_about_marks(joints: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Boxes (N, 4) about known joints, and whether there are enough."""
    known = joints[..., 2:] > 0
    low = np.where(known, joints[..., :2], np.inf).min(1)
    high = np.where(known, joints[..., :2], -np.inf).max(1)
    enough = known.sum((1, 2)) >= 2
    boxes = np.concatenate([low, high], 1)
    boxes[~enough] = 0
    margin = _MARGIN * (boxes[:, 2:] - boxes[:, :2]).max(1, keepdims=True)
    boxes += np.concatenate([-margin, -margin, margin, margin], 1)
    return boxes, enough
