# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Things before the person, and crops that cut the person.

Only pixels and the marks of what is hidden change: a hidden keypoint is
still labelled, where it would be seen without the thing.
"""
from pathlib import Path
from typing import Dict, List, Optional, Sequence, Tuple, Union

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmengine.utils import is_seq_of
from mmpose.registry import TRANSFORMS

from ..synthesis.occluders import ObjectOccluder
from ..synthesis.persons import Layer
from ..synthesis.textures import texture_library
from .mesh_transforms import hide_keypoints


def _check_range(name: str, values: Sequence[float], lowest: float) -> tuple:
    """Two numbers, not falling, from ``lowest`` on."""
    if len(values) != 2 or not lowest <= values[0] <= values[1]:
        raise ValueError(f'{name} must be (smallest, largest) with smallest '
                         f'>= {lowest}, got {values}')
    return tuple(values)


def _mark_covered(results: Dict, covered: np.ndarray) -> None:
    """Flag the keypoints that lie on covered pixels (H, W)."""
    cropped = 'warp_mat' in results
    points = results.get('transformed_keypoints' if cropped else 'keypoints')
    if points is None:
        return
    labelled = results.get(
        'keypoint_weights' if cropped else 'keypoints_visible')
    labelled = np.ones(
        points.shape[:2]) if labelled is None else np.asarray(labelled)
    if labelled.ndim == 3:  # (visible, weight) after KeypointConverter
        labelled = labelled.prod(-1)
    h, w = covered.shape
    column, row = np.nan_to_num(points[..., :2]).round().astype(
        np.int64).transpose(2, 0, 1)
    inside = (column >= 0) & (column < w) & (row >= 0) & (row < h)
    under = covered[row.clip(0, h - 1), column.clip(0, w - 1)] > 0
    hide_keypoints(results, labelled, inside & under)


@TRANSFORMS.register_module()
class SyntheticOcclusion(BaseTransform):
    """Put random rectangles and ellipses before the person.

    With ``shapes=('rectangle', ), rotate=False`` these are cut-outs: upright
    patches that are erased. Comes after :class:`MeshAffine` (shapes are drawn
    on the crop) or before any cropping.

    Required Keys:

        - img
        - transformed_keypoints, keypoint_weights (after cropping), or
          keypoints, keypoints_visible (optional)
        - keypoints_occluded, occlusion (optional)

    Modified Keys:

        - img
        - keypoints_occluded (1 for keypoints under a shape; the crop's
          keypoints when cropped)
        - occlusion (where it is known, see ``hide_keypoints``)

    Args:
        prob (float): Probability that a picture is changed.
        num_shapes (Tuple[int, int]): Fewest and most shapes.
        size (Tuple[float, float]): Smallest and largest side of a shape, as
            a fraction of the picture's.
        fill (str | float | Sequence[float]): ``'color'`` (each shape a random
            one), ``'noise'`` (each pixel its own), ``'mean'`` (the mean of
            the picture), or a constant: a number or a BGR colour.
        shapes (Sequence[str]): ``'rectangle'``, ``'ellipse'`` or both.
        rotate (bool): Whether shapes are turned by a random angle.

    Raises:
        ValueError: If an argument is not of these.
    """

    SHAPES = ('rectangle', 'ellipse')
    FILLS = ('color', 'noise', 'mean')

    def __init__(self,
                 prob: float = 0.5,
                 num_shapes: Tuple[int, int] = (1, 3),
                 size: Tuple[float, float] = (0.1, 0.4),
                 fill: Union[str, float, Sequence[float]] = 'color',
                 shapes: Sequence[str] = SHAPES,
                 rotate: bool = True) -> None:
        super().__init__()
        colour = [fill] if isinstance(fill, (int, float)) else fill
        constant = is_seq_of(colour, (int, float)) and \
            len(colour) in (1, 3) and all(0 <= v <= 255 for v in colour)
        if not constant and fill not in self.FILLS:
            raise ValueError(f'fill must be one of {self.FILLS}, a number up '
                             f'to 255 or a BGR colour, got {fill!r}')
        if isinstance(shapes, str) or not shapes or \
                not set(shapes) <= set(self.SHAPES):
            raise ValueError(f'shapes must be some of {self.SHAPES}, got '
                             f'{shapes!r}')
        self.prob = prob
        self.num_shapes = _check_range('num_shapes', num_shapes, 1)
        self.size = _check_range('size', size, 1e-6)
        self.fill = fill
        self.shapes = tuple(shapes)
        self.rotate = rotate

    @cache_randomness
    def _draw(self) -> List[dict]:
        """Shapes in fractions of the picture."""
        if np.random.rand() >= self.prob:
            return []
        low, high = self.num_shapes
        return [
            dict(
                ellipse=np.random.choice(self.shapes) == 'ellipse',
                center=np.random.rand(2),
                size=np.random.uniform(*self.size, 2),
                angle=np.random.uniform(0, 180) if self.rotate else 0.,
                seed=int(np.random.randint(2**31)))
            for _ in range(np.random.randint(low, high + 1))
        ]

    def transform(self, results: Dict) -> Dict:
        """See the class."""
        shapes = self._draw()
        if not shapes:
            return results
        img = results['img'].copy()
        covered = np.zeros(img.shape[:2], np.uint8)
        for shape in shapes:
            mask = self._mask(shape, img.shape[:2])
            cv2.copyTo(self._paint(shape, results['img']), mask, img)
            covered |= mask
        results['img'] = img
        _mark_covered(results, covered)
        return results

    def _paint(self, shape: dict, img: np.ndarray) -> np.ndarray:
        """A picture of what the shape shows, as large as the crop."""
        rng = np.random.default_rng(shape['seed'])
        if self.fill == 'noise':
            return rng.integers(0, 256, img.shape, np.uint8).astype(img.dtype)
        if self.fill == 'color':
            colour = rng.integers(0, 256, 3)
        elif self.fill == 'mean':
            colour = np.round(cv2.mean(img)[:3])
        else:
            colour = self.fill
        return np.full_like(img, colour)

    @staticmethod
    def _mask(shape: dict, hw: Tuple[int, int]) -> np.ndarray:
        h, w = hw
        center = tuple(float(v) for v in shape['center'] * (w, h))
        size = tuple(float(v) for v in shape['size'] * (w, h))
        box = (center, size, float(shape['angle']))
        mask = np.zeros(hw, np.uint8)
        if shape['ellipse']:
            cv2.ellipse(mask, box, 1, thickness=-1)
        else:
            corners = cv2.boxPoints(box).round().astype(np.int32)
            cv2.fillConvexPoly(mask, corners, 1)
        return mask

    def __repr__(self) -> str:
        return (f'{self.__class__.__name__}(prob={self.prob}, '
                f'num_shapes={self.num_shapes}, size={self.size}, '
                f'fill={self.fill!r}, shapes={self.shapes}, '
                f'rotate={self.rotate})')


class _DrawnObjects:
    """Furniture, pillars, fences, plants, crates and boards, drawn anew each
    time: those of the built-in data set."""

    def paint(self, rng: np.random.Generator, person: np.ndarray,
              share: float) -> Optional[Layer]:
        """See :meth:`_PhotographedObjects.paint`."""
        size = max(person.shape)  # what draws them wants squares
        square = np.zeros((size, size), np.uint8)
        square[:person.shape[0], :person.shape[1]] = person
        # The library of surfaces is made once a process, and is not pickled.
        occluder = ObjectOccluder(texture_library(), size)
        return occluder.paint(rng, square, int(np.count_nonzero(person)),
                              share)


class _PhotographedObjects:
    """Pictures of objects that are cut out, from a folder.

    Args:
        folder (str | Path): Its pictures, and those in folders below it.

    Raises:
        FileNotFoundError: If there is no such folder, or no picture in it.
    """

    def __init__(self, folder: Union[str, Path]) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise FileNotFoundError(f'PasteObjects: {folder} is no folder')
        self.files = sorted(
            path.relative_to(self.folder).as_posix()
            for path in self.folder.rglob('*')
            if path.suffix.lower() in ('.png', '.webp'))
        if not self.files:
            raise FileNotFoundError(
                f'PasteObjects: expected .png or .webp pictures in {folder}, '
                'there are none')

    def paint(self, rng: np.random.Generator, person: np.ndarray,
              share: float) -> Optional[Layer]:
        """An object of the right size, somewhere before the person.

        Args:
            rng (np.random.Generator): Source of randomness.
            person (np.ndarray): Where the person is, (H, W) uint8, 0 or 1.
            share (float): How much of the person the object covers, if it
                lies on it as a whole.

        Returns:
            Layer: See there; None where it would have no pixel.
        """
        picture = self._read(self.files[rng.integers(len(self.files))])
        alpha = picture[..., 3:]
        area = np.count_nonzero(alpha > 127)
        wanted = share * np.count_nonzero(person)
        if not area or not wanted:
            return None
        factor = (wanted / area)**.5
        size = [max(round(factor * side), 1) for side in alpha.shape[1::-1]]
        # Colours under clear pixels must not bleed over the edge.
        colour = cv2.multiply(
            picture[..., :3], cv2.merge([alpha] * 3), scale=1 / 255)
        kind = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        colour = cv2.resize(colour, size, interpolation=kind)
        alpha = cv2.resize(alpha, size, interpolation=kind)
        left, top, width, height = cv2.boundingRect(person)
        x = rng.uniform(left, left + width) - size[0] / 2
        y = rng.uniform(top, top + height) - size[1] / 2
        return Layer(colour, alpha, (round(x), round(y)))

    def _read(self, name: str) -> np.ndarray:
        path = self.folder / name
        picture = cv2.imread(str(path), cv2.IMREAD_UNCHANGED)
        if picture is None or picture.ndim != 3 or picture.shape[2] != 4 or \
                picture.dtype != np.uint8:
            found = 'no picture' if picture is None else \
                f'{picture.shape} {picture.dtype}'
            raise ValueError(f'PasteObjects: {path} should be a picture with '
                             f'8 bits of red, green, blue and alpha, got '
                             f'{found}')
        return picture


@TRANSFORMS.register_module()
class PasteObjects(BaseTransform):
    """Paste objects before the person (Sárándi et al., IROSW 2018; PARE).

    Comes after :class:`MeshAffine`. Objects are drawn, so that no file is
    needed, or come from a folder, e.g. of what is cut out of Pascal VOC.

    Required Keys:

        - img (uint8)
        - bbox
        - warp_mat
        - transformed_keypoints, keypoint_weights (optional)
        - keypoints_occluded, occlusion (optional)

    Modified Keys:

        - img
        - keypoints_occluded (1 for keypoints under an object)
        - occlusion (where it is known, see ``hide_keypoints``)

    Args:
        prob (float): Probability that a picture is changed.
        num_objects (Tuple[int, int]): Fewest and most objects.
        share (Tuple[float, float]): Least and most of the person's box that
            one object covers.
        folder (str, optional): Of .png or .webp pictures with alpha, which
            is the mask of the object; folders below count too. Defaults to
            None: objects are drawn.

    Raises:
        FileNotFoundError: If there is no such folder, or no picture in it.
        ValueError: If an argument is out of its range.
    """

    def __init__(self,
                 prob: float = 0.5,
                 num_objects: Tuple[int, int] = (1, 2),
                 share: Tuple[float, float] = (0.1, 0.4),
                 folder: Optional[str] = None) -> None:
        super().__init__()
        self.prob = prob
        self.num_objects = _check_range('num_objects', num_objects, 1)
        self.share = _check_range('share', share, 1e-6)
        self.folder = folder
        self.objects = _DrawnObjects() if folder is None else \
            _PhotographedObjects(folder)

    @cache_randomness
    def _draw(self) -> List[Tuple[float, int]]:
        """Share and seed of each object."""
        if np.random.rand() >= self.prob:
            return []
        low, high = self.num_objects
        return [(np.random.uniform(*self.share), np.random.randint(2**31))
                for _ in range(np.random.randint(low, high + 1))]

    def transform(self, results: Dict) -> Dict:
        """See the class.

        Raises:
            ValueError: If the sample is not cropped yet, or a picture of an
                object has no alpha.
        """
        if 'warp_mat' not in results:
            raise ValueError('PasteObjects must come after MeshAffine')
        drawn = self._draw()
        if not drawn:
            return results
        img = results['img'].copy()
        person = self._person(results)
        covered = np.zeros_like(person)
        for share, seed in drawn:
            layer = self.objects.paint(
                np.random.default_rng(seed), person, share)
            if layer is not None:
                _lay(img, covered, layer)
        results['img'] = img
        _mark_covered(results, covered)
        return results

    @staticmethod
    def _person(results: Dict) -> np.ndarray:
        """The box as pixels of the crop (H, W): 1 inside, 0 outside."""
        left, top, right, bottom = results['bbox'][0]
        corners = np.array(
            [[left, top], [right, top], [right, bottom], [left, bottom]],
            np.float64)
        warp = results['warp_mat']
        corners = corners @ warp[:, :2].T + warp[:, 2]
        person = np.zeros(results['img'].shape[:2], np.uint8)
        cv2.fillConvexPoly(person, corners.round().astype(np.int32), 1)
        return person

    def __repr__(self) -> str:
        return (f'{self.__class__.__name__}(prob={self.prob}, '
                f'num_objects={self.num_objects}, share={self.share}, '
                f'folder={self.folder!r})')


def _lay(img: np.ndarray, covered: np.ndarray, layer: Layer) -> None:
    """Lay an object over the picture, in place, and note its pixels."""
    x, y = layer.origin
    height, width = layer.alpha.shape
    left, top = max(x, 0), max(y, 0)
    right, bottom = (min(x + width, img.shape[1]), min(y + height,
                                                       img.shape[0]))
    if left >= right or top >= bottom:
        return
    there = slice(top, bottom), slice(left, right)
    here = slice(top - y, bottom - y), slice(left - x, right - x)
    alpha = np.ascontiguousarray(layer.alpha[here])
    clear = cv2.merge([255 - alpha] * 3)
    behind = cv2.multiply(img[there], clear, scale=1 / 255)
    img[there] = cv2.add(behind, np.ascontiguousarray(layer.colour[here]))
    covered[there] |= (alpha > 127).astype(np.uint8)


@TRANSFORMS.register_module()
class RandomTruncation(BaseTransform):
    """Shrink and shift the box so that the crop cuts off a part of the person.

    The crop ends where the person is cut, on one side. It is as small as the
    rest of the person with its margin allows: cut at the hips it shows the
    upper body closer, cut at one side a standing person is as large as
    before. Comes right after ``GetBBoxCenterScale``; :class:`MeshAffine`
    crops, and flags what is outside.

    Required Keys:

        - bbox
        - bbox_center
        - bbox_scale

    Modified Keys:

        - bbox_center
        - bbox_scale

    Args:
        prob (float): Probability that a person is cut.
        share (Tuple[float, float]): Least and most of the person's box that
            is cut off, as a fraction of its height or width.
        sides (Sequence[str]): What may be cut off, drawn evenly: ``'top'``,
            ``'bottom'``, ``'left'``, ``'right'`` of the picture. A side named
            twice is drawn twice as often.
        aspect_ratio (float): Width over height of the crop. Defaults to 1.

    Raises:
        ValueError: If an argument is out of its range.
    """

    SIDES = ('left', 'top', 'right', 'bottom')

    def __init__(self,
                 prob: float = 0.3,
                 share: Tuple[float, float] = (0.2, 0.6),
                 sides: Sequence[str] = SIDES,
                 aspect_ratio: float = 1.) -> None:
        super().__init__()
        self.share = _check_range('share', share, 0)
        if share[1] >= 1:
            raise ValueError(f'share must stay below 1, got {share}')
        if isinstance(sides, str) or not sides or \
                not set(sides) <= set(self.SIDES):
            raise ValueError(
                f'sides must be some of {self.SIDES}, got {sides!r}')
        if not aspect_ratio > 0:
            raise ValueError(
                f'aspect_ratio must be above 0, got {aspect_ratio}')
        self.prob = prob
        self.sides = tuple(sides)
        self.aspect_ratio = aspect_ratio

    @cache_randomness
    def _draw(self) -> Optional[Tuple[str, float]]:
        if np.random.rand() >= self.prob:
            return None
        side = self.sides[np.random.randint(len(self.sides))]
        return side, np.random.uniform(*self.share)

    def transform(self, results: Dict) -> Dict:
        """See the class.

        Raises:
            ValueError: If the sample is already cropped or its box turned.
        """
        if 'warp_mat' in results or 'bbox_rotation' in results:
            raise ValueError('RandomTruncation must come before transforms '
                             'that turn the box, and before MeshAffine')
        drawn = self._draw()
        if drawn is None:
            return results
        side, share = drawn
        number = self.SIDES.index(side)
        axis, far = number % 2, number >= 2  # far: right or bottom
        low, high = results['bbox'][0, [axis, axis + 2]]
        line = high - share * (high - low) if far else \
            low + share * (high - low)

        center = np.array(results['bbox_center'])
        scale = np.array(results['bbox_scale'])
        # From the cut to the margin of the side that stays.
        stays = center[0, axis] + (-.5 if far else .5) * scale[0, axis]
        # Both sides of the crop over its height.
        shape = np.array([self.aspect_ratio, 1.])
        rest = scale[0].copy()
        rest[axis] = abs(line - stays)
        size = shape * (rest / shape).max()
        center[0, axis] = line + (-.5 if far else .5) * size[axis]
        scale[0] = size
        results['bbox_center'] = center
        results['bbox_scale'] = scale
        return results

    def __repr__(self) -> str:
        return (f'{self.__class__.__name__}(prob={self.prob}, '
                f'share={self.share}, sides={self.sides}, '
                f'aspect_ratio={self.aspect_ratio})')
