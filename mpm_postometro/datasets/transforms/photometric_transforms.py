# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Transforms of the picture's colours, and things put before the person."""
from typing import Dict, List, Tuple

import cv2
import numpy as np
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmpose.registry import TRANSFORMS


@TRANSFORMS.register_module()
class ChannelGain(BaseTransform):
    """Multiply each colour channel by its own random factor (METRO, SPIN).

    Required Keys:

        - img

    Modified Keys:

        - img

    Args:
        low (float): Smallest factor.
        high (float): Largest factor.
        prob (float): Probability that a picture is changed.
    """

    def __init__(self,
                 low: float = 0.6,
                 high: float = 1.4,
                 prob: float = 1.0) -> None:
        super().__init__()
        if not 0 <= low <= high:
            raise ValueError(f'need 0 <= low <= high, got {low}, {high}')
        self.low = low
        self.high = high
        self.prob = prob

    @cache_randomness
    def _draw(self, channels: int) -> np.ndarray:
        if np.random.rand() >= self.prob:
            return np.ones(channels)
        return np.random.uniform(self.low, self.high, channels)

    def transform(self, results: Dict) -> Dict:
        """See the class; the type of the picture stays."""
        img = results['img']
        gain = self._draw(img.shape[2])
        if img.dtype == np.uint8:  # a table is four times as fast
            table = np.arange(256)[:, None] * gain
            table = table.round().clip(0, 255).astype(np.uint8)
            results['img'] = cv2.LUT(img, table[:, None])
        else:
            results['img'] = (img * gain).clip(0, 255).astype(img.dtype)
        return results

    def __repr__(self) -> str:
        return (f'{self.__class__.__name__}(low={self.low}, '
                f'high={self.high}, prob={self.prob})')


@TRANSFORMS.register_module()
class SyntheticOcclusion(BaseTransform):
    """Put random rectangles and ellipses before the person.

    Comes after :class:`MeshAffine` (shapes are drawn on the crop) or before
    any cropping. Hidden keypoints stay labelled: ``keypoints_visible`` keeps
    its meaning, and ``keypoints_occluded`` says what is hidden.

    Required Keys:

        - img
        - transformed_keypoints, keypoint_weights (after cropping), or
          keypoints, keypoints_visible (optional)
        - keypoints_occluded, occlusion (optional)

    Modified Keys:

        - img
        - keypoints_occluded (1 for keypoints under a shape; the crop's
          keypoints when cropped)
        - occlusion (raised by the share of the open keypoints that are now
          hidden: an estimate, since the person's outline is not known here)

    Args:
        prob (float): Probability that a picture is changed.
        num_shapes (Tuple[int, int]): Fewest and most shapes.
        size (Tuple[float, float]): Smallest and largest side of a shape, as
            a fraction of the picture's.
        fill (str): ``'color'`` or ``'noise'`` (each pixel its own colour).
    """

    def __init__(self,
                 prob: float = 0.5,
                 num_shapes: Tuple[int, int] = (1, 3),
                 size: Tuple[float, float] = (0.1, 0.4),
                 fill: str = 'color') -> None:
        super().__init__()
        if fill not in ('color', 'noise'):
            raise ValueError(f"fill must be 'color' or 'noise', got {fill!r}")
        if not 1 <= num_shapes[0] <= num_shapes[1]:
            raise ValueError('num_shapes must be (fewest, most) with fewest '
                             f'>= 1, got {num_shapes}')
        if not 0 < size[0] <= size[1]:
            raise ValueError('size must be (smallest, largest) fractions '
                             f'above 0, got {size}')
        self.prob = prob
        self.num_shapes = tuple(num_shapes)
        self.size = tuple(size)
        self.fill = fill

    @cache_randomness
    def _draw(self) -> List[dict]:
        """Shapes in fractions of the picture."""
        if np.random.rand() >= self.prob:
            return []
        low, high = self.num_shapes
        return [
            dict(
                ellipse=bool(np.random.rand() < 0.5),
                center=np.random.rand(2),
                size=np.random.uniform(*self.size, 2),
                angle=np.random.uniform(0, 180),
                seed=int(np.random.randint(2**31)))
            for _ in range(np.random.randint(low, high + 1))
        ]

    def transform(self, results: Dict) -> Dict:
        """See the class."""
        shapes = self._draw()
        if not shapes:
            return results
        img = results['img'].copy()
        hidden = np.zeros(img.shape[:2], np.uint8)
        for shape in shapes:
            mask = self._mask(shape, img.shape[:2])
            rng = np.random.RandomState(shape['seed'])
            if self.fill == 'noise':
                colour = rng.randint(0, 256, img.shape)[mask > 0]
            else:
                colour = rng.randint(0, 256, img.shape[2])
            img[mask > 0] = colour
            hidden |= mask
        results['img'] = img
        self._update_labels(results, hidden)
        return results

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

    @staticmethod
    def _update_labels(results: Dict, hidden: np.ndarray) -> None:
        cropped = 'warp_mat' in results
        points = results.get(
            'transformed_keypoints' if cropped else 'keypoints')
        if points is None:
            return
        labelled = np.asarray(
            results.get('keypoint_weights' if cropped else 'keypoints_visible',
                        np.ones(points.shape[:2])))
        if labelled.ndim == 3:
            labelled = labelled.prod(-1)
        h, w = hidden.shape
        column, row = np.nan_to_num(points[..., :2]).round().astype(
            np.int64).transpose(2, 0, 1)
        inside = (column >= 0) & (column < w) & (row >= 0) & (row < h)
        under = inside & (labelled > 0) & (
            hidden[row.clip(0, h - 1),
                   column.clip(0, w - 1)] > 0)

        before = results.get('keypoints_occluded')
        if before is None:
            before = np.zeros(points.shape[:2], np.float32)
        if results.get('occlusion') is not None:
            open_ = (labelled > 0) & (before == 0)
            share = (open_ & under).sum(1) / np.maximum(open_.sum(1), 1)
            old = np.asarray(results['occlusion'])
            results['occlusion'] = (1 - (1 - old) * (1 - share)).astype(
                old.dtype)
        results['keypoints_occluded'] = np.maximum(before,
                                                   under.astype(before.dtype))

    def __repr__(self) -> str:
        return (f'{self.__class__.__name__}(prob={self.prob}, '
                f'num_shapes={self.num_shapes}, size={self.size}, '
                f'fill={self.fill!r})')
