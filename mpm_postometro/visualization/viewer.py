# Copyright (c) The mpm_postometro authors. All rights reserved.
"""A mesh to turn with the mouse, in one HTML file that works offline."""
import base64
import html
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Optional, Sequence, Union

import numpy as np

from mpm_postometro.files import atomic_write
from .export import camera_to_y_up

__all__ = ['ViewerMesh', 'mesh_viewer_html', 'write_mesh_viewer']

_ASSETS = Path(__file__).parent / 'assets'
# RGB: prediction, ground truth, others.
_COLORS = [(112, 176, 222), (150, 208, 140), (244, 170, 122), (222, 150, 196),
           (236, 214, 120)]
_HINT = ('Drag to turn, {wheel} or pinch to zoom, double-click to '
         'reset. Keys: arrows, +, -, R.')


@dataclass
class ViewerMesh:
    """One mesh of a viewer.

    Attributes:
        name (str): What it is, for the button, e.g. ``'prediction'``.
        vertices (np.ndarray): (V, 3), metres.
        faces (np.ndarray): (F, 3), counter-clockwise seen from outside.
        group (str): Meshes of one group are shown together (prediction and
            ground truth of one person); a list lets the reader choose the
            group.
        color (tuple[int, int, int], optional): RGB 0..255.
        frame (str): 'camera' (y down, z forward; seen as the camera saw it)
            or 'body' (y up, z towards the viewer).
    """
    name: str
    vertices: np.ndarray
    faces: np.ndarray
    group: str = ''
    color: Optional[Sequence[int]] = None
    frame: str = 'camera'


def _encode(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()


def _payload(meshes: Sequence[ViewerMesh], together: bool, alone: bool) -> str:
    """The data of a viewer as JSON; equal faces are stored once."""
    meshes = list(meshes)
    if not meshes:
        raise ValueError('a viewer needs at least one mesh')
    face_sets, face_index, entries, order = [], {}, [], {}
    for mesh in meshes:
        vertices = np.asarray(mesh.vertices, dtype='<f4')
        faces = np.asarray(mesh.faces)
        if vertices.ndim != 2 or vertices.shape[1] != 3:
            raise ValueError(f'mesh {mesh.name!r}: vertices must be (V, 3), '
                             f'got {vertices.shape}')
        if not np.isfinite(vertices).all():
            raise ValueError(f'mesh {mesh.name!r}: vertices hold NaN or inf')
        if faces.ndim != 2 or faces.shape[1] != 3 or not (
                0 <= faces.min() and faces.max() < len(vertices)):
            raise ValueError(f'mesh {mesh.name!r}: faces must be (F, 3) with '
                             f'indices below {len(vertices)}')
        if mesh.frame not in ('camera', 'body'):
            raise ValueError(f'mesh {mesh.name!r}: frame must be "camera" or '
                             f'"body", got {mesh.frame!r}')
        if mesh.frame == 'camera':
            vertices = camera_to_y_up(vertices)
        wide = len(vertices) > 1 << 16
        encoded = (4 if wide else 2,
                   _encode(faces.astype('<u4' if wide else '<u2')))
        if encoded not in face_index:
            face_index[encoded] = len(face_sets)
            face_sets.append(encoded)
        place = order.setdefault(mesh.group, 0)
        order[mesh.group] += 1
        color = _COLORS[place % len(_COLORS)] if mesh.color is None \
            else mesh.color
        entries.append(
            dict(
                name=mesh.name,
                group=mesh.group,
                color=[int(c) for c in color],
                faces=face_index[encoded],
                vertices=_encode(vertices)))
    payload = dict(
        faces=face_sets, meshes=entries, together=together, alone=alone)
    # "</script>" inside a name must not end the element.
    return json.dumps(payload, separators=(',', ':')).replace('<', '\\u003c')


def mesh_viewer_html(meshes: Sequence[ViewerMesh],
                     title: str = 'Mesh',
                     *,
                     together: bool = False,
                     alone: bool = False) -> str:
    """Viewer as a piece of HTML for a bigger page.

    The piece brings its own style and script (loaded once, however many
    viewers a page has) and asks for nothing from the network. It draws with
    WebGL, and by software on a plain canvas where there is none.

    Args:
        meshes (Sequence[ViewerMesh]): At least one.
        title (str): What is shown, for readers that cannot see it.
        together (bool): Start with the meshes of a group one over another
            instead of side by side.
        alone (bool): The viewer is the whole page: the wheel always zooms.

    Returns:
        str: HTML fragment.

    Raises:
        ValueError: If there is no mesh, or one has wrong shapes.
    """
    style = (_ASSETS / 'viewer.css').read_text()
    script = (_ASSETS / 'viewer.js').read_text()
    hint = _HINT.format(wheel='wheel' if alone else 'click and wheel')
    return (f'<style>{style}</style><script>{script}</script>'
            '<div class="mv"><div class="mv-bar"></div>'
            '<canvas tabindex="0" role="img" '
            f'aria-label="{html.escape(title)}"></canvas>'
            f'<p class="mv-hint">{hint}</p>'
            '<script type="application/json">'
            f'{_payload(meshes, together, alone)}</script></div>'
            '<script>MeshViewer.mount(document.currentScript.'
            'previousElementSibling)</script>')


def write_mesh_viewer(path: Union[str, Path],
                      meshes: Sequence[ViewerMesh],
                      title: str = 'Mesh',
                      *,
                      together: bool = False) -> Path:
    """Write a page that holds nothing but a viewer.

    Args:
        path (str | Path): HTML file, written atomically.
        meshes, title, together: See :func:`mesh_viewer_html`.

    Returns:
        Path: The file.
    """
    viewer = mesh_viewer_html(meshes, title, together=together, alone=True)
    page = ('<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">'
            '<meta name="viewport" '
            'content="width=device-width, initial-scale=1">'
            f'<title>{html.escape(title)}</title></head>'
            f'<body class="mv-alone">{viewer}</body></html>')
    return atomic_write(
        path, lambda name: Path(name).write_text(page, encoding='utf-8'))
