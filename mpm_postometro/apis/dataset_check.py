# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Look through data sets before a training does: files, labels, pictures."""
import pickle
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Callable, Dict, Iterator, List, Optional, Tuple, Union

import cv2
import numpy as np
import torch
from mmengine.config import Config
from mmpose.registry import DATASETS

from mpm_postometro.bodies import BodyModel
from mpm_postometro.bodies.skeletons import SKELETONS
from mpm_postometro.datasets.body.metro_tsv import decode_picture
from mpm_postometro.datasets.body.person_dataset import PersonDataset
from mpm_postometro.datasets.body.person_table import GENDERS
from mpm_postometro.files import atomic_write

__all__ = ['DatasetCheck', 'check_dataset', 'find_datasets']

# What files that are not there or not whole raise.
_FILE_ERRORS = (OSError, ValueError, KeyError, TypeError, EOFError,
                pickle.UnpicklingError)
_LOADERS = ('train_dataloader', 'val_dataloader', 'test_dataloader')
_TILE, _COLUMNS, _ROWS = 200, 6, 4
_LEFT, _RIGHT, _MIDDLE = (80, 220, 80), (0, 140, 255), (255, 190, 60)
_LANDED, _OUTLINE, _TEXT = (255, 60, 255), (255, 255, 255), (255, 255, 255)
# 3D joints that land further from the 2D joints than this part of the box
# are not of this person, or of another order or frame.
_FAR = .1
_SHOWN = 10  # examples of each kind of problem


