# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Person boxes for the inferencer: what a caller gives, and COCO files."""
import json
from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple, Union

import numpy as np
from mmpose.evaluation.functional import nms

__all__ = [
    'BoxFile', 'Boxes', 'add_box_flags', 'check_box', 'parse_boxes',
    'read_box_flags', 'read_coco_boxes'
]


class Boxes(NamedTuple):
    """Boxes of one picture.

    Attributes:
        xyxy (np.ndarray): (N, 4), pixels, float32.
        scores (np.ndarray): (N, ), float32.
    """
    xyxy: np.ndarray
    scores: np.ndarray


def parse_boxes(boxes, bbox_format: str = 'xyxy') -> Boxes:
    """Bring boxes of one picture into one form.

    Args:
        boxes (array-like): (N, 4), or (N, 5) with a score, or one box (4, ).
        bbox_format (str): 'xyxy' (left, top, right, bottom) or 'xywh' (left,
            top, width, height), pixels.

    Returns:
        Boxes: Corners and scores (1 where none was given).

    Raises:
        ValueError: If the shape or the format is another.
    """
    if bbox_format not in ('xyxy', 'xywh'):
        raise ValueError('bbox_format must be "xyxy" or "xywh", got '
                         f'{bbox_format!r}')
    try:
        array = np.asarray(boxes, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise ValueError('boxes must be numbers of shape (N, 4) or (N, 5), '
                         f'got {boxes!r}') from error
    if array.size == 0:
        array = array.reshape(0, 4)
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2 or array.shape[1] not in (4, 5):
        raise ValueError('boxes must be of shape (N, 4), (N, 5) or (4, ), '
                         f'got {array.shape}')
    xyxy = array[:, :4].copy()
    if bbox_format == 'xywh':
        xyxy[:, 2:] += xyxy[:, :2]
    scores = array[:, 4] if array.shape[1] == 5 else np.ones(len(array))
    return Boxes(xyxy, scores.astype(np.float32))


def check_box(xyxy: np.ndarray, width: int, height: int) -> Optional[str]:
    """Say what is wrong with a box.

    Args:
        xyxy (np.ndarray): (4, ), pixels.
        width (int): Of the picture, pixels.
        height (int): Of the picture, pixels.

    Returns:
        str, optional: The fault, or None. A box that reaches over the edge is
        fine; one that shows nothing of the picture is not.
    """
    shown = [round(float(v), 1) for v in xyxy]
    if not np.isfinite(xyxy).all():
        return f'{shown} (xyxy) is not finite'
    left, top, right, bottom = xyxy
    if right <= left or bottom <= top:
        return (f'{shown} (xyxy) has no area; boxes given as x, y, width, '
                'height need the format xywh')
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        return (f'{shown} (xyxy) lies outside the image, which is {width} x '
                f'{height} pixels')
    return None


class BoxFile:
    """Boxes of many pictures.

    Args:
        path (str): Where they come from, for messages.
        by_id (dict): Image id -> boxes.
        ids (list, optional): File name and image id of every picture. None
            if the file does not say (detection results): then the id is the
            number in the file's name, as in COCO.
    """

    def __init__(self, path: str, by_id: Dict[int, Boxes],
                 ids: Optional[List[Tuple[str, int]]]) -> None:
        self.path = path
        self.by_id = by_id
        self.named: Optional[Dict[str, List[Tuple[str, int]]]] = None
        if ids is not None:
            self.named = {}
            for file_name, image_id in ids:
                self.named.setdefault(Path(file_name).name, []).append(
                    (file_name, image_id))

    def boxes_of(self, image: Union[str, Path]) -> Boxes:
        """Boxes of a picture; none if the file has none for it.

        Args:
            image (str | Path): The picture's file.

        Raises:
            ValueError: If the picture cannot be told from its name.
        """
        return self.by_id.get(self.image_id(image), parse_boxes([]))

    def image_id(self, image: Union[str, Path]) -> int:
        """Id of a picture, by its name without folders.

        Where several pictures of the file have that name, their folders
        decide.

        Args:
            image (str | Path): The picture's file.

        Raises:
            ValueError: If the picture cannot be told from its name.
        """
        image = Path(image)
        if self.named is None:
            # COCO_val2014_000000000785.jpg, 000000000785.jpg
            digits = image.stem.rsplit('_', 1)[-1]
            if not digits.isdigit():
                raise ValueError(
                    f'{self.path} holds detection results by image_id, and '
                    f'the name {image.name!r} does not end in one; give a '
                    'COCO file with "images" or plain boxes')
            return int(digits)
        found = self.named.get(image.name, [])
        if not found:
            raise ValueError(f'{self.path}: "images" has no file_name '
                             f'{image.name!r}')
        if len(found) == 1:
            return found[0][1]
        parts = image.absolute().parts
        same = [
            image_id for name, image_id in found
            if parts[-len(Path(name).parts):] == Path(name).parts
        ]
        if len(same) == 1:
            return same[0]
        names = ', '.join(repr(name) for name, _ in found)
        raise ValueError(f'{self.path}: "images" has {names}; {str(image)!r} '
                         'may be any of them')


def _entry(path: str, where: str, item, keys: Sequence[str]) -> Tuple:
    """Values of the keys, or an error that names file, place and key."""
    if not isinstance(item, dict):
        raise ValueError(f'{path}: {where} must be an object, got '
                         f'{type(item).__name__}')
    for key in keys:
        if key not in item:
            raise ValueError(f'{path}: {where} has no "{key}"')
    return tuple(item[key] for key in keys)


def read_coco_boxes(path: Union[str, Path],
                    *,
                    min_score: float = .3,
                    nms_iou: float = .65,
                    category_id: int = 1) -> BoxFile:
    """Read person boxes from COCO annotations or detection results.

    Args:
        path (str | Path): JSON of either kind: an object with ``images``
            (``id``, ``file_name``) and ``annotations`` (``image_id``,
            ``bbox`` as x, y, width, height, ``category_id``), crowds left
            out; or a list of detections (``image_id``, ``bbox``, ``score``,
            ``category_id``).
        min_score (float): Detections below are left out.
        nms_iou (float): Of detections that overlap more, the one with the
            highest score stays.
        category_id (int): What a person is. Entries without a category count
            as persons.

    Returns:
        BoxFile: Boxes by picture.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not of either kind, or an entry lacks a key; the
            entry is named.
    """
    name = str(path)
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{name}: no such file (person boxes)')
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{name} is not JSON: {error}') from error

    ids: Optional[List[Tuple[str, int]]] = None
    if isinstance(content, dict):
        images, entries = _entry(name, 'the file', content,
                                 ['images', 'annotations'])
        ids = []
        for index, item in enumerate(images):
            image_id, file_name = _entry(name, f'images[{index}]', item,
                                         ['id', 'file_name'])
            ids.append((file_name, image_id))
        kind, keys = 'annotations', ['image_id', 'bbox']
    elif isinstance(content, list):
        entries = content
        kind, keys = 'detections', ['image_id', 'bbox', 'score']
    else:
        raise ValueError(f'{name}: expected COCO annotations (an object) or '
                         'detection results (a list), got '
                         f'{type(content).__name__}')

    rows: Dict[int, List[List[float]]] = {}
    for index, item in enumerate(entries):
        where = f'{kind}[{index}]'
        image_id, box, *score = _entry(name, where, item, keys)
        if item.get('category_id', category_id) != category_id or item.get(
                'iscrowd', 0):
            continue
        score = score[0] if score else item.get('score', 1.)
        try:
            row = [*(float(v) for v in box), float(score)]
            if len(row) != 5:
                raise ValueError
        except (TypeError, ValueError):
            raise ValueError(f'{name}: {where} must have "bbox" as [x, y, '
                             f'width, height] and a number as score, got '
                             f'{box!r} and {score!r}') from None
        if row[4] >= min_score:
            rows.setdefault(image_id, []).append(row)
    by_id = {}
    for image_id, row in rows.items():
        boxes = parse_boxes(row, 'xywh')
        if ids is None:
            keep = nms(np.column_stack(boxes), nms_iou)
            boxes = Boxes(boxes.xyxy[keep], boxes.scores[keep])
        by_id[image_id] = boxes
    return BoxFile(name, by_id, ids)


def add_box_flags(parser: ArgumentParser) -> None:
    """Give a command the flags that say where the people are.

    Args:
        parser (ArgumentParser): Of the command.
    """
    boxes = parser.add_mutually_exclusive_group()
    boxes.add_argument(
        '--bboxes',
        nargs='+',
        metavar='X,Y,W,H',
        help='person boxes of the only image: left, top, width, height in '
        'pixels (see --bbox-format). Without boxes the whole image is one')
    boxes.add_argument('--coco-json', help='COCO annotations with boxes')
    boxes.add_argument('--det-json', help='COCO detection results')
    parser.add_argument(
        '--bbox-format', choices=['xywh', 'xyxy'], default='xywh')
    parser.add_argument(
        '--min-score', type=float, default=.3, help='of detections')
    parser.add_argument(
        '--nms', type=float, default=.65, help='IoU of double detections')


def read_box_flags(args: Namespace) -> Union[None, List[List[float]], BoxFile]:
    """Boxes of the flags of :func:`add_box_flags`, as inferencers take them.

    Args:
        args (Namespace): The command line.

    Returns:
        list | BoxFile | None: In the format ``args.bbox_format``, if a list.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a flag or a file is not what it should be.
    """
    if args.bboxes:
        try:
            return [[float(v) for v in box.split(',')] for box in args.bboxes]
        except ValueError as error:
            raise ValueError(f'--bboxes: expected 40,30,120,260 (four '
                             f'numbers a box), got {args.bboxes}') from error
    path = args.coco_json or args.det_json
    if path:
        return read_coco_boxes(
            path, min_score=args.min_score, nms_iou=args.nms)
    return None
