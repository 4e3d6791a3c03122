# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Files of pose tokens, and of the keypoints that become tokens."""
import json
import zipfile
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Union

import numpy as np

from mpm_postometro.files import atomic_write

__all__ = [
    'KeypointFile', 'read_keypoints', 'read_pose_tokens', 'write_keypoints',
    'write_pose_tokens'
]

# Type and axes of what a file of tokens holds.
_KEYS = dict(
    codes=(np.int64, 'PN'),
    num_codes=(np.int64, ''),
    confidence=(np.float32, 'PN'),
    probabilities=(np.float32, 'PN'),
    keypoints=(np.float32, 'PKC'),
    keypoint_scores=(np.float32, 'PK'),
    bboxes=(np.float32, 'P4'),
    bbox_scores=(np.float32, 'P'),
    box_index=(np.int64, 'P'),
    images=(np.str_, 'P'),
    image_ids=(np.int64, 'P'),
    joint_names=(np.str_, 'K'))
_REQUIRED = ('codes', 'num_codes')


def write_pose_tokens(path: Union[str, Path], **arrays) -> Path:
    """Write pose tokens, atomically.

    The keys (P people, N tokens, K joints, C coordinates); all but the first
    two may be missing, and are then not in the file:

    ==================== ==================== ==============================
    ``codes``            (P, N) int64         code of each token
    ``num_codes``        () int64             size V of the codebook
    ``confidence``       (P, N) float32       raw logits of the codes
    ``probabilities``    (P, N) float32       probabilities of the codes
    ``keypoints``        (P, K, C) float32    pixels of the picture (3D: the
                                              tokenizer's units); NaN where
                                              not visible
    ``keypoint_scores``  (P, K) float32
    ``bboxes``           (P, 4) float32       xyxy, pixels of the picture
    ``bbox_scores``      (P, ) float32
    ``box_index``        (P, ) int64          position among the picture's
    ``images``           (P, ) text           picture of the person
    ``image_ids``        (P, ) int64          its id in a COCO file
    ``joint_names``      (K, ) text
    ==================== ==================== ==============================

    Args:
        path (str | Path): Ends in ``.npz``.
        **arrays: By the keys above.

    Returns:
        Path: The file.

    Raises:
        ValueError: If a key is missing or unknown, or an array has another
            shape or type.
    """
    path = Path(path)
    if path.suffix != '.npz':
        raise ValueError(f'{path}: files of pose tokens end in .npz')
    arrays = _checked(str(path), arrays)
    return atomic_write(path, lambda name: np.savez_compressed(name, **arrays))


def read_pose_tokens(path: Union[str, Path]) -> Dict[str, np.ndarray]:
    """Read a file of :func:`write_pose_tokens`, without running code from
    it.

    Args:
        path (str | Path): The file.

    Returns:
        dict: Arrays by the keys of :func:`write_pose_tokens`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged, or not of pose tokens.
    """
    return _checked(str(path), _load_npz(Path(path)))


def _checked(where: str, arrays: Dict) -> Dict[str, np.ndarray]:
    """Arrays of the documented types and shapes."""
    for key in _REQUIRED:
        if key not in arrays:
            raise ValueError(f'{where}: pose tokens need {key!r}, got '
                             f'{sorted(arrays)}')
    sizes, checked = {'4': 4}, {}
    for key, value in arrays.items():
        if key not in _KEYS:
            raise ValueError(f'{where}: {key!r} is none of {sorted(_KEYS)}')
        kind, axes = _KEYS[key]
        value = np.asarray(value)
        if kind is np.int64 and not np.issubdtype(value.dtype, np.integer):
            raise ValueError(f'{where}: {key!r} must be integers, got '
                             f'{value.dtype}')
        value = value.astype(kind)
        expected = tuple(sizes.get(axis, axis) for axis in axes)
        if value.ndim != len(axes) or any(
                sizes.setdefault(axis, size) != size
                for axis, size in zip(axes, value.shape)):
            raise ValueError(f'{where}: {key!r} must be of shape '
                             f'{expected}, got {value.shape}')
        checked[key] = value
    codes, num_codes = checked['codes'], int(checked['num_codes'])
    if codes.size and not 0 <= codes.min() <= codes.max() < num_codes:
        raise ValueError(f'{where}: codes must be in [0, {num_codes}), got '
                         f'{codes.min()} to {codes.max()}')
    return checked