@dataclass
class DatasetCheck:
    """What was found in a data set.

    Attributes:
        name (str): The data set.
        people (int): Items.
        pictures (int | None): Different pictures, where that is known.
        labels (dict[str, int]): Kinds of labels, and how many people have
            them; of the people that were tried where the data set has no
            table of all.
        dropped (dict[str, int]): Whom the reader left out, and why.
        memory (int | None): Bytes of the labels.
        tried (int): Items whose picture was opened.
        landed (float | None): Median distance in pixels from 3D joints,
            projected, to 2D joints.
        problems (list[str]): What is missing or broken.
        notes (list[str]): What looks wrong, but can be trained on.
    """

    name: str
    people: int = 0
    pictures: Optional[int] = None
    labels: Dict[str, int] = field(default_factory=dict)
    dropped: Dict[str, int] = field(default_factory=dict)
    memory: Optional[int] = None
    tried: int = 0
    landed: Optional[float] = None
    problems: List[str] = field(default_factory=list)
    notes: List[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """bool: Whether nothing is missing or broken."""
        return not self.problems

    def asdict(self) -> Dict[str, Any]:
        """dict: For a JSON file."""
        return asdict(self)

    def __str__(self) -> str:
        lines = [self.name]

        def add(title: str, text: str) -> None:
            lines.append(f'  {title:<12}{text}')

        if self.people:
            pictures = '' if self.pictures is None else (
                f' in {self.pictures:,} pictures')
            memory = '' if self.memory is None else (
                f'; labels take {self.memory / 2**20:.1f} MiB')
            add('people', f'{self.people:,}{pictures}{memory}')
        for i, (kind, count) in enumerate(self.labels.items()):
            add('' if i else 'labels', f'{count:>9,}  {kind}')
        for i, (reason, count) in enumerate(self.dropped.items()):
            add('' if i else 'left out', f'{count:>9,}  {reason}')
        if self.tried:
            add('tried', f'{self.tried:,} pictures')
        if self.landed is not None:
            add('3D on 2D', f'{self.landed:.1f} px apart (median)')
        for text in self.notes:
            add('look at', text)
        for text in self.problems:
            add('BROKEN', text)
        add('', 'all right' if self.ok else 'not all right')
        return '\n'.join(lines)


def find_datasets(config: Config) -> Iterator[Tuple[str, dict]]:
    """The data sets of a config's loaders, those inside of others too.

    Args:
        config (Config): Of a training.

    Yields:
        tuple[str, dict]: A name, such as 'train-1-SPINDataset', and the
        data set's own config without its pipeline; each once.
    """
    seen = []
    for loader in _LOADERS:
        found = config.get(loader)
        if found is None:
            continue
        number = 0
        for dataset in _inner(found['dataset']):
            dataset = dict(dataset, pipeline=[])
            if dataset not in seen:
                seen.append(dataset)
                split = loader.split('_')[0]
                yield f"{split}-{number}-{dataset['type']}", dataset
            number += 1


def _inner(dataset: Any) -> Iterator[dict]:
    if dataset['type'] == 'MergedPersonDataset':  # is one itself
        yield dataset.to_dict() if hasattr(dataset, 'to_dict') else dataset
    elif 'datasets' in dataset:
        for inner in dataset['datasets']:
            yield from _inner(inner)
    elif 'dataset' in dataset:
        yield from _inner(dataset['dataset'])
    else:
        yield dataset.to_dict() if hasattr(dataset, 'to_dict') else dataset


def check_dataset(dataset: Any,
                  name: str = '',
                  number: Optional[int] = 200,
                  sheet: Union[None, str, Path] = None,
                  body: Optional[BodyModel] = None,
                  report: Optional[Callable] = None) -> DatasetCheck:
    """Open a data set, count its labels and try its pictures.

    Args:
        dataset (dict | BaseDataset): The data set or its config.
        name (str): What to call it. Defaults to its class.
        number (int, optional): Pictures to open, evenly spread over the data
            set; None for all.
        sheet (str | Path, optional): Picture to write: people with their 2D
            joints (green left, orange right), their 3D joints projected
            (pink rings; with the camera or, where it is not known, fitted by
            scale and shift), and the outline of their body.
        body (BodyModel, optional): For the outline.
        report (Callable, optional): Is told the part that is done.

    Returns:
        DatasetCheck: What was found.
    """
    check = DatasetCheck(
        name or (dataset['type']
                 if isinstance(dataset, dict) else type(dataset).__name__))
    try:
        if isinstance(dataset, dict):
            dataset = DATASETS.build(dataset)
        dataset.full_init()
        check.people = len(dataset)
    except _FILE_ERRORS as error:
        check.problems.append(_one_line(error))
        return check
    if not check.people:
        check.problems.append('has no items')
        return check
    items = np.arange(check.people)
    if isinstance(dataset, PersonDataset):
        items = _count_labels(dataset, check)
    if number is not None and number < len(items):
        items = items[np.linspace(0, len(items) - 1, number).astype(int)]
    _try_items(dataset, items, check, sheet, body, report)
    return check


def _one_line(error: BaseException) -> str:
    text = re.sub(r'\s+', ' ', str(error)).strip("' ")
    return text or type(error).__name__


def _count_labels(dataset: PersonDataset, check: DatasetCheck) -> np.ndarray:
    """Fill in what the table says; a person of each picture."""
    table = dataset.table
    rows = dataset.rows()
    check.memory = table.nbytes
    check.dropped = dict(table.drop_report)
    for kind, key in (('keypoints', 'keypoints'), ('2D joints', 'joints_2d')):
        points = getattr(table, key)
        if points is not None:
            check.labels[kind] = int(points[rows, :, -1].any(1).sum())
    for kind, key in (('3D joints', 'has_joints_3d'), ('SMPL bodies',
                                                       'has_smpl')):
        check.labels[kind] = int(getattr(table, key)[rows].sum())
    for kind, key in (('translations', 'transl'), ('cameras', 'intrinsics')):
        values = getattr(table, key)
        if values is not None:
            known = np.isfinite(values[rows].reshape(len(rows), -1)).all(1)
            check.labels[kind] = int(known.sum())
    if table.gender is not None:
        counts = np.bincount(table.gender[rows], minlength=len(GENDERS))
        check.labels.update({
            f'of gender {gender}': int(count)
            for gender, count in zip(GENDERS, counts) if count
        })
    if table.annotation_id is not None:
        ids = table.annotation_id[rows]
        check.labels['annotation ids'] = int((ids >= 0).sum())
        repeated = (ids >= 0).sum() - len(np.unique(ids[ids >= 0]))
        if repeated:
            check.notes.append(f'{repeated:,} people have an annotation id '
                               'that another has too')
    if not (check.labels['SMPL bodies'] or check.labels['3D joints']):
        check.notes.append('nobody has 3D joints or a body')
    # Anyone of a picture: a reader's first may be the same all the way.
    order = np.random.default_rng(0).permutation(len(rows))
    _, first = np.unique(table.image[rows][order], return_index=True)
    check.pictures = len(first)
    return np.sort(order[first])


def _try_items(dataset: Any, items: np.ndarray, check: DatasetCheck,
               sheet: Union[None, str, Path], body: Optional[BodyModel],
               report: Optional[Callable]) -> None:
    tally = _Tally()
    wanted = items[np.linspace(0,
                               len(items) - 1,
                               min(len(items), _COLUMNS * _ROWS)).astype(int)]
    tiles = []
    for done, item in enumerate(items.tolist()):
        if report is not None:
            report(done / len(items))
        try:
            info = dataset.get_data_info(item)
            path = info.get('img_path')
            image = info.get('img')
            if image is None and path is not None:
                image = _read(path)
        except _FILE_ERRORS as error:
            tally.broken(
                'pictures are missing' if isinstance(error, FileNotFoundError)
                else 'items cannot be read', f'{_one_line(error)}')
            continue
        tally.add(info, image)
        if sheet is not None and item in wanted and image is not None:
            tiles.append(_tile(item, info, image, body))
    check.tried = len(items)
    if check.memory is None:
        check.labels = tally.labels
    tally.finish(check)
    if sheet is not None and tiles:
        picture = _sheet(tiles)
        atomic_write(sheet, lambda path: cv2.imwrite(path, picture))


def _read(path: str) -> np.ndarray:
    if not Path(path).is_file():
        raise FileNotFoundError(path)
    try:
        return decode_picture(Path(path).read_bytes())
    except ValueError as error:
        raise ValueError(f'{path} {error}') from None


class _Tally:
    """What the tried items have in common."""

    def __init__(self) -> None:
        self.labels: Dict[str, int] = {}
        self._broken: Dict[str, List[str]] = {}
        self._outside = self._other_size = 0
        self._landed: List[Tuple[float, float]] = []

    def broken(self, what: str, example: str) -> None:
        self._broken.setdefault(what, []).append(example)

    def add(self, info: dict, image: Optional[np.ndarray]) -> None:
        for kind, key in (('keypoints', 'keypoints_visible'),
                          ('2D joints', 'joints_2d_visible'),
                          ('3D joints', 'has_joints_3d'), ('SMPL bodies',
                                                           'has_smpl')):
            if key in info:
                known = bool(np.any(info[key]))
                self.labels[kind] = self.labels.get(kind, 0) + known
        if image is not None:
            height, width = image.shape[:2]
            box = np.asarray(info['bbox'])[0]
            self._outside += not (box[0] < width and box[1] < height
                                  and box[2] > 0 and box[3] > 0)
            size = info.get('img_shape')
            self._other_size += size is not None and tuple(size) != (height,
                                                                     width)
        landed = landing_points(info)
        if landed is not None:
            seen = np.isfinite(landed).all(-1)
            distance = np.linalg.norm(
                landed - info['joints_2d'][0], axis=-1)[seen].mean()
            box = np.asarray(info['bbox'])[0]
            self._landed.append((distance, distance / max(box[2:] - box[:2])))

    def finish(self, check: DatasetCheck) -> None:
        for what, examples in self._broken.items():
            more = len(examples) - _SHOWN
            check.problems.append(
                f'{len(examples):,} of {check.tried:,} {what}')
            check.problems += examples[:_SHOWN] + ([f'... and {more:,} more']
                                                   if more > 0 else [])
        if self._outside:
            check.notes.append(f'{self._outside:,} of {check.tried:,} boxes '
                               'lie outside of their pictures')
        if self._other_size:
            check.notes.append(f'{self._other_size:,} of {check.tried:,} '
                               'pictures are of another size than labelled')
        if self._landed:
            pixels, parts = np.median(self._landed, 0)
            check.landed = float(pixels)
            if parts > _FAR:
                check.notes.append(
                    f'3D joints do not fit the 2D joints: {parts:.0%} of the '
                    'box apart; are joints, axes and pictures those of the '
                    'same person?')


def landing_points(info: dict) -> Optional[np.ndarray]:
    """Where the 3D joints of a sample lie in its picture.

    Args:
        info (dict): A sample; see docs/design.md.

    Returns:
        np.ndarray | None: (14, 2) pixels, NaN for joints that are not known
        in 3D and 2D; None where fewer than three are. By its camera if there
        is one and the person is in front of it, else fitted by scale and
        shift.
    """
    if not np.any(info.get('has_joints_3d', 0)) or 'joints_2d' not in info:
        return None
    joints = np.asarray(info['joints_3d'][0], np.float64)
    points = np.asarray(info['joints_2d'][0], np.float64)
    seen = (info['joints_3d_visible'][0] > 0) & (
        info['joints_2d_visible'][0] > 0)
    if seen.sum() < 3:
        return None
    landed = np.full(points.shape, np.nan)
    camera = info.get('intrinsics')
    if camera is not None and joints[seen, 2].min() > .1:
        image = joints[seen] @ np.asarray(camera[0], np.float64).T
        landed[seen] = image[:, :2] / image[:, 2:]
    else:
        landed[seen] = _fit(joints[seen], points[seen])(joints[seen])
    return landed


def _fit(joints: np.ndarray, points: np.ndarray) -> Callable:
    """The weak camera that brings joints next to points."""
    middle, target = joints[:, :2].mean(0), points.mean(0)
    spread = joints[:, :2] - middle
    scale = (spread * (points - target)).sum() / max((spread**2).sum(), 1e-12)
    return lambda x: (x[:, :2] - middle) * scale + target


def _tile(item: int, info: dict, image: np.ndarray,
          body: Optional[BodyModel]) -> np.ndarray:
    """A person's square crop with its labels."""
    box = np.asarray(info['bbox'], np.float64)[0]
    side = max(*(box[2:] - box[:2]), 1.) * 1.25
    zoom = _TILE / side
    corner = (box[:2] + box[2:]) / 2 - side / 2
    matrix = np.concatenate([np.eye(2), -corner[:, None]], 1) * zoom
    tile = cv2.warpAffine(
        image,
        matrix, (_TILE, _TILE),
        flags=cv2.INTER_AREA if zoom < 1 else cv2.INTER_LINEAR,
        borderValue=(40, 40, 40))

    def move(points: np.ndarray) -> np.ndarray:
        return (points - corner) * zoom

    if body is not None:
        _draw_outline(tile, info, body, move)
    # Joints of J14 only where there are no keypoints.
    for key, skeleton in (('keypoints', 'coco17'), ('joints_2d', 'j14')):
        if np.any(info.get(f'{key}_visible', 0)):
            _draw_skeleton(tile, move(info[key][0]), info[f'{key}_visible'][0]
                           > 0, skeleton)
            break
    landed = landing_points(info)
    if landed is not None:
        for point in move(landed[np.isfinite(landed).all(-1)]):
            cv2.circle(tile, _pixel(point), 4, _LANDED, 1, cv2.LINE_AA)
    words = [str(item), info.get('gender', '')]
    words += [
        w for w, key in (('3D', 'has_joints_3d'), ('body', 'has_smpl'))
        if np.any(info.get(key, 0))
    ]
    text = ' '.join(w for w in words if w)
    cv2.rectangle(tile, (0, 0), (_TILE, 15), (0, 0, 0), -1)
    cv2.putText(tile, text, (4, 12), cv2.FONT_HERSHEY_SIMPLEX, .4, _TEXT, 1,
                cv2.LINE_AA)
    return tile


def _pixel(point: np.ndarray) -> Tuple[int, int]:
    x, y = np.round(np.clip(point, -1e4, 1e4)).astype(int).tolist()
    return x, y


def _draw_skeleton(tile: np.ndarray, points: np.ndarray, seen: np.ndarray,
                   skeleton: str) -> None:
    names = SKELETONS[skeleton].joint_names
    colors = [
        _LEFT if n.startswith('left') else
        _RIGHT if n.startswith('right') else _MIDDLE for n in names
    ]
    for start, end in SKELETONS[skeleton].links:
        if seen[start] and seen[end]:
            cv2.line(tile, _pixel(points[start]), _pixel(points[end]),
                     colors[end], 1, cv2.LINE_AA)
    for point, color in zip(points[seen], np.array(colors)[seen].tolist()):
        cv2.circle(tile, _pixel(point), 2, color, -1, cv2.LINE_AA)


@torch.no_grad()
def _draw_outline(tile: np.ndarray, info: dict, body: BodyModel,
                  move: Callable) -> None:
    """The edge of the body, by the camera or fitted to the 2D joints."""
    if not np.any(info.get('has_smpl', 0)):
        return
    pose = [
        torch.from_numpy(np.asarray(info[k], np.float32))
        for k in ('betas', 'body_pose', 'global_orient')
    ]
    vertices = body(*pose).vertices
    joints = body.regress_joints(vertices, 'j14')[0].numpy()
    vertices = vertices[0].numpy()
    if 'transl' in info and 'intrinsics' in info:
        image = (vertices + info['transl'][0]) @ info['intrinsics'][0].T
        points = image[:, :2] / image[:, 2:].clip(1e-3)
    else:
        seen = info['joints_2d_visible'][0] > 0
        if seen.sum() < 3:
            return
        points = _fit(joints[seen], info['joints_2d'][0][seen])(vertices)
    points = np.round(move(points).clip(-1e4, 1e4)).astype(np.int32)
    mask = np.zeros(tile.shape[:2], np.uint8)
    for face in points[np.asarray(body.faces)]:
        cv2.fillConvexPoly(mask, face, 255)
    edges, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(tile, edges, -1, _OUTLINE, 1, cv2.LINE_AA)


def _sheet(tiles: List[np.ndarray]) -> np.ndarray:
    """Tiles in rows; the last one is filled up."""
    columns = min(len(tiles), _COLUMNS)
    tiles = tiles + [np.zeros_like(tiles[0])] * (-len(tiles) % columns)
    return np.concatenate([
        np.concatenate(tiles[i:i + columns], 1)
        for i in range(0, len(tiles), columns)
    ])
