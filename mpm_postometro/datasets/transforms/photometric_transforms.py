# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Transforms of the picture's colours, which leave labels as they are."""
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
