# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Rooms, streets, landscapes and sheer clutter to stand before."""
import cv2
import numpy as np

from .appearance import any_colour
from .textures import TextureLibrary

__all__ = ['BackgroundPainter']

# Walls and floors are paler than things and clothes.
_VIVID = .55


class BackgroundPainter:
    """Draws backgrounds.

    Args:
        textures (TextureLibrary): Surfaces.
        size (int): Side of the square picture.
    """

    def __init__(self, textures: TextureLibrary, size: int) -> None:
        self.textures = textures
        self.size = size

    def paint(self, rng: np.random.Generator, intrinsics: np.ndarray,
              camera_rotation: np.ndarray, foot: np.ndarray) -> np.ndarray:
        """Draw a background.

        Args:
            rng (np.random.Generator): Source of randomness.
            intrinsics (np.ndarray): Shape (3, 3).
            camera_rotation (np.ndarray): World (y up) to camera. Shape
                (3, 3).
            foot (np.ndarray): A point of the floor, camera frame. Shape
                (3, ).

        Returns:
            np.ndarray: Shape (size, size, 3), uint8.
        """
        size = self.size
        if rng.random() < .12:  # nothing but texture
            return self._clutter(
                rng, self.textures.sheet(rng, (size, size), _pair(rng)), size)
        # How far down in the picture the floor ends: the horizon outdoors,
        # the foot of the wall indoors.
        up = camera_rotation[:, 1]
        slope = up @ np.linalg.inv(intrinsics)  # > 0: above the horizon
        middle = (size - 1) / 2
        outdoors = rng.random() < .5
        line = slope.copy()
        if not outdoors:
            # A wall some metres behind: its foot lies at this depth.
            depth = foot[2] + rng.uniform(.5, 4.)
            line[2] -= (up @ foot) / depth
        horizon = -(line[0] * middle + line[2]) / line[1]
        image = (self._outdoors if outdoors else self._wall)(
            rng, int(np.clip(horizon, 0, size)))
        self._floor(rng, image, intrinsics, camera_rotation, foot, line,
                    outdoors)
        if rng.random() < .5:
            blur = size / 256 * rng.uniform(.4, 2.5)
            image = cv2.GaussianBlur(image, (0, 0), blur)
        return image

    def _clutter(self, rng: np.random.Generator, image: np.ndarray,
                 bottom: int) -> np.ndarray:
        """Things in the back: boxes, pictures, posts, bushes."""
        size = self.size
        for _ in range(rng.integers(1, 9)):
            height, width = np.exp(rng.uniform(-3., -.6, 2)) * size
            x = rng.uniform(-.1, 1.) * size
            y = min(rng.uniform(0, 1.05), 1) * bottom
            y -= height * (1. if rng.random() < .5 else .5)
            colour = any_colour(rng, _VIVID)
            box = np.array([[x, y], [x + width, y], [x + width, y + height],
                            [x, y + height]])
            kind = rng.random()
            if kind < .2:
                cv2.ellipse(image, (int(x), int(y)),
                            (int(width / 2) + 1, int(height / 2) + 1), 0, 0,
                            360, colour.tolist(), -1, cv2.LINE_AA)
            elif kind < .7:
                self._rectangle(rng, image, x, y, width, height, colour)
            else:
                box += rng.normal(0, .15, (4, 2)) * (width, height)
                cv2.fillConvexPoly(image, np.int32(np.round(box * 16)),
                                   colour.tolist(), cv2.LINE_AA, 4)
        return image

    def _rectangle(self, rng, image, x, y, width, height, colour) -> None:
        left, top = max(int(x), 0), max(int(y), 0)
        right = min(int(x + width), self.size)
        bottom = min(int(y + height), self.size)
        if right - left < 2 or bottom - top < 2:
            return
        area = image[top:bottom, left:right]
        if rng.random() < .5:
            pair = np.stack([colour, any_colour(rng, _VIVID)])
            area[:] = self.textures.sheet(rng, area.shape[:2], pair)
        else:
            area[:] = colour
        if rng.random() < .5:
            edge = any_colour(rng, _VIVID).tolist()
            cv2.rectangle(image, (left, top), (right - 1, bottom - 1), edge,
                          max(1, int(self.size / 96)))

    def _wall(self, rng: np.random.Generator, bottom: int) -> np.ndarray:
        size = self.size
        pair = _pair(rng, rng.uniform(.02, .35))
        image = self.textures.sheet(rng, (size, size), pair)
        ramp = 128 * np.linspace(*rng.uniform(.7, 1.25, 2), size)
        ramp = cv2.merge([np.uint8(ramp)[None]] * 3)
        ramp = cv2.resize(ramp, (size, size))
        image = cv2.multiply(image, ramp, scale=1 / 128)
        return self._clutter(rng, image, bottom)

    def _outdoors(self, rng: np.random.Generator, horizon: int) -> np.ndarray:
        size = self.size
        top = np.array([235, 180, 120]) * rng.uniform(.4, 1.1, 3)
        low = .4 * top + .6 * np.array([235, 225, 215]) * rng.uniform(.6, 1.)
        ramp = np.linspace(0, 1, max(horizon, 2))[:, None]
        column = np.full((size, 3), low)
        column[:len(ramp)] = (top * (1 - ramp) + low * ramp)[:size]
        image = np.repeat(np.uint8(np.clip(column, 0, 255))[:, None], size, 1)
        if rng.random() < .8:  # hills, houses or trees along the horizon
            count = int(rng.integers(3, 14))
            colour = any_colour(rng, _VIVID) * .8
            for x in rng.uniform(-.1, 1.1, count) * size:
                height = rng.uniform(.03, .4) * size
                width = rng.uniform(.05, .3) * size
                tone = np.clip(colour * rng.uniform(.7, 1.2, 3), 0, 255)
                if rng.random() < .5:
                    self._rectangle(rng, image, x, horizon - height, width,
                                    height + 2, tone)
                else:
                    cv2.ellipse(image, (int(x), horizon),
                                (int(width / 2) + 1, int(height) + 1), 0, 180,
                                360, tone.tolist(), -1, cv2.LINE_AA)
        if rng.random() < .5:
            image = self._clutter(rng, image, horizon)
        return image

    def _floor(self, rng, image, intrinsics, camera_rotation, foot, line,
               outdoors: bool) -> None:
        """Lay a textured floor under everything below the line."""
        size = self.size
        # Texture coordinates -> floor -> picture.
        texels = rng.uniform(25, 120)  # per metre
        axes = camera_rotation[:, [0, 2]] @ _turn(rng.uniform(0, 90))
        plane = np.column_stack([axes / texels, foot])
        names = (('rough', 'smooth', 'patches', 'bricks') if outdoors else
                 ('planks', 'tiles', 'flat', 'checks', 'rough', 'grain'))
        homography = intrinsics @ plane @ np.array([[1, 0, -64], [0, 1, -64],
                                                    [0, 0, 1.]])
        # Signed distance below the line, in pixels, at its two ends.
        x = np.array([0, size - 1.])
        edge = -(line[0] * x + line[2]) / line[1]
        first = int(max(np.floor(edge.min()), 0))
        if first >= size:
            return
        # Only the rows that it reaches.
        homography[1] -= first * homography[2]
        grey = cv2.warpPerspective(
            self.textures.pick(rng, *names),
            homography, (size, size - first),
            flags=cv2.INTER_NEAREST,
            borderMode=cv2.BORDER_WRAP)
        # Far away the texture is finer than a pixel: fade to its mean.
        below = np.arange(first, size) - edge.mean()
        fade = 256 * np.minimum(np.maximum(below / (.3 * size), 0), 1)
        fade = np.uint16(fade)[:, None]
        grey = (grey * fade + 128 * (256 - fade)) >> 8
        floor = self.textures.colour(
            grey.astype(np.uint8), _pair(rng, rng.uniform(.05, .5)))
        under = image[first:]
        last = int(min(np.ceil(edge.max()) + 1, size)) - first
        if last > 0:  # the rows that the slanted line crosses
            y = np.arange(first, first + last)[:, None]
            cover = y - np.linspace(*edge, size)[None] + .5
            cover = np.minimum(np.maximum(cover, 0), 1)[..., None]
            mixed = under[:last] * (1 - cover) + floor[:last] * cover
            floor[:last] = mixed.astype(np.uint8)
        under[:] = floor


def _pair(rng: np.random.Generator, contrast: float = .5) -> np.ndarray:
    first = any_colour(rng, _VIVID)
    second = any_colour(rng, _VIVID)
    return np.stack([first, first + contrast * (second - first)])


def _turn(degrees: float) -> np.ndarray:
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.array([[c, -s], [s, c]])
