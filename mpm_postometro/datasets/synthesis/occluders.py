# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Objects that stand between the camera and the person.

An object is a family of shapes that grow with one number, its extent. The
extent is searched so that about the wanted share of the person is hidden.
"""
from typing import Callable, List, NamedTuple, Optional

import cv2
import numpy as np

from .appearance import any_colour
from .persons import Layer
from .textures import TextureLibrary

__all__ = ['ObjectOccluder', 'OCCLUDERS']

# Sub-pixel bits of cv2's drawing functions.
_SHIFT = 4


class _Part(NamedTuple):
    points: np.ndarray  # (N, 2) polygon in pixels
    shade: float  # brightness of its side


# (extent in (0, 1]) -> parts, back to front
_Shape = Callable[[float], List[_Part]]


def _rectangle(x0: float, y0: float, x1: float, y1: float) -> np.ndarray:
    return np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])


def _counter(rng: np.random.Generator, box: np.ndarray, size: int) -> _Shape:
    """Table, desk, sofa or wall in front: hides from below upwards."""
    x0, y0, x1, y1 = box
    height, width = y1 - y0, x1 - x0
    slack = rng.uniform(-.25, 1.2, 2) * width
    tilt, depth = rng.normal(0, .05) * width, rng.uniform(.03, .12) * height
    legs = rng.random() < .35

    def shape(extent):
        top = y1 - extent * height
        left, right = x0 - slack[0], x1 + slack[1]
        inset = depth * .6
        slab = np.array([[left + inset, top], [right - inset, top + tilt],
                         [right, top + tilt + depth], [left, top + depth]])
        if not legs:
            front = np.array([[left, top + depth], [right, top + tilt + depth],
                              [right, y1 + size], [left, y1 + size]])
            return [_Part(front, .7), _Part(slab, 1.05)]
        parts = []
        thick = .05 * (right - left)
        for x in (left, left + .33 * (right - left), right - thick):
            parts.append(
                _Part(_rectangle(x, top + depth, x + thick, y1 + size), .6))
        edge = slab[[3, 2, 2, 3]] + [[0, 0], [0, 0], [0, 2.5 * depth],
                                     [0, 2.5 * depth]]
        return parts + [_Part(edge, .75), _Part(slab, 1.05)]

    return shape


def _pillar(rng: np.random.Generator, box: np.ndarray, size: int) -> _Shape:
    """Door, corner of a wall, tree: hides from one side, or a strip."""
    x0, _, x1, _ = box
    width = x1 - x0
    side, lean = rng.random() < .5, rng.normal(0, .06) * size
    strip = rng.random() < .5
    centre = rng.uniform(x0 + .2 * width, x1 - .2 * width)

    def shape(extent):
        if strip:
            half = .5 * extent * width
            left, right = centre - half, centre + half
        elif side:
            left, right = -size, x0 + extent * width
        else:
            left, right = x1 - extent * width, 2 * size
        body = np.array([[left + lean, -1], [right + lean, -1],
                         [right, size + 1], [left, size + 1]])
        rim = max(.12 * (right - left), 1) if strip else .03 * size
        shadow = body.copy()
        shadow[[0, 3], 0] = shadow[[1, 2], 0] - rim
        return [_Part(body, 1.), _Part(shadow, .6)]

    return shape


def _bars(rng: np.random.Generator, box: np.ndarray, size: int) -> _Shape:
    """Fence or railing: strips that grow thicker."""
    x0, y0, x1, y1 = box
    count = int(rng.integers(2, 8))
    upright = rng.random() < .6
    top = rng.uniform(y0 - .2 * size, y0 + .5 * (y1 - y0))
    jitter = rng.normal(0, .08, count)

    def shape(extent):
        parts = []
        for k in range(count):
            at = (k + .5 + jitter[k]) / count
            if upright:
                pitch = 1.2 * (x1 - x0) / count
                x = x0 - .1 * (x1 - x0) + at * 1.2 * (x1 - x0)
                half = .5 * extent * pitch
                parts.append(
                    _Part(_rectangle(x - half, top, x + half, size + 1), 1.))
            else:
                pitch = (y1 - top) / count
                y = top + at * (y1 - top)
                half = .5 * extent * pitch
                parts.append(
                    _Part(_rectangle(-1, y - half, size + 1, y + half), 1.))
        if upright:
            rail = .025 * size
            parts.append(_Part(_rectangle(-1, top, size + 1, top + rail), .8))
        return parts

    return shape


def _bush(rng: np.random.Generator, box: np.ndarray, size: int) -> _Shape:
    """Plant or heap: a cluster of round blobs."""
    x0, y0, x1, y1 = box
    extent_px = max(x1 - x0, y1 - y0)
    anchor = np.array(
        [rng.uniform(x0, x1),
         rng.uniform(y0 + .3 * (y1 - y0), y1)])
    count = int(rng.integers(4, 12))
    offsets = rng.normal(0, .22, (count, 2))
    radii = rng.uniform(.12, .36, count)
    shades = np.sort(rng.uniform(.55, 1.1, count))
    corners = (5, 7, 16)[rng.integers(3)]
    turn = rng.uniform(0, 2 * np.pi, count)
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)

    def shape(extent):
        scale = extent * extent_px * 1.3
        parts = []
        for k in range(count):
            ring = np.stack(
                [np.cos(angles + turn[k]),
                 np.sin(angles + turn[k])], 1)
            centre = anchor + offsets[k] * scale
            parts.append(_Part(centre + ring * radii[k] * scale, shades[k]))
        return parts

    return shape


def _crate(rng: np.random.Generator, box: np.ndarray, size: int) -> _Shape:
    """Box with three visible sides, somewhere before the person."""
    x0, y0, x1, y1 = box
    anchor = np.array([
        rng.uniform(x0 + .1 * (x1 - x0), x1 - .1 * (x1 - x0)),
        rng.uniform(y0 + .1 * (y1 - y0), y1)
    ])
    aspect = np.exp(rng.normal(0, .45))
    depth = rng.uniform(.1, .35, 2) * (1 - 2 * rng.integers(2), -1)
    turn = np.radians(rng.normal(0, 12))
    rotation = np.array([[np.cos(turn), -np.sin(turn)],
                         [np.sin(turn), np.cos(turn)]])
    extent_px = max(x1 - x0, y1 - y0)

    def shape(extent):
        scale = extent * extent_px
        w, h = .55 * scale * aspect**.5, .55 * scale / aspect**.5
        front = _rectangle(-w, -h, w, h)
        back = front + depth * scale
        side = (1, 2) if depth[0] > 0 else (3, 0)
        faces = [(front, .9),
                 (np.stack([front[0], front[1], back[1], back[0]]), 1.1),
                 (np.stack([
                     front[side[0]], front[side[1]], back[side[1]],
                     back[side[0]]
                 ]), .6)]
        return [_Part(p @ rotation.T + anchor, s) for p, s in faces]

    return shape


def _board(rng: np.random.Generator, box: np.ndarray, size: int) -> _Shape:
    """Flat thing of any outline: bag, sign, ball, umbrella."""
    x0, y0, x1, y1 = box
    anchor = np.array([x0, y0]) + rng.uniform(.15, .85, 2) * (x1 - x0, y1 - y0)
    corners = (3, 4, 5, 6, 24)[rng.integers(5)]
    angles = np.arange(corners) + rng.random()
    if corners < 24:
        angles = angles + rng.uniform(-.3, .3, corners)
    angles = angles * (2 * np.pi / corners)
    stretch = np.exp(rng.normal(0, .25, 2)) * .75 * max(x1 - x0, y1 - y0)
    ring = np.stack([np.cos(angles), np.sin(angles)], 1) * stretch

    def shape(extent):
        return [_Part(anchor + extent * ring, 1.)]

    return shape


#: kind -> (how often, shape)
OCCLUDERS = dict(
    counter=(.27, _counter),
    pillar=(.18, _pillar),
    bars=(.12, _bars),
    bush=(.15, _bush),
    crate=(.17, _crate),
    board=(.11, _board))


class ObjectOccluder:
    """Draws an object that hides a wanted share of the person.

    Args:
        textures (TextureLibrary): Surfaces.
        size (int): Side of the square picture.
    """

    def __init__(self, textures: TextureLibrary, size: int) -> None:
        self.textures = textures
        self.size = size
        self._shapes = [shape for _, shape in OCCLUDERS.values()]
        weights = np.cumsum([weight for weight, _ in OCCLUDERS.values()])
        self._edges = weights / weights[-1]

    def paint(self, rng: np.random.Generator, visible: np.ndarray, total: int,
              target: float) -> Optional[Layer]:
        """Draw an object.

        Args:
            rng (np.random.Generator): Source of randomness.
            visible (np.ndarray): Pixels of the picture that show the person.
                Shape (size, size), bool or uint8.
            total (int): Pixels of the whole person.
            target (float): Wanted hidden share of ``total``.

        Returns:
            Layer: As large as the picture; None if no extent hides anything.
        """
        if not visible.any():
            return None
        visible = visible.astype(np.uint8)
        rows = visible.any(1).nonzero()[0]
        columns = visible.any(0).nonzero()[0]
        box = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1.])
        pick = np.searchsorted(self._edges, rng.random())
        shape = self._shapes[pick](rng, box, self.size)
        wanted = target * total
        low, high = 0., 1.
        for _ in range(6):
            extent = (low + high) / 2
            mask = self._mask(shape(extent))
            hidden = cv2.countNonZero(cv2.bitwise_and(mask, visible))
            low, high = (extent, high) if hidden < wanted else (low, extent)
        if not hidden:
            return None
        parts = shape(extent)
        alpha = self._mask(parts)
        left, top, width, height = cv2.boundingRect(alpha)
        alpha = np.ascontiguousarray(alpha[top:top + height,
                                           left:left + width])
        first = any_colour(rng)
        pair = np.stack([first, any_colour(rng)])
        pair[1] = first + rng.uniform(.1, .7) * (pair[1] - first)
        colour = self.textures.sheet(rng, alpha.shape, pair)
        light = np.full(alpha.shape, 255, np.uint8)
        for part in parts:
            # 200 stands for a brightness of 1.
            cv2.fillConvexPoly(light, _fixed(part.points - (left, top)),
                               float(np.clip(200 * part.shade, 0, 255)),
                               cv2.LINE_AA, _SHIFT)
        shade = cv2.merge([cv2.multiply(light, alpha, scale=1 / 255)] * 3)
        return Layer(
            cv2.multiply(colour, shade, scale=1 / 200), alpha, (left, top))

    def _mask(self, parts: List[_Part]) -> np.ndarray:
        mask = np.zeros((self.size, self.size), np.uint8)
        for part in parts:
            cv2.fillConvexPoly(mask, _fixed(part.points), 255, cv2.LINE_AA,
                               _SHIFT)
        return mask


def _fixed(points: np.ndarray) -> np.ndarray:
    return np.int32(np.round(np.clip(points, -4000, 4000) * 2**_SHIFT))
