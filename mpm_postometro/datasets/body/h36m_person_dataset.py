# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Pictures of Human3.6M from the annotations that 3DMPPE made popular."""
from array import array
from pathlib import Path
from typing import Any, Dict, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np
from mmengine.utils import ProgressBar
from mmpose.registry import DATASETS

from mpm_postometro.files import check_exist
from .json_stream import iterate_json
from .npz_tree import take
from .person_dataset import PersonDataset
from .person_table import NameList, PersonTable, check_numbers, gather_points
from .smpl_labels import LabelBodies, fit_errors, project, turn_to_camera
from .table_file import files_stamp, kept_table, settings_name
from .virtual_camera import h36m_cameras

__all__ = ['H36MPersonDataset', 'read_fit']


class _Split(NamedTuple):
    subjects: Tuple[int, ...]
    camera: Optional[str] = None  # all of them


_SPLITS = {
    'TRAIN': _Split((1, 5, 6, 7, 8)),
    'P1': _Split((9, 11)),
    'P2': _Split((9, 11), '60457274'),
}
_SAME_LENS = 1.5  # pixels; other lenses of Human3.6M are 3 and more away
_MARGIN = 0.2  # of a box's sides, on each side

Frame = Tuple[int, int, int]  # action, subaction, frame


class _Camera(NamedTuple):
    name: str
    rotation: np.ndarray
    translation: np.ndarray  # metres
    intrinsics: np.ndarray


