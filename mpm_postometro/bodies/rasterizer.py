# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Triangle rasteriser in vectorised numpy: no screen, no OpenGL, no GPU.

Every face is tested against the pixel centres inside its bounding box with
three edge functions, and an inverse-depth buffer keeps the nearest one. The
arithmetic is float32 throughout: mixing in float64 makes the depth of one
fragment compare unequal to itself, and pixels drop out.
"""
from typing import NamedTuple, Tuple

import numpy as np

__all__ = ['Fragments', 'rasterize', 'face_normals', 'vertex_normals']

# Candidates (face, pixel) handled at once: bounds the memory to ~100 MB.
_CHUNK = 1 << 21
# Slack of the inside test, so that a pixel centre lying on the edge between
# two faces is never lost to rounding in both.
_EDGE_SLACK = np.float32(-1e-5)


class Fragments(NamedTuple):
    """What the camera sees in each pixel.

    Attributes:
        face_ids (np.ndarray): Nearest face, -1 where there is none. Shape
            (H, W), int32.
        barycentrics (np.ndarray): Weights of the three corners of that face
            at the pixel's centre (perspective-correct for a perspective
            camera), 0 where there is none. Shape (H, W, 3), float32.
        depth (np.ndarray): Depth of the surface, in the unit of the input,
            ``inf`` where there is none. Shape (H, W), float32.
    """
    face_ids: np.ndarray
    barycentrics: np.ndarray
    depth: np.ndarray

    @property
    def mask(self) -> np.ndarray:
        """Covered pixels, (H, W) bool."""
        return self.face_ids >= 0

    def interpolate(self,
                    faces: np.ndarray,
                    values: np.ndarray,
                    background: float = 0.) -> np.ndarray:
        """Interpolate values given at the vertices.

        Args:
            faces (np.ndarray): Faces that were rasterised. Shape (F, 3).
            values (np.ndarray): Shape (V, C).
            background (float): Value of pixels without a face.

        Returns:
            np.ndarray: Shape (H, W, C), float32.
        """
        values = np.asarray(values, dtype=np.float32)
        image = np.full(
            self.face_ids.shape + values.shape[1:],
            background,
            dtype=np.float32)
        mask = self.mask
        corners = values[faces[self.face_ids[mask]]]  # (P, 3, C)
        image[mask] = np.einsum('pk,pkc->pc', self.barycentrics[mask], corners)
        return image


def rasterize(xy: np.ndarray,
              depth: np.ndarray,
              faces: np.ndarray,
              size: Tuple[int, int],
              *,
              perspective: bool = True,
              cull_back_faces: bool = False) -> Fragments:
    """Find the nearest face in each pixel.

    Args:
        xy (np.ndarray): Projected vertices in pixels; the centre of the
            top-left pixel is (0, 0), x to the right, y down. Shape (V, 2).
        depth (np.ndarray): Distance along the viewing axis, larger = farther
            away. Shape (V, ).
        faces (np.ndarray): Shape (F, 3), integers.
        size (tuple[int, int]): (height, width) of the picture in pixels.
        perspective (bool): True: ``1 / depth`` is linear in the picture, and
            faces with a corner at or behind the camera (depth <= 0) are left
            out. False (orthographic, weak perspective): ``depth`` itself is
            linear and may be negative.
        cull_back_faces (bool): Leave out faces that turn away from the
            camera: about twice as fast, and the same picture for a closed
            mesh with outward faces (counter-clockwise seen from outside).

    Returns:
        Fragments: ``face_ids`` (H, W), ``barycentrics`` (H, W, 3) and
        ``depth`` (H, W).

    Raises:
        ValueError: If the shapes do not fit together.
    """
    xy = np.asarray(xy, dtype=np.float32)
    depth = np.asarray(depth, dtype=np.float32)
    faces = np.asarray(faces)
    if xy.ndim != 2 or xy.shape[1] != 2 or depth.shape != xy.shape[:1]:
        raise ValueError('rasterize expects xy (V, 2) and depth (V, ), got '
                         f'{xy.shape} and {depth.shape}')
    if faces.ndim != 2 or faces.shape[1] != 3:
        raise ValueError(f'faces must be (F, 3), got {faces.shape}')
    height, width = size

    # Nearness: linear in the picture, larger = nearer.
    if perspective:
        with np.errstate(divide='ignore'):
            nearness = np.where(depth > 0, 1 / depth, np.float32(np.nan))
    else:
        nearness = -depth
    kept, setup, boxes = _prepare_faces(xy, nearness, faces, height, width,
                                        cull_back_faces)

    buffer = np.full(height * width, -np.inf, dtype=np.float32)
    face_ids = np.full(height * width, -1, dtype=np.int32)
    barycentrics = np.zeros((height * width, 3), dtype=np.float32)
    counts = boxes[2] * boxes[3]
    for start, stop in _chunks(counts):
        row, b0, b1, pixel = _fragments_of(setup[:, start:stop],
                                           boxes[:, start:stop],
                                           counts[start:stop], width)
        row += start
        z2, dz0, dz1 = setup[6:]
        near = z2[row] + dz0[row] * b0 + dz1[row] * b1
        np.maximum.at(buffer, pixel, near)
        won = np.flatnonzero(near == buffer[pixel])
        target = pixel[won]
        face_ids[target] = kept[row[won]]
        barycentrics[target, 0] = b0[won]
        barycentrics[target, 1] = b1[won]
    covered = face_ids >= 0
    barycentrics[covered, 2] = 1 - barycentrics[covered, :2].sum(1)
    if perspective:
        seen = np.flatnonzero(covered)
        weights = barycentrics[seen] * nearness[faces[face_ids[seen]]]
        barycentrics[seen] = weights / weights.sum(1, keepdims=True)
        surface = np.full_like(buffer, np.inf)
        surface[seen] = 1 / buffer[seen]
    else:
        surface = -buffer
    return Fragments(
        face_ids.reshape(height, width),
        barycentrics.reshape(height, width, 3), surface.reshape(height, width))


def _prepare_faces(xy, nearness, faces, height, width, cull_back_faces):
    """Drop faces that cannot be seen; set up edge functions of the others.

    Returns:
        tuple: indices of the kept faces (G, ), their coefficients (9, G) and
        their pixel boxes x, y, width, height (4, G).
    """
    # Corner-major arrays (3, F), culled in two steps: most of the time goes
    # into gathering, so the faces that face away leave first.
    index = np.ascontiguousarray(faces.T)
    x = np.take(np.ascontiguousarray(xy[:, 0]), index)
    y = np.take(np.ascontiguousarray(xy[:, 1]), index)
    with np.errstate(invalid='ignore'):
        area = (x[1] - x[0]) * (y[2] - y[0]) - (x[2] - x[0]) * (y[1] - y[0])
        # y points down, so outward faces seen from outside wind with
        # negative area.
        kept = np.flatnonzero(area < 0 if cull_back_faces else area != 0)
        x, y, area = x[:, kept], y[:, kept], area[kept]
        near = np.take(nearness, index[:, kept])
        left = np.ceil(_smallest(x) + _EDGE_SLACK)
        top = np.ceil(_smallest(y) + _EDGE_SLACK)
        right = np.floor(-_smallest(-x) - _EDGE_SLACK)
        bottom = np.floor(-_smallest(-y) - _EDGE_SLACK)
        left, right = np.maximum(left, 0), np.minimum(right, width - 1)
        top, bottom = np.maximum(top, 0), np.minimum(bottom, height - 1)
        visible = np.flatnonzero((left <= right) & (top <= bottom)
                                 & np.isfinite(near.sum(0) + area))
    kept = kept[visible]
    x, y, near = x[:, visible], y[:, visible], near[:, visible]
    scale = 1 / area[visible]
    left, top = left[visible], top[visible]
    boxes = np.stack(
        [left, top, right[visible] - left + 1,
         bottom[visible] - top + 1]).astype(np.int32)

    # barycentric k (k = 0, 1) = a_k * (px - x_2) + b_k * (py - y_2)
    setup = np.stack([(y[1] - y[2]) * scale, (x[2] - x[1]) * scale,
                      (y[2] - y[0]) * scale, (x[0] - x[2]) * scale,
                      left - x[2], top - y[2], near[2], near[0] - near[2],
                      near[1] - near[2]])
    return kept.astype(np.int32), setup, boxes


def _chunks(counts):
    """Cut the faces so that each chunk holds at most ~_CHUNK candidates."""
    total = np.cumsum(counts, dtype=np.int64)
    start = 0
    while start < len(counts):
        done = total[start - 1] if start else 0
        stop = int(np.searchsorted(total, done + _CHUNK, side='right'))
        stop = max(stop, start + 1)
        yield start, stop
        start = stop


def _smallest(corners):
    """Smallest of the three corners, (3, F) -> (F, )."""
    return np.minimum(np.minimum(corners[0], corners[1]), corners[2])


def _fragments_of(setup, boxes, counts, width):
    """Pixel centres inside each face.

    Returns:
        tuple: row of the face, the first two barycentrics, flat pixel index;
        each (P, ).
    """
    row = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    first = np.cumsum(counts, dtype=np.int32) - counts
    offset = np.arange(len(row), dtype=np.int32) - first[row]
    dy, dx = np.divmod(offset, boxes[2][row])
    a0, b0, a1, b1, x0, y0 = setup[:6]
    px = dx.astype(np.float32) + x0[row]
    py = dy.astype(np.float32) + y0[row]
    w0 = a0[row] * px + b0[row] * py
    w1 = a1[row] * px + b1[row] * py
    inside = np.flatnonzero((w0 >= _EDGE_SLACK) & (w1 >= _EDGE_SLACK)
                            & (w0 + w1 <= 1 - _EDGE_SLACK))
    row = row[inside]
    pixel = (boxes[1][row] + dy[inside]) * width + boxes[0][row] + dx[inside]
    return row, w0[inside], w1[inside], pixel.astype(np.int64)


def face_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Normals of the faces, with a length of twice the face's area.

    Args:
        vertices (np.ndarray): Shape (V, 3).
        faces (np.ndarray): Shape (F, 3), counter-clockwise seen from outside.

    Returns:
        np.ndarray: Shape (F, 3), outward, float32.
    """
    a, b, c = np.moveaxis(np.asarray(vertices, np.float32)[faces], 1, 0)
    return np.cross(b - a, c - a)


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Unit normals of the vertices: area-weighted mean of their faces.

    Args:
        vertices (np.ndarray): Shape (V, 3).
        faces (np.ndarray): Shape (F, 3), counter-clockwise seen from outside.

    Returns:
        np.ndarray: Shape (V, 3), outward, float32; zero for a vertex without
        a face.
    """
    weighted = face_normals(vertices, faces)
    corner = np.asarray(faces).ravel()
    normals = np.stack([
        np.bincount(corner, np.repeat(weighted[:, axis], 3), len(vertices))
        for axis in range(3)
    ],
                       axis=1)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return (normals / np.maximum(length, 1e-12)).astype(np.float32)
