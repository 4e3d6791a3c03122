# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Meshes and pictures to files that other programs open.

Our camera frame has y down and z forward (OpenCV). The files have y up and z
towards the viewer, as glTF demands and mesh viewers expect: points turn half
around x, ``(x, y, z) -> (x, -y, -z)``. Vertices keep their order and faces
their winding; read ``.obj`` back with ``trimesh.load(path, process=False)``,
which would otherwise merge and reorder them.
"""
import json
import struct
from pathlib import Path
from typing import Sequence, Union

import cv2
import numpy as np

from mpm_postometro.bodies.rasterizer import vertex_normals
from mpm_postometro.files import atomic_write

__all__ = ['MESH_FORMATS', 'camera_to_y_up', 'export_mesh', 'write_picture']

MESH_FORMATS = ('obj', 'glb')


def camera_to_y_up(points: np.ndarray) -> np.ndarray:
    """Half a turn about x: y up, z towards the viewer; its own inverse.

    Args:
        points (np.ndarray): (..., 3).

    Returns:
        np.ndarray: (..., 3).
    """
    points = np.asarray(points)
    return points * np.array([1, -1, -1], dtype=points.dtype)


def write_picture(path: Union[str, Path], picture: np.ndarray) -> Path:
    """Write a picture, atomically.

    Args:
        path (str | Path): Its suffix says the format, such as ``.png``.
        picture (np.ndarray): (H, W, 3) uint8 BGR.

    Returns:
        Path: ``path``.

    Raises:
        ValueError: If it cannot be encoded so.
    """
    path = Path(path)
    try:
        done, data = cv2.imencode(path.suffix, picture)
    except cv2.error as error:
        raise ValueError(f'{path}: {error}') from error
    if not done:
        raise ValueError(f'{path}: the picture could not be encoded')
    return atomic_write(path,
                        lambda name: Path(name).write_bytes(data.tobytes()))


def _padded(data: bytes, fill: bytes) -> bytes:
    """Chunks of a .glb end on multiples of four bytes."""
    return data + fill * (-len(data) % 4)


def _obj(vertices: np.ndarray, normals: np.ndarray, faces: np.ndarray,
         color: np.ndarray) -> bytes:
    """Wavefront .obj; vertex colours as the usual extension of ``v``."""
    rows = vertices
    pattern = 'v %.6f %.6f %.6f'
    if color.ndim == 2:
        rows = np.concatenate([vertices, color / 255], axis=1)
        pattern += ' %.4f %.4f %.4f'
    one_based = np.repeat(faces + 1, 2, axis=1)
    lines = ['# unit: metre']
    lines += [pattern % tuple(row) for row in rows]
    lines += ['vn %.4f %.4f %.4f' % tuple(row) for row in normals]
    lines += ['f %d//%d %d//%d %d//%d' % tuple(row) for row in one_based]
    return ('\n'.join(lines) + '\n').encode()


def _glb(vertices: np.ndarray, normals: np.ndarray, faces: np.ndarray,
         color: np.ndarray) -> bytes:
    """Binary glTF 2.0 with one mesh."""
    attributes = dict(POSITION=vertices, NORMAL=normals)
    base = [1., 1., 1., 1.]
    if color.ndim == 2:
        # glTF colours are linear light; 8-bit ones here are sRGB.
        attributes['COLOR_0'] = _linear(color)
    else:
        base = [*_linear(color).tolist(), 1.]
    arrays = [*attributes.values(), faces.reshape(-1)]
    views, accessors, blob = [], [], b''
    for array in arrays:
        is_index = array.ndim == 1
        data = array.astype('<u4' if is_index else '<f4').tobytes()
        accessors.append(
            dict(
                bufferView=len(views),
                count=len(array),
                componentType=5125 if is_index else 5126,
                type='SCALAR' if is_index else 'VEC3'))
        views.append(
            dict(
                buffer=0,
                byteOffset=len(blob),
                byteLength=len(data),
                target=34963 if is_index else 34962))
        blob += data
    accessors[0].update(
        min=vertices.min(0).tolist(), max=vertices.max(0).tolist())
    primitive = dict(
        attributes={
            name: k
            for k, name in enumerate(attributes)
        },
        indices=len(attributes),
        material=0)
    # Without a material of their own, viewers show glTF as black metal.
    material = dict(
        pbrMetallicRoughness=dict(
            baseColorFactor=base, metallicFactor=0., roughnessFactor=.8))
    document = dict(
        asset=dict(version='2.0', generator='mpm_postometro'),
        scene=0,
        scenes=[dict(nodes=[0])],
        nodes=[dict(mesh=0)],
        meshes=[dict(primitives=[primitive])],
        materials=[material],
        accessors=accessors,
        bufferViews=views,
        buffers=[dict(byteLength=len(blob))])
    text = _padded(json.dumps(document).encode(), b' ')
    blob = _padded(blob, b'\0')
    length = 12 + 8 + len(text) + 8 + len(blob)
    return (struct.pack('<4sII', b'glTF', 2, length) +
            struct.pack('<I4s', len(text), b'JSON') + text +
            struct.pack('<I4s', len(blob), b'BIN\0') + blob)


def _linear(color: np.ndarray) -> np.ndarray:
    """sRGB 0..255 to linear light 0..1."""
    color = np.asarray(color, dtype=np.float32) / 255
    return np.where(color <= .04045, color / 12.92,
                    ((color + .055) / 1.055)**2.4)


def export_mesh(
    path: Union[str, Path],
    vertices: np.ndarray,
    faces: np.ndarray,
    *,
    y_up: bool = True,
    color: Sequence[float] = (205, 205, 210)) -> Path:
    """Write one mesh as .obj or .glb, chosen by the suffix.

    Args:
        path (str | Path): File to write, atomically.
        vertices (np.ndarray): (V, 3), metres, camera frame.
        faces (np.ndarray): (F, 3), counter-clockwise seen from outside.
        y_up (bool): Turn the camera frame to y up (see the module). False
            writes the numbers as they are, e.g. for a mesh in the body
            frame, which has y up already.
        color (Sequence[float]): RGB 0..255, of the whole mesh (3, ) or one a
            vertex (V, 3). An .obj keeps only colours of vertices.

    Returns:
        Path: The file.

    Raises:
        ValueError: If the suffix is none of ``MESH_FORMATS`` or a shape is
            wrong.
    """
    path = Path(path)
    kind = path.suffix[1:].lower()
    if kind not in MESH_FORMATS:
        raise ValueError(f'{path}: meshes are written as '
                         f'{" or ".join(MESH_FORMATS)}, not {path.suffix!r}')
    vertices = np.asarray(vertices, dtype=np.float32)
    if vertices.ndim != 2 or vertices.shape[1] != 3:
        raise ValueError(f'{path}: vertices must be (V, 3), got '
                         f'{vertices.shape}')
    vertices = camera_to_y_up(vertices) if y_up else vertices
    faces = np.asarray(faces)
    color = np.asarray(color, dtype=np.float32)
    if color.shape not in ((3, ), vertices.shape):
        raise ValueError(f'{path}: color must be (3, ) or {vertices.shape}, '
                         f'got {color.shape}')
    encode = _glb if kind == 'glb' else _obj
    data = encode(vertices, vertex_normals(vertices, faces), faces, color)
    return atomic_write(path, lambda name: Path(name).write_bytes(data))
