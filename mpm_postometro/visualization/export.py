# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Meshes to files that other programs open.

Our camera frame has y down and z forward (OpenCV). The files have y up and z
towards the viewer, as glTF demands and mesh viewers expect: points turn half
around x, ``(x, y, z) -> (x, -y, -z)``. Vertices keep their order and faces
their winding; read ``.obj`` back with ``trimesh.load(path, process=False)``,
which would otherwise merge and reorder them.
"""
import os
import tempfile
from pathlib import Path
from typing import Callable, Optional, Sequence, Union

import numpy as np

from mpm_postometro.bodies.rasterizer import vertex_normals

__all__ = ['MESH_FORMATS', 'atomic_write', 'camera_to_y_up', 'export_mesh']

MESH_FORMATS = ('obj', 'glb', 'ply')


def camera_to_y_up(points: np.ndarray) -> np.ndarray:
    """Half a turn about x: y up, z towards the viewer; its own inverse.

    Args:
        points (np.ndarray): (..., 3).

    Returns:
        np.ndarray: (..., 3).
    """
    points = np.asarray(points)
    return points * np.array([1, -1, -1], dtype=points.dtype)


def atomic_write(path: Union[str, Path],
                 write: Callable[[str], None]) -> Path:
    """Let a file appear whole or not at all.

    Args:
        path (str | Path): Where it goes; missing folders are made.
        write (Callable): Gets a temporary name in the same folder with the
            same suffix, and writes the file there.

    Returns:
        Path: ``path``.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(
        prefix=f'.{path.stem[:40]}-', suffix=path.suffix, dir=path.parent)
    os.close(handle)
    try:
        write(temporary)
        # mkstemp makes private files; give what open() would have given.
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(temporary, 0o666 & ~mask)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return path


def export_mesh(path: Union[str, Path],
                vertices: np.ndarray,
                faces: np.ndarray,
                *,
                y_up: bool = True,
                color: Optional[Sequence[float]] = None) -> Path:
    """Write one mesh as .obj, .glb or .ply, chosen by the suffix.

    Args:
        path (str | Path): File to write, atomically.
        vertices (np.ndarray): (V, 3), metres, camera frame.
        faces (np.ndarray): (F, 3), counter-clockwise seen from outside.
        y_up (bool): Turn the camera frame to y up (see the module). False
            writes the numbers as they are, e.g. for a mesh in the body
            frame, which has y up already.
        color (Sequence[float], optional): RGB 0..255, of the whole mesh (3, )
            or one a vertex (V, 3). Light grey by default.

    Returns:
        Path: The file.

    Raises:
        ValueError: If the suffix is none of ``MESH_FORMATS`` or a shape is
            wrong.
    """
    import trimesh  # slow to import, and only needed here
    from trimesh.visual import TextureVisuals
    from trimesh.visual.material import PBRMaterial
    path = Path(path)
    kind = path.suffix[1:].lower()
    if kind not in MESH_FORMATS:
        raise ValueError(f'{path}: meshes are written as '
                         f'{", ".join(MESH_FORMATS)}, not {path.suffix!r}')
    vertices = np.asarray(vertices, dtype=np.float32)
    if vertices.ndim != 2 or vertices.shape[1] != 3:
        raise ValueError(f'{path}: vertices must be (V, 3), got '
                         f'{vertices.shape}')
    vertices = camera_to_y_up(vertices) if y_up else vertices
    color = np.asarray((205, 205, 210) if color is None else color)
    mesh = trimesh.Trimesh(
        vertices, np.asarray(faces), process=False,
        vertex_normals=vertex_normals(vertices, faces))
    if kind == 'glb' and color.ndim == 1:
        # Without a material of their own, viewers show glTF as black metal.
        mesh.visual = TextureVisuals(material=PBRMaterial(
            baseColorFactor=[*(int(c) for c in color[:3]), 255],
            metallicFactor=0., roughnessFactor=.8))
    elif kind != 'obj' or color.ndim == 2:
        mesh.visual.vertex_colors = np.broadcast_to(
            color[..., :3].astype(np.uint8), (len(vertices), 3))
    return atomic_write(
        path, lambda name: mesh.export(
            name, file_type=kind,
            **({'include_normals': True} if kind != 'ply' else {})))
