# Copyright (c) The mpm_postometro authors. All rights reserved.
"""3DPW from the sequence files of its authors."""
import logging
import pickle
from pathlib import Path
from typing import Dict, List, Mapping, NamedTuple, Optional, Tuple

import numpy as np
from mmengine.logging import print_log
from mmengine.utils import ProgressBar
from mmpose.registry import DATASETS

from mpm_postometro.bodies.safe_pickle import load_pickle
from mpm_postometro.files import check_exist
from .npz_tree import take
from .person_dataset import PersonDataset
from .person_table import (NameList, PersonTable, check_column, check_points,
                           gather_points, gender_codes)
from .smpl_labels import LabelBodies, boxes_about, project, turn_to_camera
from .table_file import files_stamp, kept_table, settings_name

__all__ = ['ThreeDPWDataset']

# Names without their number of the sequences of 3DPW-OCC, as PARE and ROMP
# have it: 23 sequences, of all three folders.
_OCCLUDED = ('courtyard_backpack', 'courtyard_basketball',
             'courtyard_bodyScannerMotions', 'courtyard_box', 'courtyard_golf',
             'courtyard_jacket', 'courtyard_laceShoe', 'downtown_stairs',
             'flat_guitar', 'flat_packBags', 'outdoors_climbing',
             'outdoors_crosscountry', 'outdoors_fencing', 'outdoors_freestyle',
             'outdoors_golf', 'outdoors_parcours', 'outdoors_slalom')
# Frames of 3DPW-PC, as ROMP has it; the end is not in it.
_CROWDED = dict(
    courtyard_basketball_00=(200, 280),
    courtyard_captureSelfies_00=(500, 600),
    courtyard_dancing_00=(60, 370),
    courtyard_dancing_01=(60, 270),
    courtyard_hug_00=(100, 500),
    downtown_bus_00=(1620, 1900))


class _Split(NamedTuple):
    folders: Tuple[str, ...]
    sequences: int  # published number
    people: Optional[int] = None  # published number


_GENDERS = ('male', 'female')
_EVERY = ('train', 'validation', 'test')
_SPLITS = {
    'TRAIN': _Split(('train', ), 24),
    'VALIDATION': _Split(('validation', ), 12),
    'TEST': _Split(('test', ), 24, 35515),
    'ALL': _Split(_EVERY, 60),
    'OCC': _Split(_EVERY, 23),
    'PC': _Split(_EVERY, len(_CROWDED)),
    'Non-OC': _Split(_EVERY, 37),
}
# Of the longer side: how far a body reaches beyond its joints, more or less.
_MARGIN = 0.1