def _load_npz(path: Path) -> Dict[str, np.ndarray]:
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file')
    try:
        with np.load(path, allow_pickle=False) as data:
            return dict(data)
    except (OSError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(f'{path}: expected an .npz file of plain arrays '
                         f'({error})') from error


class KeypointFile(NamedTuple):
    """Poses of a file.

    Attributes:
        keypoints (np.ndarray): (P, K, C) float32.
        visible (np.ndarray): (P, K) float32.
        bboxes (np.ndarray, optional): (P, 4), xyxy, pixels.
        image_ids (np.ndarray, optional): (P, ) int64, COCO's.
        images (np.ndarray, optional): (P, ) text, names of the pictures.
    """
    keypoints: np.ndarray
    visible: np.ndarray
    bboxes: Optional[np.ndarray] = None
    image_ids: Optional[np.ndarray] = None
    images: Optional[np.ndarray] = None


def read_keypoints(path: Union[str, Path]) -> KeypointFile:
    """Read poses.

    Args:
        path (str | Path): One of

            - ``.json``: COCO annotations (an object with ``images`` and
              ``annotations`` with ``keypoints`` as x, y, visibility;
              entries without a visible joint and crowds are left out), or
              COCO keypoint results (a list of ``image_id``, ``keypoints``);
            - ``.npy``: an array (P, K, C), NaN where not visible;
            - ``.npz``: ``keypoints`` (P, K, C), and as far as they are there
              ``bboxes``, ``image_ids`` and ``images``.

    Returns:
        KeypointFile: Poses.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not of these kinds, an entry lacks a key or is
            one without a box among others with boxes (the entry is named),
            or boxes, ids or names are not as many as poses.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f'{path}: no such file (keypoints)')
    if path.suffix == '.json':
        return _read_coco_keypoints(path)
    if path.suffix == '.npz':
        arrays = _load_npz(path)
        if 'keypoints' not in arrays:
            raise ValueError(f"{path}: expected 'keypoints', got "
                             f'{sorted(arrays)}')
    elif path.suffix == '.npy':
        try:
            arrays = dict(keypoints=np.load(path, allow_pickle=False))
        except (OSError, ValueError) as error:
            raise ValueError(f'{path}: expected an .npy file of numbers '
                             f'({error})') from error
    else:
        raise ValueError(f'{path}: expected a file .json, .npy or .npz')
    keypoints = arrays['keypoints']
    if keypoints.ndim != 3 or not np.issubdtype(keypoints.dtype, np.number):
        raise ValueError(f'{path}: keypoints must be numbers of shape '
                         f'(P, K, C), got {keypoints.shape} '
                         f'{keypoints.dtype}')
    for key, size in (('bboxes', (4, )), ('image_ids', ()), ('images', ())):
        expected = (len(keypoints), *size)
        if key in arrays and arrays[key].shape != expected:
            raise ValueError(f'{path}: {key!r} must be of shape {expected}, '
                             f'as there are {len(keypoints)} poses, got '
                             f'{arrays[key].shape}')
    return KeypointFile(
        keypoints.astype(np.float32),
        np.isfinite(keypoints).all(-1).astype(np.float32), **{
            key: arrays[key]
            for key in ('bboxes', 'image_ids', 'images') if key in arrays
        })


def _read_coco_keypoints(path: Path) -> KeypointFile:
    try:
        content = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{path} is not JSON: {error}') from error
    names: Dict[int, str] = {}
    if isinstance(content, dict):
        kind, entries = 'annotations', content.get('annotations')
        if not isinstance(entries, list):
            raise ValueError(f'{path}: expected COCO annotations with '
                             '"annotations", or a list of results')
        names = {
            item['id']: item['file_name']
            for item in content.get('images', [])
            if 'id' in item and 'file_name' in item
        }
    elif isinstance(content, list):
        kind, entries = 'results', content
    else:
        raise ValueError(f'{path}: expected COCO annotations (an object) or '
                         f'keypoint results (a list), got '
                         f'{type(content).__name__}')
    poses, boxes, ids = [], [], []
    for index, item in enumerate(entries):
        where = f'{path}: {kind}[{index}]'
        for key in ('image_id', 'keypoints'):
            if not isinstance(item, dict) or key not in item:
                raise ValueError(f'{where} has no "{key}"')
        try:
            pose = np.array(item['keypoints'], np.float32).reshape(-1, 3)
            x, y, width, height = item.get('bbox', [np.nan] * 4)
        except (TypeError, ValueError):
            raise ValueError(
                f'{where}: expected "keypoints" as x, y, visibility of each '
                'joint, and "bbox", if any, as [x, y, width, height]'
            ) from None
        if poses and pose.shape != poses[0].shape:
            raise ValueError(f'{where} has {len(pose)} joints, those before '
                             f'have {len(poses[0])}')
        if item.get('iscrowd', 0) or not (pose[:, 2] > 0).any():
            continue
        box = [x, y, x + width, y + height]
        if boxes and np.isfinite(box).all() != np.isfinite(boxes[0]).all():
            raise ValueError(f'{where}: expected a "bbox" of four numbers in '
                             'all entries or in none; this one '
                             'differs from those before')
        poses.append(pose)
        ids.append(item['image_id'])
        boxes.append(box)
    if not poses:
        raise ValueError(f'{path}: no entry has visible keypoints')
    poses = np.stack(poses)
    boxes = np.array(boxes, np.float32)
    return KeypointFile(
        poses[..., :2], (poses[..., 2] > 0).astype(np.float32),
        bboxes=boxes if np.isfinite(boxes).all() else None,
        image_ids=np.array(ids, np.int64),
        images=np.array([names[i]
                         for i in ids]) if all(i in names
                                               for i in ids) else None)


def write_keypoints(path: Union[str, Path],
                    keypoints: np.ndarray,
                    image_ids: Optional[np.ndarray] = None) -> Path:
    """Write poses, atomically.

    Args:
        path (str | Path): ``.npy`` for the array as it is, ``.json`` for
            COCO keypoint results (all scores 1), which need 2D poses.
        keypoints (np.ndarray): (P, K, C).
        image_ids (np.ndarray, optional): (P, ), needed for ``.json``.

    Returns:
        Path: The file.

    Raises:
        ValueError: If the name ends in something else, or ids are missing.
    """
    path = Path(path)
    if path.suffix == '.npy':
        return atomic_write(path, lambda name: np.save(name, keypoints))
    if path.suffix != '.json':
        raise ValueError(f'{path}: expected a name that ends in .npy or .json')
    if image_ids is None or keypoints.shape[-1] != 2:
        raise ValueError(
            f'{path}: COCO results need poses in 2D and image_ids, which '
            'codes have that were made from a COCO file')
    results: List[Dict] = []
    for pose, image_id in zip(keypoints, image_ids):
        flat = np.concatenate([pose, np.ones((len(pose), 1))], -1).ravel()
        results.append(
            dict(
                image_id=int(image_id),
                category_id=1,
                keypoints=[round(float(v), 3) for v in flat],
                score=1.))
    text = json.dumps(results)
    return atomic_write(
        path, lambda name: Path(name).write_text(text, encoding='utf-8'))
