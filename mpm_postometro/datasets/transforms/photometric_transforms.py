# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Transforms of the picture's colours, and things put before the person."""
from typing import Dict, List, Optional, Tuple

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
class ColorJitter(BaseTransform):
    """Change brightness, contrast, saturation and hue at random (PCT).

    As the transforms of this name in albumentations and torchvision: each of
    the four has a factor of its own and they follow each other in random
    order. Brightness multiplies the colours, contrast their distance from
    the mean grey of the picture, saturation their distance from their own
    grey; hue turns the colour circle.

    Required Keys:

        - img (BGR, uint8, or float with values up to 255)

    Modified Keys:

        - img

    Args:
        brightness (float): Factors lie in ``1 - brightness`` (not below 0)
            to ``1 + brightness``. Defaults to 0.4.
        contrast (float): As ``brightness``. Defaults to 0.4.
        saturation (float): As ``brightness``. Defaults to 0.4.
        hue (float): Largest turn, as a fraction of the circle, up to 0.5.
            Defaults to 0.2.
        prob (float): Probability that a picture is changed. Defaults to 1.
    """

    def __init__(self,
                 brightness: float = 0.4,
                 contrast: float = 0.4,
                 saturation: float = 0.4,
                 hue: float = 0.2,
                 prob: float = 1.0) -> None:
        super().__init__()
        if min(brightness, contrast, saturation) < 0 or not 0 <= hue <= 0.5:
            raise ValueError(
                'brightness, contrast and saturation should not be negative '
                f'and hue be in [0, 0.5], got {brightness}, {contrast}, '
                f'{saturation} and {hue}')
        self.brightness = brightness
        self.contrast = contrast
        self.saturation = saturation
        self.hue = hue
        self.prob = prob

    @cache_randomness
    def _draw(self) -> List[Tuple[str, float]]:
        """Steps in their order, with the factor or turn of each."""
        if np.random.rand() >= self.prob:
            return []
        steps = [(name, np.random.uniform(max(0, 1 - spread), 1 + spread))
                 for name, spread in (('brightness', self.brightness),
                                      ('contrast', self.contrast),
                                      ('saturation', self.saturation))]
        steps.append(('hue', np.random.uniform(-self.hue, self.hue)))
        return [steps[i] for i in np.random.permutation(len(steps))]

    def transform(self, results: Dict) -> Dict:
        """See the class; the type of the picture stays."""
        img = results['img']
        kind = img.dtype
        if kind != np.uint8:  # OpenCV knows no colours in float64
            img = img.astype(np.float32, copy=False)
        for name, value in self._draw():
            if name == 'hue':
                img = self._turn_hue(img, value)
                continue
            other, offset = img, 0.
            if name != 'brightness':
                grey = cv2.cvtColor(img, cv2.COLOR_BGR2GRAY)
            if name == 'contrast':
                offset = (1 - value) * float(grey.mean())
            if name == 'saturation':
                other = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
            share = 1 - value if name == 'saturation' else 0
            img = cv2.addWeighted(img, value, other, share, offset)
            if img.dtype != np.uint8:  # OpenCV clips whole numbers only
                img = img.clip(0, 255)
        results['img'] = img.astype(kind, copy=False)
        return results

    @staticmethod
    def _turn_hue(img: np.ndarray, turn: float) -> np.ndarray:
        if img.dtype == np.uint8:
            hsv = cv2.cvtColor(img, cv2.COLOR_BGR2HSV_FULL)  # 256 hues
            hsv[..., 0] += np.uint8(round(256 * turn) % 256)
            return cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR_FULL)
        hsv = cv2.cvtColor(img / 255, cv2.COLOR_BGR2HSV)
        hsv[..., 0] = (hsv[..., 0] + 360 * turn) % 360
        return 255 * cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR)

    def __repr__(self) -> str:
        return (f'{self.__class__.__name__}(brightness={self.brightness}, '
                f'contrast={self.contrast}, saturation={self.saturation}, '
                f'hue={self.hue}, prob={self.prob})')


@TRANSFORMS.register_module()
class GridDropout(BaseTransform):
    """Blacken the cells of a regular grid (PCT).

    As the transform of this name in albumentations with a random offset:
    square units of one random size cover the picture, and each has a square
    hole at the same random place in it. Labels stay: a keypoint in a hole
    is to be found from what is around it.

    Required Keys:

        - img

    Modified Keys:

        - img

    Args:
        unit_size (Tuple[int, int]): Smallest and largest side of a unit, in
            pixels, both included. Defaults to (10, 40).
        ratio (float): Side of a hole over that of its unit, in (0, 1); a
            hole has at least one pixel, and one less than the unit at most.
            Defaults to 0.5.
        prob (float): Probability that a picture is changed. Defaults to
            0.5.
    """

    def __init__(self,
                 unit_size: Tuple[int, int] = (10, 40),
                 ratio: float = 0.5,
                 prob: float = 0.5) -> None:
        super().__init__()
        if not 2 <= unit_size[0] <= unit_size[1]:
            raise ValueError('unit_size must be (smallest, largest) with '
                             f'smallest >= 2, got {unit_size}')
        if not 0 < ratio < 1:
            raise ValueError(f'ratio must be in (0, 1), got {ratio}')
        self.unit_size = tuple(unit_size)
        self.ratio = ratio
        self.prob = prob

    @cache_randomness
    def _draw(self) -> Optional[Tuple[int, int, int, int]]:
        """Sides of unit and hole, and the hole's offset in x and y."""
        if np.random.rand() >= self.prob:
            return None
        unit = np.random.randint(self.unit_size[0], self.unit_size[1] + 1)
        hole = min(max(int(unit * self.ratio), 1), unit - 1)
        x, y = np.random.randint(0, unit - hole + 1, 2)
        return unit, hole, int(x), int(y)

    def transform(self, results: Dict) -> Dict:
        """See the class."""
        drawn = self._draw()
        if drawn is None:
            return results
        unit, hole, x, y = drawn
        h, w = results['img'].shape[:2]
        in_column = (np.arange(w) - x) % unit < hole
        in_row = (np.arange(h) - y) % unit < hole
        # A hole begins on the picture: none comes in from left or above.
        in_column[:x] = in_row[:y] = False
        img = results['img'].copy()
        img[in_row[:, None] & in_column] = 0
        results['img'] = img
        return results

    def __repr__(self) -> str:
        return (f'{self.__class__.__name__}(unit_size={self.unit_size}, '
                f'ratio={self.ratio}, prob={self.prob})')


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