@DATASETS.register_module()
class ThreeDPWDataset(PersonDataset):
    """People of 3DPW's ``sequenceFiles/{train,validation,test}/*.pkl``.

    Poses and translations are turned from the world before the camera of each
    frame. Frames whose camera is not aligned with the picture
    (``campose_valid``) are left out; with all 24 sequences, TEST is published
    with 35,515 people.

    The splits:

    - 'TRAIN', 'VALIDATION', 'TEST': the folders.
    - 'ALL': all 60 sequences.
    - 'OCC': 23 sequences in which objects hide people (PARE, ROMP).
    - 'PC': frames of six sequences in which people hide people (ROMP).
    - 'Non-OC': ALL without the samples of OCC and PC (PostoMETRO).

    Large tables are kept beside the folders and read from there until
    something changes (:func:`kept_table`).

    ``keypoints`` are OpenPose's detections, weighted by their certainty (see
    ``keypoints`` below).
    ``joints_3d`` are regressed from the mesh of the person's gender where
    ``body`` is given; else they are SMPL's own joints as the file has them,
    which know no neck and head. ``joints_2d`` are their projection, ``bbox``
    is about the projected mesh or, without ``body``, about the joints and a
    tenth more.

    METRO's ground truth is another: the neutral mesh of the same parameters
    for everybody, ``joints_3d`` by the regressors of its own 24 joints. That
    is ``gender='neutral', regressor='j24'``, and needs SMPL's neutral file
    only. The root stays where the file has it; ``transl`` is the neutral
    body's. ``gender`` in a sample remains the person's, so that
    ``MeshMetric`` can measure by METRO's and by SPIN's protocol in one go.

    Args:
        ann_file (str): The folder. Defaults to 'sequenceFiles'.
        split (str): One of the above. Defaults to 'TEST'.
        body (dict, optional): Arguments of ``load_body``, ``path`` the folder
            with SMPL's male and female files; ``dict()`` is the built-in
            body, which the labels do not belong to.
        gender (str): Whose mesh joints and boxes come from: 'label' that of
            the person's gender, 'neutral' the neutral one for everybody.
        regressor (str): How joints come from the mesh: 'h36m17', Human3.6M's,
            as SPIN and PARE evaluate, or 'j24', METRO's.
        keypoints (str): 'detected' for OpenPose's, or 'projected' for those of
            the mesh: the true 2D pose, to make pose tokens of it. Needs
            ``body`` with COCO's regressor.
        min_keypoints (int): People with fewer detected keypoints are left
            out. Defaults to 0: nobody, as for evaluation.
        data_prefix (dict, optional): ``img`` defaults to 'imageFiles'.
        **kwargs: See :class:`PersonDataset`.

    Raises:
        FileNotFoundError: If a folder is missing.
        ValueError: If a file has not what was expected; says which. If an
            argument is not one of these, or ``body`` has no such regressor.
    """

    def __init__(self,
                 ann_file: str = 'sequenceFiles',
                 split: str = 'TEST',
                 body: Optional[dict] = None,
                 gender: str = 'label',
                 regressor: str = 'h36m17',
                 keypoints: str = 'detected',
                 min_keypoints: int = 0,
                 data_prefix: Optional[dict] = None,
                 **kwargs) -> None:
        if split not in _SPLITS:
            raise ValueError(
                f'split must be one of {list(_SPLITS)}, got {split!r}')
        for name, value, known in (('gender', gender, ('label', 'neutral')),
                                   ('regressor', regressor, ('h36m17', 'j24')),
                                   ('keypoints', keypoints, ('detected',
                                                             'projected'))):
            if value not in known:
                raise ValueError(
                    f'{name} must be one of {known}, got {value!r}')
            if body is None and value != known[0]:
                raise ValueError(f'{name}={value!r} is about meshes, and '
                                 'these need a body')
        self.split = split
        self.gender = gender
        self.regressor = regressor
        self.keypoints = keypoints
        self.min_keypoints = min_keypoints
        self._bodies = None if body is None else LabelBodies(body)
        super().__init__(
            ann_file=ann_file,
            data_prefix=data_prefix or dict(img='imageFiles'),
            **kwargs)

    def load_people(self) -> PersonTable:
        """Read the sequences of the split."""
        paths = self._find_sequences()
        bodies = self._bodies
        genders = ['neutral'] if self.gender == 'neutral' else _GENDERS
        settings = [
            self.split, self.gender, self.regressor, self.keypoints,
            self.min_keypoints, bodies and bodies.settings
        ]
        name = f'{self.split}.{settings_name(settings)}.people.npz'
        stamp = [settings, files_stamp(paths)]
        table = kept_table(
            Path(self.ann_file) / name,
            [*stamp, bodies and bodies.stamp(*genders)],
            lambda: self._read_all(paths))
        expected = _SPLITS[self.split]
        if len(paths) != expected.sequences:
            _warn(f'{self.ann_file}: has {len(paths)} sequences of '
                  f'3DPW-{self.split}, which has {expected.sequences}')
        elif not self.min_keypoints and expected.people not in (None,
                                                                len(table)):
            _warn(f'3DPW-{self.split} is published with {expected.people} '
                  f'people, {self.ann_file} gives {len(table)}; left out: '
                  f'{dict(table.drop_report)}')
        return table

    def _read_all(self, paths: List[Path]) -> PersonTable:
        bar = None
        if len(paths) > 5:
            print(f'3DPW-{self.split}:')
            bar = ProgressBar(len(paths))
        tables = []
        for path in paths:
            tables.append(self._read_sequence(path))
            if bar is not None:
                bar.update()
        if bar is not None:
            print()
        return PersonTable.concatenate(tables)

    def _find_sequences(self) -> List[Path]:
        paths = []
        folders = [
            Path(self.ann_file) / f for f in _SPLITS[self.split].folders
        ]
        check_exist(folders, f"; 3DPW's sequenceFiles has {', '.join(_EVERY)}")
        for folder in folders:
            paths += [p for p in folder.glob('*.pkl') if self._has(p.stem)]
        if not paths:
            raise FileNotFoundError(f'{self.ann_file} has no sequence (.pkl) '
                                    f'of 3DPW-{self.split}')
        return sorted(paths)

    def _has(self, name: str) -> bool:
        """Whether frames of a sequence are in the split."""
        if self.split == 'PC':
            return name in _CROWDED
        if self.split in ('OCC', 'Non-OC'):
            occluded = name.rsplit('_', 1)[0] in _OCCLUDED
            return occluded == (self.split == 'OCC')
        return True

    def _in_split(self, name: str, count: int) -> np.ndarray:
        """Which frames of a sequence are in the split, (count, ) bool."""
        crowded = np.zeros(count, bool)
        crowded[slice(*_CROWDED.get(name, (0, 0)))] = True
        if self.split == 'PC':
            return crowded
        return ~crowded if self.split == 'Non-OC' else np.ones(count, bool)

    def _read_sequence(self, path: Path) -> PersonTable:
        name = path.stem
        try:
            data = load_pickle(path)
        except pickle.UnpicklingError as error:
            raise ValueError(str(error)) from None
        cameras = take(data, 'cam_poses', str(path))
        count = len(cameras)
        cameras = check_column(cameras, f"{path}: 'cam_poses'", count, (4, 4))
        intrinsics = check_column([take(data, 'cam_intrinsics', str(path))],
                                  f"{path}: 'cam_intrinsics'", 1, (3, 3))
        wanted = self._in_split(name, count)
        people = [
            self._read_person(data, path, person, count)
            for person in range(len(take(data, 'poses', str(path))))
        ]
        frames = np.tile(np.arange(count), len(people))
        columns = {
            key: np.concatenate([p[key] for p in people])
            for key in people[0]
        }
        columns.update(
            frame=frames,
            cameras=cameras[frames],
            intrinsics=np.repeat(intrinsics, len(frames), 0))
        drop_report = {}

        def keep(which: np.ndarray, reason: str = '') -> None:
            for key, column in columns.items():
                columns[key] = column[which]
            if reason and not which.all():
                drop_report[reason] = int((~which).sum())

        keep(wanted[frames])
        keep(columns.pop('valid'), 'camera not aligned with the picture')
        if self.min_keypoints:
            keep((columns['keypoints'][..., 2] > 0).sum(1)
                 >= self.min_keypoints, 'too few keypoints detected')
        self._bring_before_camera(columns)
        keep(np.isfinite(columns['bbox']).all(1), 'reaches behind the camera')
        return PersonTable(
            image=columns['frame'],
            image_names=NameList(f'{name}/image_{i:05d}.jpg'
                                 for i in range(count)),
            sequence=np.zeros(len(columns['frame'])),
            sequence_names=NameList([name]),
            drop_report=drop_report,
            source=str(path),
            **columns)

    @staticmethod
    def _read_person(data: Mapping, path: Path, person: int,
                     count: int) -> Dict[str, np.ndarray]:
        """Columns of all frames of a person, in the world."""

        def entry(key: str, shape: tuple) -> np.ndarray:
            values = take(data, key, str(path))
            if len(values) <= person:
                raise ValueError(f"{path}: '{key}' must have an entry a "
                                 f'person, got {len(values)}')
            return check_column(values[person], f"{path}: '{key}'[{person}]",
                                count, shape)

        gender = take(data, 'genders', str(path))
        where = f"{path}: 'betas'[{person}]"
        betas = np.ravel(take(data, 'betas', str(path))[person])[:10]
        betas = check_column(betas[None], where, 1, (10, ))
        pose = entry('poses', (72, ))
        detected = entry('poses2d', (3, 18)).transpose(0, 2, 1)
        detected = check_points(
            detected, f"{path}: 'poses2d'[{person}]", count, 18, 3, clip=True)
        return dict(
            global_orient=pose[:, :3],
            body_pose=pose[:, 3:].reshape(count, 23, 3),
            betas=betas.repeat(count, 0),
            transl=entry('trans', (3, )),
            gender=gender_codes(gender, f"{path}: 'genders'",
                                len(gender))[[person] * count],
            keypoints=gather_points([('openpose18', detected)], 'coco17'),
            smpl_joints=entry('jointPositions', (72, )).reshape(count, 24, 3),
            valid=entry('campose_valid', ()) > 0)

    def _bring_before_camera(self, columns: Dict[str, np.ndarray]) -> None:
        """Turn what is in the world; add joints and boxes."""
        cameras = columns.pop('cameras')
        rotation, translation = cameras[:, :3, :3], cameras[:, :3, 3]
        joints = columns.pop('smpl_joints')
        gender, transl = columns['gender'], columns['transl']
        if self._bodies is None:
            root = joints[:, 0] - transl
        else:
            if self.gender == 'neutral':
                gender = np.zeros_like(gender)
            root = self._bodies.rest_roots(columns['betas'], gender)
            if self.gender == 'neutral':
                transl = joints[:, 0] - root
        columns['global_orient'], columns['transl'] = turn_to_camera(
            columns['global_orient'], transl, root, rotation, translation)
        intrinsics = columns['intrinsics']
        if self._bodies is None:
            joints = np.einsum('nij,nkj->nki', rotation,
                               joints) + translation[:, None]
            columns['bbox'] = boxes_about(joints, intrinsics, _MARGIN)
            joints = gather_points([('smpl24', _certain(joints))], 'j14')
        else:
            projected = self.keypoints == 'projected'
            joints, columns['bbox'], keypoints = self._bodies.pose(
                *(columns[key] for key in ('betas', 'body_pose',
                                           'global_orient', 'transl')), gender,
                intrinsics, self.regressor, projected)
            if projected:
                columns['keypoints'] = _certain(project(keypoints, intrinsics))
            joints = _certain(joints)
        columns['joints_3d'] = joints
        pixels = project(joints[..., :3], intrinsics)
        columns['joints_2d'] = np.concatenate([pixels, joints[..., 3:]], -1)


def _certain(points: np.ndarray) -> np.ndarray:
    """Points with weights of 1 behind."""
    return np.concatenate([points, np.ones_like(points[..., :1])], -1)


def _warn(message: str) -> None:
    print_log(message, logger='current', level=logging.WARNING)
