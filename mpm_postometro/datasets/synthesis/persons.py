# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Draw one posed person into a layer of colour and coverage."""
from typing import NamedTuple, Tuple

import cv2
import numpy as np
from scipy import sparse

from mpm_postometro.bodies.rasterizer import rasterize
from .appearance import Appearance

__all__ = ['Layer', 'Light', 'PersonPainter']


class Light(NamedTuple):
    """Light of a scene, in the camera frame.

    Attributes:
        direction (np.ndarray): Towards the lamp. Shape (3, ).
        key (np.ndarray): Strength of the lamp, BGR. Shape (3, ).
        ambient (np.ndarray): Light from everywhere, BGR. Shape (3, ).
        up (np.ndarray): Upwards; ambient light comes mostly from there.
    """
    direction: np.ndarray
    key: np.ndarray
    ambient: np.ndarray
    up: np.ndarray


class Layer(NamedTuple):
    """A rectangle to lay over the picture.

    Attributes:
        colour (np.ndarray): BGR, already multiplied by the coverage. Shape
            (h, w, 3), uint8.
        alpha (np.ndarray): Coverage. Shape (h, w), uint8.
        origin (tuple[int, int]): x and y of its first pixel in the picture,
            perhaps outside.
    """
    colour: np.ndarray
    alpha: np.ndarray
    origin: Tuple[int, int]

    def overlap(self, size: int):
        """Slices of the picture and of the layer where both are.

        Args:
            size (int): Side of the square picture.

        Returns:
            tuple: Slices of the picture, slices of the layer; or None.
        """
        x, y = self.origin
        height, width = self.alpha.shape
        left, top = max(x, 0), max(y, 0)
        right, bottom = min(x + width, size), min(y + height, size)
        if left >= right or top >= bottom:
            return None
        return ((slice(top, bottom), slice(left, right)),
                (slice(top - y, bottom - y), slice(left - x, right - x)))

    def paint(self, image: np.ndarray) -> None:
        """Lay the layer over a picture, in place."""
        where = self.overlap(len(image))
        if where is None:
            return
        inside, own = where
        rest = 255 - self.alpha[own]
        under = cv2.multiply(
            image[inside], cv2.merge([rest] * 3), scale=1 / 255)
        image[inside] = cv2.add(under, self.colour[own])


class PersonPainter:
    """Rasterises and shades bodies of one mesh.

    Args:
        faces (np.ndarray): Shape (F, 3).
        num_vertices (int): V.
        supersample (float): Pixels are drawn this many times finer, then
            averaged.
    """

    def __init__(self, faces: np.ndarray, num_vertices: int,
                 supersample: float) -> None:
        self.faces = np.ascontiguousarray(faces, np.int32)
        self.supersample = supersample
        self._corners = np.ascontiguousarray(faces.T)
        corners = faces.ravel()
        owners = np.repeat(np.arange(len(faces)), 3)
        # Sums the normals of the faces around each vertex.
        self._around = sparse.csr_matrix(
            (np.ones(len(corners), np.float32), (corners, owners)),
            shape=(num_vertices, len(faces)))

    def normals(self, vertices: np.ndarray) -> np.ndarray:
        """Unit normals at the vertices. Shape (V, 3)."""
        planes = np.ascontiguousarray(vertices.T)
        a, b, c = (planes.take(index, 1) for index in self._corners)
        u, v = b - a, c - a
        cross = np.stack([
            u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2],
            u[0] * v[1] - u[1] * v[0]
        ], 1)  # yapf: disable
        normals = self._around @ cross
        length = np.sqrt(np.einsum('va,va->v', normals, normals))
        return normals / np.maximum(length, 1e-12)[:, None]

    def paint(self, vertices: np.ndarray, rest: np.ndarray,
              intrinsics: np.ndarray, look: Appearance, light: Light,
              size: int, whole: bool) -> Layer:
        """Draw a person.

        Args:
            vertices (np.ndarray): Camera frame, metres. Shape (V, 3).
            rest (np.ndarray): Rest pose, for patterns. Shape (V, 3).
            intrinsics (np.ndarray): Shape (3, 3).
            look (Appearance): Colours, for these vertices.
            light (Light): The light.
            size (int): Side of the picture.
            whole (bool): Draw also what lies outside the picture.

        Returns:
            Layer: As large as the person (or what is seen of it).
        """
        normals = self.normals(vertices)
        x, y, z = vertices.T + look.puff * normals.T
        xy = np.stack([x / z, y / z]) * intrinsics[0, 0] + intrinsics[:2, 2:]
        low = np.floor(xy.min(1)).astype(int) - 1
        high = np.ceil(xy.max(1)).astype(int) + 2
        # Even then not without bound: hands just before the lens are huge.
        margin = 2 * size if whole else 0
        low = np.clip(low, -margin, size - 1 + margin)
        high = np.clip(high, low + 1, size + margin)
        width, height = high - low
        fine = self.supersample
        grid = (int(round(height * fine)), int(round(width * fine)))
        step = np.array([grid[1] / width, grid[0] / height], np.float32)
        points = (xy.T - low + .5) * step - .5
        fragments = rasterize(
            points.astype(np.float32),
            z,
            self.faces,
            grid,
            cull_back_faces=True)
        canvas = np.zeros(grid + (4, ), np.uint8)
        self._shade(canvas, fragments, normals, rest, look, light)
        if grid != (height, width):
            canvas = cv2.resize(
                canvas, (width, height), interpolation=cv2.INTER_AREA)
        else:  # soften the outline as a lens would
            canvas = cv2.GaussianBlur(canvas, (3, 3), .55)
        return Layer(canvas[..., :3], np.ascontiguousarray(canvas[..., 3]),
                     (int(low[0]), int(low[1])))

    def _shade(self, canvas, fragments, normals, rest, look: Appearance,
               light: Light) -> None:
        face_ids = fragments.face_ids.ravel()
        seen = np.flatnonzero(face_ids >= 0)
        # Interpolation as one sparse product: (P, V) with the barycentrics.
        corners = self.faces.take(face_ids.take(seen), 0)
        weights = fragments.barycentrics.reshape(-1, 3).take(seen, 0)
        mix = sparse.csr_matrix(
            (weights.ravel(), corners.ravel(),
             np.arange(0, 3 * len(seen) + 1, 3, dtype=np.int32)),
            shape=(len(seen), len(normals)))
        lit = np.empty((2, len(normals)), np.float32)
        np.maximum(normals @ light.direction, 0, out=lit[0])
        lit[1] = .65 + .35 * (normals @ light.up)
        shade = lit.T @ np.stack([light.key, light.ambient])  # (V, 3)
        colour = mix @ (look.colours * shade)
        if look.pattern is not None:
            size = len(look.pattern)
            x, y = (mix @ np.ascontiguousarray(rest[:, :2])).T
            at = (y * (look.pattern_scale * size)).astype(np.int32) % size
            at *= size
            at += (x * (look.pattern_scale * size)).astype(np.int32) % size
            share = look.pattern.ravel().take(at)
            share = share * (mix @ look.pattern_weight) * np.float32(1 / 255)
            colour += share[:, None] * (
                look.pattern_colour * (mix @ shade) - colour)
        rgba = np.full((len(seen), 4), 255, np.uint8)
        np.minimum(colour, 255, out=rgba[:, :3], casting='unsafe')
        canvas.view(np.uint32).ravel()[seen] = rgba.view(np.uint32).ravel()
