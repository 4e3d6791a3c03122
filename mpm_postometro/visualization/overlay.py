# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Shaded meshes on photos and on plain ground, without screen or OpenGL.

Pictures are (H, W, 3) uint8 in BGR order, as OpenCV and MMPose have them.
Points are in the camera frame (x right, y down, z forward) in metres; the
centre of the top-left pixel is (0, 0).
"""
from typing import NamedTuple, Optional, Sequence, Tuple, Union

import cv2
import numpy as np

from mpm_postometro.bodies.rasterizer import rasterize, vertex_normals

__all__ = [
    'PALETTE', 'overlay_perspective', 'overlay_weak_perspective',
    'project_perspective', 'project_weak_perspective', 'render_view',
    'person_panel', 'stack_panels'
]

# One colour per person, BGR. Light and unsaturated, so that shading shows.
PALETTE = np.array(
    [[222, 176, 112], [122, 170, 244], [150, 208, 140], [196, 150, 222],
     [120, 214, 236], [214, 206, 128], [170, 170, 250], [160, 196, 196]],
    dtype=np.float32)

# Focal length in pixels behind the depth that a weak camera implies. Only the
# order of people depends on it.
_NOMINAL_FOCAL = 1000.
# Lights as directions from the surface (camera frame): key from above left
# of the camera, fill from the right, rim from behind above.
_LIGHTS = np.array([[-.45, -.65, -.8], [.8, .1, -.5], [.2, -.8, .6]],
                   dtype=np.float32)
_LIGHTS /= np.linalg.norm(_LIGHTS, axis=1, keepdims=True)
_LIGHT_STRENGTH = np.array([.62, .2, .12], dtype=np.float32)
_AMBIENT = .28

_VIEWS = {
    # How to turn the camera frame so that the usual projection (x right,
    # y down, seen along +z) shows the scene from there.
    'front': np.eye(3, dtype=np.float32),
    # From the camera's right: what was far (z) goes to the right.
    'side': np.array([[0, 0, 1], [0, 1, 0], [-1, 0, 0]], dtype=np.float32),
    # From above: what was far goes to the top.
    'top': np.array([[1, 0, 0], [0, 0, -1], [0, 1, 0]], dtype=np.float32),
}


class ProjectedMeshes(NamedTuple):
    """Meshes of N people in one picture.

    Attributes:
        xy (np.ndarray): Pixels, (N, V, 2).
        depth (np.ndarray): Metres from the camera, (N, V).
        vertices (np.ndarray): Camera frame, for the normals, (N, V, 3).
    """
    xy: np.ndarray
    depth: np.ndarray
    vertices: np.ndarray


def _people(vertices) -> np.ndarray:
    vertices = np.asarray(vertices, dtype=np.float32)
    if vertices.ndim == 2:
        vertices = vertices[None]
    if vertices.ndim != 3 or vertices.shape[2] != 3:
        raise ValueError('vertices must be (V, 3) or (N, V, 3), got '
                         f'{vertices.shape}')
    return vertices


def project_perspective(
        vertices: np.ndarray,
        intrinsics: np.ndarray,
        transl: Optional[np.ndarray] = None) -> ProjectedMeshes:
    """Project with a pinhole camera.

    Args:
        vertices (np.ndarray): (N, V, 3) or (V, 3), metres, camera frame.
        intrinsics (np.ndarray): (3, 3), pixels.
        transl (np.ndarray, optional): Added to the vertices, (N, 3).

    Returns:
        ProjectedMeshes: Pixels, depths and placed vertices.
    """
    vertices = _people(vertices)
    if transl is not None:
        transl = np.asarray(transl, dtype=np.float32).reshape(-1, 1, 3)
        vertices = vertices + transl
    homogeneous = vertices @ np.asarray(intrinsics, dtype=np.float32).T
    depth = homogeneous[..., 2]
    with np.errstate(divide='ignore', invalid='ignore'):
        xy = homogeneous[..., :2] / depth[..., None]
    return ProjectedMeshes(xy, vertices[..., 2], vertices)


def project_weak_perspective(vertices: np.ndarray, camera: np.ndarray,
                             region: np.ndarray) -> ProjectedMeshes:
    """Project with a weak camera that belongs to a crop of the picture.

    Crop coordinates in [-1, 1] are ``s * (X_xy + t)`` (METRO's form); they
    span ``region``. The depth of a person is what a pinhole camera would need
    for the same size in the picture, so that several people sort by depth.

    Args:
        vertices (np.ndarray): (N, V, 3) or (V, 3), metres.
        camera (np.ndarray): (s, tx, ty), (N, 3).
        region (np.ndarray): What the crop shows, xyxy in pixels of the
            picture, (N, 4) or (4, ).

    Returns:
        ProjectedMeshes: Pixels, depths and vertices.
    """
    vertices = _people(vertices)
    people = len(vertices)
    camera = np.asarray(camera, dtype=np.float32).reshape(-1, 3)
    camera = np.broadcast_to(camera, (people, 3))
    region = np.asarray(region, dtype=np.float32).reshape(-1, 4)
    region = np.broadcast_to(region, (people, 4))
    centre = (region[:, None, :2] + region[:, None, 2:]) / 2
    half = (region[:, None, 2:] - region[:, None, :2]) / 2
    scale = camera[:, None, :1]
    xy = centre + scale * (vertices[..., :2] + camera[:, None, 1:]) * half
    pixels_per_metre = np.abs(scale[..., 0] * half.mean(-1))  # (N, 1)
    distance = _NOMINAL_FOCAL / np.maximum(pixels_per_metre, 1e-6)
    return ProjectedMeshes(xy, distance + vertices[..., 2], vertices)


def _shade(normals: np.ndarray, colors: np.ndarray) -> np.ndarray:
    """Lambert shading of pixels, both sides of a face alike.

    Args:
        normals (np.ndarray): Camera frame, (P, 3), any length.
        colors (np.ndarray): BGR 0..255, (P, 3).

    Returns:
        np.ndarray: (P, 3) float32.
    """
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    normals = normals / np.maximum(length, 1e-6)
    normals = np.where(normals[:, 2:] > 0, -normals, normals)
    light = np.maximum(normals @ _LIGHTS.T, 0) @ _LIGHT_STRENGTH + _AMBIENT
    return np.minimum(colors * light[:, None], 255)


def _vertex_colors(colors, people: int, num_vertices: int) -> np.ndarray:
    """Colours of all vertices, (N * V, 3) float32, from what was given."""
    if colors is None:
        colors = PALETTE[np.arange(people) % len(PALETTE)]
    colors = np.asarray(colors, dtype=np.float32)
    if colors.ndim == 1:
        colors = colors[None]
    if colors.ndim == 2:
        # One a person, or one a vertex for everybody.
        per_vertex = len(colors) == num_vertices and num_vertices != people
        colors = colors[None] if per_vertex else colors[:, None]
    return np.broadcast_to(colors, (people, num_vertices, 3)).reshape(-1, 3)


def _draw(image: np.ndarray, meshes: ProjectedMeshes, faces: np.ndarray,
          colors, alpha: float, supersample: int) -> np.ndarray:
    """Draw meshes into a copy of the image; see ``overlay_perspective``."""
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError('image must be (H, W, 3) uint8 in BGR order, got '
                         f'{image.shape} {image.dtype}')
    canvas = image.copy()
    height, width = image.shape[:2]
    people, num_vertices = meshes.depth.shape
    xy = meshes.xy.reshape(-1, 2)
    depth = meshes.depth.ravel()
    seen = np.isfinite(xy).all(1) & np.isfinite(depth)
    if not seen.any():
        return canvas
    # Only the window that the people cover is drawn.
    low = np.clip(np.floor(xy[seen].min(0)) - 1, 0, [width, height])
    high = np.clip(np.ceil(xy[seen].max(0)) + 2, 0, [width, height])
    left, top, right, bottom = (int(v) for v in (*low, *high))
    if right <= left or bottom <= top:
        return canvas

    faces = np.asarray(faces)
    all_faces = np.concatenate(
        [faces + person * num_vertices for person in range(people)])
    # Sub-pixel k of pixel x has its centre at x + (k + 0.5) / s - 0.5.
    fine = (xy - [left, top] + .5) * supersample - .5
    size = (bottom - top) * supersample, (right - left) * supersample
    # Depth linear in the picture is exact for weak cameras, and over one of
    # these small faces indistinguishable for others.
    depth = np.where(seen & (depth > 0), depth, np.nan)
    fragments = rasterize(fine, depth, all_faces, size, perspective=False)
    normals = np.concatenate(
        [vertex_normals(person, faces) for person in meshes.vertices])
    mask = fragments.mask
    corners = all_faces[fragments.face_ids[mask]]  # (P, 3)
    weights = fragments.barycentrics[mask][..., None]
    shaded = _shade((normals[corners] * weights).sum(1),
                    (_vertex_colors(colors, people, num_vertices)[corners] *
                     weights).sum(1))
    layer = np.zeros((*size, 4), dtype=np.float32)
    layer[mask, :3] = shaded
    layer[mask, 3] = 1
    layer = layer.reshape(bottom - top, supersample, right - left, supersample,
                          4).mean((1, 3))
    window = canvas[top:bottom, left:right]
    coverage = layer[..., 3:] * alpha
    window[:] = np.rint(window * (1 - coverage) + layer[..., :3] * alpha)
    return canvas


def overlay_perspective(image: np.ndarray,
                        vertices: np.ndarray,
                        faces: np.ndarray,
                        intrinsics: np.ndarray,
                        transl: Optional[np.ndarray] = None,
                        *,
                        colors: Optional[np.ndarray] = None,
                        alpha: float = .92,
                        supersample: int = 2) -> np.ndarray:
    """Draw people over a photo, seen by a pinhole camera.

    Nearer people hide farther ones, pixel by pixel.

    Args:
        image (np.ndarray): (H, W, 3) uint8 BGR; stays as it is.
        vertices (np.ndarray): (N, V, 3) or (V, 3), metres, camera frame.
        faces (np.ndarray): (F, 3).
        intrinsics (np.ndarray): (3, 3), pixels of the image.
        transl (np.ndarray, optional): Added to the vertices, (N, 3), metres.
        colors (np.ndarray, optional): BGR 0..255: one for all (3, ), one a
            person (N, 3), or one a vertex (V, 3) or (N, V, 3). Defaults to
            ``PALETTE``.
        alpha (float): Opacity of the meshes.
        supersample (int): Samples per pixel and axis against jagged edges.

    Returns:
        np.ndarray: (H, W, 3) uint8 BGR.
    """
    meshes = project_perspective(vertices, intrinsics, transl)
    return _draw(image, meshes, faces, colors, alpha, supersample)


def overlay_weak_perspective(image: np.ndarray,
                             vertices: np.ndarray,
                             faces: np.ndarray,
                             camera: np.ndarray,
                             region: Optional[np.ndarray] = None,
                             *,
                             colors: Optional[np.ndarray] = None,
                             alpha: float = .92,
                             supersample: int = 2) -> np.ndarray:
    """Draw people over a photo, seen by the weak cameras of their crops.

    Args:
        image (np.ndarray): (H, W, 3) uint8 BGR; stays as it is.
        vertices (np.ndarray): (N, V, 3) or (V, 3), metres.
        faces (np.ndarray): (F, 3).
        camera (np.ndarray): (s, tx, ty), (N, 3) or (3, ).
        region (np.ndarray, optional): Part of the image that each crop
            showed, xyxy, (N, 4) or (4, ). Defaults to the whole image, which
            is right if ``image`` is the crop itself.
        colors, alpha, supersample: See :func:`overlay_perspective`.

    Returns:
        np.ndarray: (H, W, 3) uint8 BGR.
    """
    if region is None:
        # MMPose's crop coordinates: pixel x lies at 2 x / W - 1.
        region = [0, 0, image.shape[1], image.shape[0]]
    meshes = project_weak_perspective(vertices, camera, region)
    return _draw(image, meshes, faces, colors, alpha, supersample)


def render_view(vertices: np.ndarray,
                faces: np.ndarray,
                view: str = 'side',
                size: Union[int, Tuple[int, int]] = 256,
                *,
                colors: Optional[np.ndarray] = None,
                background: Sequence[int] = (250, 248, 246),
                margin: float = .08,
                supersample: int = 2) -> np.ndarray:
    """Show people from the front, the side or above, on plain ground.

    The camera is orthographic and fits all people into the picture.

    Args:
        vertices (np.ndarray): (N, V, 3) or (V, 3), metres, camera frame.
        faces (np.ndarray): (F, 3).
        view (str): 'front' (what the camera saw), 'side' (from the camera's
            right; away from the camera is to the right) or 'top' (away from
            the camera is up).
        size (int | tuple[int, int]): Side of a square or (height, width).
        colors (np.ndarray, optional): See :func:`overlay_perspective`.
        background (Sequence[int]): BGR.
        margin (float): Empty border, as a part of the picture.
        supersample (int): Samples per pixel and axis.

    Returns:
        np.ndarray: (H, W, 3) uint8 BGR.
    """
    if view not in _VIEWS:
        raise ValueError(f'view must be one of {sorted(_VIEWS)}, got {view!r}')
    turned = _people(vertices) @ _VIEWS[view].T
    height, width = (size, size) if isinstance(size, int) else size
    low, high = turned.min((0, 1)), turned.max((0, 1))
    room = np.array([width, height]) * (1 - 2 * margin)
    scale = (room / np.maximum(high[:2] - low[:2], 1e-6)).min()
    centre = np.array([width - 1, height - 1], dtype=np.float32) / 2
    xy = centre + scale * (turned[..., :2] - (low + high)[:2] / 2)
    depth = turned[..., 2] - low[2] + 1
    image = np.full((height, width, 3), background, dtype=np.uint8)
    meshes = ProjectedMeshes(xy.astype(np.float32), depth, turned)
    return _draw(image, meshes, faces, colors, 1., supersample)


def stack_panels(panels: Sequence[np.ndarray],
                 height: Optional[int] = None,
                 labels: Optional[Sequence[str]] = None,
                 gap: int = 4) -> np.ndarray:
    """Put pictures side by side, scaled to one height.

    Args:
        panels (Sequence[np.ndarray]): (H, W, 3) uint8 pictures.
        height (int, optional): Height of the row, of the first by default.
        labels (Sequence[str], optional): Written into the top left corners.
        gap (int): White columns between the pictures.

    Returns:
        np.ndarray: (height, W', 3) uint8.
    """
    height = panels[0].shape[0] if height is None else height
    row = []
    for index, panel in enumerate(panels):
        width = max(1, round(panel.shape[1] * height / panel.shape[0]))
        if panel.shape[:2] != (height, width):
            shrinks = height < panel.shape[0]
            panel = cv2.resize(
                panel, (width, height),
                interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
        if labels is not None and labels[index]:
            panel = panel.copy()
            size = max(height / 700, .35)
            for color, thickness in (((255, 255, 255), 3), ((40, 40, 40), 1)):
                cv2.putText(panel, labels[index],
                            (round(12 * size), round(30 * size)),
                            cv2.FONT_HERSHEY_SIMPLEX, size, color, thickness,
                            cv2.LINE_AA)
        if index:
            row.append(np.full((height, gap, 3), 255, dtype=np.uint8))
        row.append(panel)
    return np.concatenate(row, axis=1)


def person_panel(image: np.ndarray,
                 overlay: np.ndarray,
                 vertices: np.ndarray,
                 faces: np.ndarray,
                 *,
                 colors: Optional[np.ndarray] = None,
                 views: Sequence[str] = ('side', 'top'),
                 height: Optional[int] = None,
                 labels: bool = True) -> np.ndarray:
    """Photo, overlay and other views in one row.

    Args:
        image (np.ndarray): The photo, (H, W, 3) uint8 BGR.
        overlay (np.ndarray): The photo with the meshes on it, same shape.
        vertices (np.ndarray): (N, V, 3) or (V, 3), metres, camera frame.
            Several people must stand where they are in the scene.
        faces (np.ndarray): (F, 3).
        colors (np.ndarray, optional): See :func:`overlay_perspective`.
        views (Sequence[str]): See :func:`render_view`.
        height (int, optional): Height of the row in pixels, that of the
            photo by default.
        labels (bool): Write what each picture shows into its corner.

    Returns:
        np.ndarray: (height, W, 3) uint8 BGR.
    """
    height = image.shape[0] if height is None else height
    panels = [image, overlay] + [
        render_view(vertices, faces, view, height, colors=colors)
        for view in views
    ]
    names = ['photo', 'mesh', *views] if labels else None
    return stack_panels(panels, height, names)