@DATASETS.register_module()
class H36MPersonDataset(PersonDataset):
    """People of ``Human36M_subject{1,5,6,7,8,9,11}_data.json`` and the files
    beside them, as 3DMPPE, I2L-MeshNet and Pose2Mesh read them.

    ``_data.json`` has COCO's ``images`` (``id``, ``file_name``, ``width``,
    ``height``, ``action_idx``, ``subaction_idx``, ``cam_idx``,
    ``frame_idx``) and ``annotations`` (``image_id``, ``bbox`` xywh).
    ``_camera.json`` has for each ``cam_idx`` ``R``, ``t`` (millimetres; world
    to camera, R x + t), ``f`` and ``c``. ``_joint_3d.json`` has action ->
    subaction -> frame -> (17, 3), world, millimetres: what was measured. The
    files of fits have in the same order ``pose`` (72), ``shape`` (10) and
    ``trans`` (3) of the neutral SMPL, world, metres.

    The splits:

    - 'TRAIN': subjects 1, 5, 6, 7 and 8, all cameras.
    - 'P1': subjects 9 and 11, all cameras.
    - 'P2': subjects 9 and 11, the camera in front of them, 60457274.

    ``joints_3d`` are the measured joints, ``joints_2d`` and ``keypoints``
    their projection, without the lens's distortion. Cameras are told apart
    by their lenses, not by their numbers. People whose joints do not project
    into their box are left out: what was said here of the files does not
    hold for them. Large tables are kept beside the files and read from there
    until something changes (:func:`kept_table`).

    Args:
        ann_file (str): The folder. Defaults to 'annotations'.
        split (str): One of the above. Defaults to 'TRAIN'.
        fits (str, optional): What the names of the files with SMPL's
            parameters end in: 'smpl_param' (made by SMPLify-X) or
            'SMPL_NeuralAnnot'. Defaults to None: no SMPL labels, as for
            evaluation.
        interval (int): Takes every so manieth frame. Defaults to 5, as
            published: 10 pictures a second.
        body (dict, optional): Arguments of ``load_body``, for the fits: with
            it they have ``transl``, and those that are too far off are left
            out. ``dict()`` is the built-in body, which they do not belong to.
        max_fit_error (float): Millimetres. People whose fits are further off
            the measured joints (see :func:`fit_errors`; 14 joints) keep the
            joints only. Defaults to 50, as METRO has it.
        data_prefix (dict, optional): ``img`` defaults to 'images'.
        **kwargs: See :class:`PersonDataset`.

    Raises:
        FileNotFoundError: If a file is missing.
        ValueError: If a file has not what was expected; says where.
    """

    def __init__(self,
                 ann_file: str = 'annotations',
                 split: str = 'TRAIN',
                 fits: Optional[str] = None,
                 interval: int = 5,
                 body: Optional[dict] = None,
                 max_fit_error: float = 50.,
                 data_prefix: Optional[dict] = None,
                 **kwargs) -> None:
        if split not in _SPLITS:
            raise ValueError(
                f'split must be one of {list(_SPLITS)}, got {split!r}')
        self.split = split
        self.fits = fits
        self.interval = interval
        self.max_fit_error = max_fit_error
        self._bodies = None if body is None else LabelBodies(body)
        super().__init__(
            ann_file=ann_file,
            data_prefix=data_prefix or dict(img='images'),
            **kwargs)

    def load_people(self) -> PersonTable:
        """Read the files of the subjects of the split."""
        subjects = _SPLITS[self.split].subjects
        kinds = ['camera', 'data', 'joint_3d'] + \
            ([self.fits] if self.fits else [])
        paths = [self._path(s, kind) for s in subjects for kind in kinds]
        check_exist(paths)  # not only minutes later
        bodies = self._bodies if self.fits else None
        settings = [
            self.split, self.fits, self.interval, self.max_fit_error, bodies
            and bodies.settings
        ]
        name = f'{self.split}.{settings_name(settings)}.people.npz'
        stamp = [settings, files_stamp(paths)]
        return kept_table(
            Path(self.ann_file) / name,
            [*stamp, bodies and bodies.stamp('neutral')],
            lambda: self._read_all(subjects))

    def _read_all(self, subjects: Tuple[int, ...]) -> PersonTable:
        print(f'Human3.6M-{self.split}:')
        bar = ProgressBar(len(subjects))
        tables = []
        for subject in subjects:
            cameras = self._read_cameras(self._path(subject, 'camera'))
            tables.append(self._read_subject(subject, cameras))
            bar.update()
        print()
        return PersonTable.concatenate(tables)

    def _path(self, subject: int, kind: str) -> Path:
        return Path(self.ann_file) / f'Human36M_subject{subject}_{kind}.json'

    def _read_cameras(self, path: Path) -> Dict[int, _Camera]:
        """The cameras by number."""
        cameras = {}
        for (key, *_), camera in iterate_json(path, 1):
            where = f"{path}: '{key}'"
            f, c, t = (check_numbers(
                take(camera, name, where), f"{where}: '{name}'", shape)
                       for name, shape in (('f', (2, )), ('c', (2, )),
                                           ('t', (3, ))))
            rotation = check_numbers(
                take(camera, 'R', where), f"{where}: 'R'", (3, 3))
            matrix = np.array([[f[0], 0, c[0]], [0, f[1], c[1]], [0, 0, 1]],
                              np.float32)
            name = _name_of_lens(np.concatenate([f, c]), where)
            cameras[int(key)] = _Camera(name, rotation, t / 1000, matrix)
        return cameras

    def _read_subject(self, subject: int,
                      cameras: Mapping[int, _Camera]) -> PersonTable:
        images, bbox = self._read_images(subject, cameras)
        if not len(bbox):
            raise ValueError(
                f'{self._path(subject, "data")} has no frame of '
                f'Human3.6M-{self.split} with interval={self.interval}')
        keys = images['frames'].tolist()
        frames = {tuple(k): i for i, k in enumerate(dict.fromkeys(
            map(tuple, keys)))}  # yapf: disable
        row = np.array([frames[tuple(key)] for key in keys])
        measured = self._read_joints(subject, frames)
        views = [cameras[number] for number in images['camera'].tolist()]
        rotation, translation, intrinsics = (
            np.stack([getattr(view, name) for view in views])
            for name in ('rotation', 'translation', 'intrinsics'))
        joints = np.einsum('nij,nkj->nki', rotation,
                           measured[row]) + translation[:, None]
        pixels = project(joints, intrinsics)
        certain = np.ones((*pixels.shape[:2], 1), np.float32)
        points = [('h36m17', np.concatenate([pixels, certain], -1))]
        folders = [Path(name).parts[0] for name in images['names']]
        sequences, sequence = NameList.unique(folders)
        table = PersonTable(
            image=np.arange(len(row)),
            image_names=NameList(images['names']),
            image_size=images['size'],
            bbox=bbox,
            keypoints=gather_points(points, 'coco17'),
            joints_2d=gather_points(points, 'j14'),
            joints_3d=gather_points(
                [('h36m17', np.concatenate([joints, certain], -1))], 'j14'),
            intrinsics=intrinsics,
            frame=images['frames'][:, 2],
            sequence=sequence,
            sequence_names=sequences,
            source=str(self._path(subject, 'data')))
        if self.fits:
            table = self._add_fits(table, subject, frames, row, measured,
                                   (rotation, translation))
        margin = _MARGIN * (bbox[:, 2:] - bbox[:, :2])[:, None]
        inside = ((pixels > bbox[:, None, :2] - margin) &
                  (pixels < bbox[:, None, 2:] + margin)).all(-1).mean(1) > .5
        return table.select(inside, 'joints do not project into the box')

    def _read_images(self, subject: int,
                     cameras: Mapping[int, _Camera]) -> Tuple[Dict, Any]:
        """Columns of the pictures in the split, and boxes."""
        path = self._path(subject, 'data')
        wanted = _SPLITS[self.split].camera
        names: List[str] = []
        numbers, owners, boxes = array('q'), array('q'), array('f')
        for keys, entry in iterate_json(path, 2):
            where = f"{path}: '{keys[0]}'{list(keys[1:])}"
            if keys[0] == 'images':
                frame = take(entry, 'frame_idx', where)
                number = take(entry, 'cam_idx', where)
                camera = take(cameras, number, f"{where}: 'cam_idx'")
                if frame % self.interval or wanted not in (None, camera.name):
                    continue
                names.append(take(entry, 'file_name', where))
                numbers.extend(
                    take(entry, key, where)
                    for key in ('id', 'width', 'height', 'action_idx',
                                'subaction_idx', 'frame_idx', 'cam_idx'))
            elif keys[0] == 'annotations':
                owners.append(take(entry, 'image_id', where))
                boxes.extend(
                    check_numbers(
                        take(entry, 'bbox', where), f"{where}: 'bbox'",
                        (4, )).tolist())
        table = np.array(numbers).reshape(-1, 7)
        owners, boxes = np.array(owners), np.array(boxes).reshape(-1, 4)
        order = np.argsort(owners)
        found = np.searchsorted(owners, table[:, 0], sorter=order)
        found = order[found.clip(max=len(order) - 1)] if len(order) else found
        missing = ~np.isin(table[:, 0], owners)
        if missing.any():
            raise ValueError(f"{path}: 'annotations' has no box of "
                             f'{names[missing.argmax()]}')
        boxes = boxes[found] if len(table) else boxes[:0]
        boxes[:, 2:] += boxes[:, :2]
        return dict(
            names=names,
            size=table[:, 1:3],
            frames=table[:, 3:6],
            camera=table[:, 6]), boxes

    def _read_joints(self, subject: int, frames: Mapping[Frame,
                                                         int]) -> np.ndarray:
        """What was measured, (F, 17, 3), world, metres."""
        path = self._path(subject, 'joint_3d')
        joints = np.full((len(frames), 17, 3), np.nan, np.float32)
        for row, value, where in _of_frames(path, frames):
            joints[row] = check_numbers(value, where, (17, 3)) / 1000
        missing = np.isnan(joints).any((1, 2))
        if missing.any():
            action, subaction, frame = list(frames)[missing.argmax()]
            raise ValueError(f'{path} has no joints of action {action}, '
                             f'subaction {subaction}, frame {frame}')
        return joints

    def _add_fits(self, table: PersonTable, subject: int,
                  frames: Mapping[Frame, int], row: np.ndarray,
                  measured: np.ndarray, view: tuple) -> PersonTable:
        path = self._path(subject, self.fits)
        fits = np.full((len(frames), 85), np.nan, np.float32)
        for number, value, where in _of_frames(path, frames):
            fits[number] = read_fit(value, where)
        report = dict(table.drop_report)
        known, broken = ~np.isnan(fits[:, 0]), np.isinf(fits[:, 0])
        _count(report, 'only the SMPL fit: not finite', broken[row])
        known &= ~broken
        fits[~known] = 0
        pose, betas, transl = fits[:, :72], fits[:, 72:82], fits[:, 82:]
        root = np.zeros_like(transl)
        if self._bodies is not None:
            gender = np.zeros(len(fits), np.int8)
            root = self._bodies.rest_roots(betas, gender)
            anywhere = np.repeat(
                np.eye(3, dtype=np.float32)[None], len(fits), 0)
            fitted = self._bodies.pose(betas, pose[:, 3:].reshape(-1, 23, 3),
                                       pose[:, :3], transl, gender,
                                       anywhere).joints
            weights = np.ones((*measured.shape[:2], 1), np.float32)
            errors = fit_errors(
                fitted,
                gather_points(
                    [('h36m17', np.concatenate([measured, weights], -1))],
                    'j14'))
            far = known & (errors > self.max_fit_error / 1000)
            _count(
                report,
                f'only the SMPL fit: more than {self.max_fit_error:g} mm off '
                'the measured joints', far[row])
            known &= ~far
        orient, transl = turn_to_camera(pose[row, :3], transl[row], root[row],
                                        *view)
        has_smpl = known[row]
        transl[~has_smpl] = np.nan
        return table.replace(
            global_orient=np.where(has_smpl[:, None], orient, 0),
            body_pose=np.where(known[:, None], pose[:, 3:],
                               0)[row].reshape(-1, 23, 3),
            betas=np.where(known[:, None], betas, 0)[row],
            transl=transl if self._bodies is not None else None,
            has_smpl=has_smpl,
            drop_report=report)


