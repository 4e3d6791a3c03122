# Copyright (c) The mpm_postometro authors. All rights reserved.
"""A small library of procedural textures that repeat without a seam."""
from functools import lru_cache
from typing import Tuple

import cv2
import numpy as np

__all__ = ['TextureLibrary', 'texture_library']

_SIZE = 128
_RAMP = np.linspace(0, 1, 256)[:, None]


class TextureLibrary:
    """Grey textures, made once, then turned, scaled and coloured.

    The library is the same in every process: it does not depend on the seed
    of a data set.
    """

    def __init__(self) -> None:
        rng = np.random.default_rng(20230)
        y, x = np.mgrid[:_SIZE, :_SIZE] / _SIZE
        wave = 2 * np.pi
        smooth = [_noise(rng, persistence) for persistence in (.35, .5, .65)]
        rough = [_noise(rng, persistence) for persistence in (.8, .95)]
        bricks = (np.floor(8 * y) % 2) * .5
        bricks = np.minimum((4 * x + bricks) % 1 > .06, (8 * y) % 1 > .12)
        tiles = np.minimum((4 * x) % 1 > .05, (4 * y) % 1 > .05)
        planks = (np.floor(8 * x) * .37 % 1) * .5 + .3 * _noise(rng, .6)
        planks = planks * ((8 * x) % 1 > .06)
        grain = .5 + .5 * np.sin(wave * (6 * x + 1.2 * smooth[0]))
        patches = (_noise(rng, .5) > .5) * .5 + (_noise(rng, .6) > .55) * .5
        dots = (np.hypot((6 * x) % 1 - .5, (6 * y) % 1 - .5) < .3) * 1.
        flat = np.zeros((_SIZE, _SIZE))
        patterns = [
            flat, *smooth, *rough, bricks, tiles, planks, grain, patches,
            dots, (6 * x) % 1 > .5, (3 * x) % 1 > .75,
            (4 * x) % 1 * .6 + (4 * y) % 1 * .4,
            ((4 * x) % 1 > .5) ^ ((4 * y) % 1 > .5),
            .5 * ((5 * x) % 1 > .6) + .5 * ((5 * y) % 1 > .6),
            (8 * (x + y)) % 1 > .5
        ]  # yapf: disable
        self.names = ('flat', 'smooth', 'smooth', 'smooth', 'rough', 'rough',
                      'bricks', 'tiles', 'planks', 'grain', 'patches', 'dots',
                      'stripes', 'stripes', 'weave', 'checks', 'plaid',
                      'diagonal')
        fine = _noise(rng, .9)
        self.patterns = [
            np.uint8(np.clip(237 * p + 18 * fine, 0, 255)) for p in patterns
        ]
        #: Sensor noise around 128.
        self.grain = np.uint8(
            np.clip(rng.normal(128, 40, (512, 512, 3)), 0, 255))

    def pick(self, rng: np.random.Generator, *names: str) -> np.ndarray:
        """A texture, of these names or any. Shape (128, 128), uint8."""
        choices = [
            pattern for name, pattern in zip(self.names, self.patterns)
            if not names or name in names
        ]
        return choices[rng.integers(len(choices))]

    def sheet(self,
              rng: np.random.Generator,
              size: Tuple[int, int],
              colours: np.ndarray,
              *names: str,
              scale: float = None) -> np.ndarray:
        """Cover a rectangle with a turned, scaled and coloured texture.

        Args:
            rng (np.random.Generator): Source of randomness.
            size (tuple[int, int]): Height and width in pixels.
            colours (np.ndarray): Two BGR colours. Shape (2, 3).
            names (str): Allowed textures; none = all.
            scale (float, optional): Pixels per texel. Drawn if not given.

        Returns:
            np.ndarray: Shape (H, W, 3), uint8.
        """
        height, width = size
        if scale is None:
            scale = max(height, width) / _SIZE * np.exp(rng.normal(-.3, .5))
        angle = rng.uniform(0, 2.5 * np.pi)
        if angle > np.pi / 2:  # mostly upright
            angle = np.pi / 2 if angle > 1.5 * np.pi else 0.
        c, s = np.cos(angle), np.sin(angle)
        inverse = np.array([[c, -s, rng.uniform(0, _SIZE) * scale],
                            [s, c, rng.uniform(0, _SIZE) * scale]]) / scale
        grey = cv2.warpAffine(
            self.pick(rng, *names),
            inverse, (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_WRAP)
        return self.colour(grey, colours)

    @staticmethod
    def colour(grey: np.ndarray, colours: np.ndarray) -> np.ndarray:
        """Map grey 0 to the first colour and 255 to the second."""
        low, high = np.minimum(np.maximum(colours, 0), 255)
        table = np.uint8(low + _RAMP * (high - low))[:, None]  # (256, 1, 3)
        return cv2.LUT(cv2.merge([grey] * 3), table)


@lru_cache(maxsize=1)
def texture_library() -> TextureLibrary:
    """The one library of this process."""
    return TextureLibrary()


def _noise(rng: np.random.Generator, persistence: float) -> np.ndarray:
    """Fractal noise in [0, 1] that repeats."""
    total, weight = np.zeros((_SIZE, _SIZE)), 1.
    for octave in range(2, 8):
        cells = 2**octave
        grid = rng.random((cells, cells))
        grid = np.tile(grid, (3, 3))
        big = cv2.resize(
            grid, (3 * _SIZE, 3 * _SIZE), interpolation=cv2.INTER_CUBIC)
        total += weight * big[_SIZE:2 * _SIZE, _SIZE:2 * _SIZE]
        weight *= persistence
    low, high = np.quantile(total, (.01, .99))
    return np.clip((total - low) / (high - low), 0, 1)