def read_fit(value: Any, where: str) -> np.ndarray:
    """Parameters of SMPL in a row.

    Args:
        value (Any): Should be a dictionary of ``pose`` (72), ``shape`` (10)
            and ``trans`` (3).
        where (str): File and keys, for the error.

    Returns:
        np.ndarray: (85, ) float32; infinite if the fit is not finite, as
        published files have some.

    Raises:
        ValueError: If it is something else.
    """
    parts = []
    for key, size in (('pose', 72), ('shape', 10), ('trans', 3)):
        part = np.ravel(take(value, key, where)).astype(np.float32)
        if part.shape != (size, ):
            raise ValueError(f"{where}: '{key}' must be {size} numbers, got "
                             f'{part.size}')
        parts.append(part)
    fit = np.concatenate(parts)
    return fit if np.isfinite(fit).all() else np.full_like(fit, np.inf)


def _of_frames(path: Path, frames: Mapping[Frame, int]):
    """Row, entry and place of the frames that are wanted."""
    for keys, value in iterate_json(path, 3):
        try:
            row = frames.get(tuple(map(int, keys)))
        except ValueError:
            row = None
        if len(keys) != 3:
            raise ValueError(f'{path} must be action -> subaction -> frame, '
                             f'got {list(keys)}')
        if row is not None:
            yield row, value, f'{path}: ' + ', '.join(map(repr, keys))


def _name_of_lens(lens: np.ndarray, where: str) -> str:
    """Which of Human3.6M's cameras has this focal length and centre."""
    views = h36m_cameras()['S1']
    away = [np.abs(view.intrinsics[:4] - lens).max() for view in views]
    if min(away) > _SAME_LENS:
        raise ValueError(
            f"{where}: 'f' and 'c' are those of none of Human3.6M's cameras, "
            f'got {lens.tolist()}')
    return views[int(np.argmin(away))].name


def _count(report: Dict[str, int], reason: str, which: np.ndarray) -> None:
    if which.any():
        report[reason] = int(which.sum())
