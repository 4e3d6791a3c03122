# Copyright (c) The mpm_postometro authors. All rights reserved.
"""The closed, symmetric, plain surface behind the built-in body."""
from typing import Dict, List, NamedTuple, Sequence

import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

from .decimation import HalfEdgeCollapser, Level
from .makehuman import MakeHuman

# Cavities are what cannot be seen from any of these many directions, with a
# depth buffer of this pixel size (metres). The rims of the eyelids go too:
# close to an eyeball a vertex must be seen from more of them.
NUM_DIRECTIONS = 96
PIXEL = 0.0008
DEPTH_MARGIN = 0.0015
EYELID_RADIUS = 0.02
EYELID_DIRECTIONS = 10
# The tips of the chest are smoothed within this distance (metres).
CHEST_RADIUS = 0.03


class Surface(NamedTuple):
    """Where the body's vertices come from in MakeHuman's base mesh.

    Attributes:
        operator (scipy.sparse.csr_matrix): From all base vertices to the
            body's, shaped (13380, 19158): smoothing and eyeballs included.
        hidden (np.ndarray): Vertices of inner cavities, shaped (13380,).
        eyes (Sequence[int]): The left and right vertex on the eyeball.
    """
    operator: sparse.csr_matrix
    hidden: np.ndarray
    eyes: Sequence[int]


def triangulate(quads: np.ndarray, vertices: np.ndarray) -> np.ndarray:
    """Split quads (Q, 4) along the shorter diagonal into (2Q, 3)."""
    a, b, c, d = quads.T
    first = np.linalg.norm(vertices[a] - vertices[c], axis=1)
    second = np.linalg.norm(vertices[b] - vertices[d], axis=1)
    along = (first <= second)[:, None, None]
    split = np.where(along, quads[:, [[0, 1, 2], [0, 2, 3]]],
                     quads[:, [[0, 1, 3], [1, 2, 3]]])
    return split.reshape(-1, 3)


def visible_vertices(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """From how many of the directions each vertex (V,) can be seen."""
    visible = np.zeros(len(vertices), dtype=int)
    index = np.arange(NUM_DIRECTIONS) + 0.5
    height = 1 - 2 * index / NUM_DIRECTIONS
    angle = np.pi * (1 + 5**0.5) * index
    for h, phi in zip(height, angle):
        out = np.array([(1 - h * h)**0.5 * np.cos(phi), h,
                        (1 - h * h)**0.5 * np.sin(phi)])
        right = np.cross([0., 1., 0.], out)
        right /= np.linalg.norm(right)
        points = vertices @ np.stack([right, np.cross(out, right), out], 1)
        pixel = (points[:, :2] -
                 points[faces].reshape(-1, 3)[:, :2].min(axis=0)) / PIXEL
        depth = _depth_buffer(np.column_stack([pixel, points[:, 2]]), faces)
        col, row = np.rint(pixel).astype(int).T
        inside = (row >= 0) & (col >= 0) & (row < depth.shape[0]) & (
            col < depth.shape[1])
        seen = np.zeros(len(vertices), dtype=bool)
        seen[inside] = points[inside, 2] > depth[row[inside],
                                                 col[inside]] - DEPTH_MARGIN
        visible += seen
    return visible


def _depth_buffer(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    corner = points[faces]  # (F, 3, 3)
    size = np.ceil(corner.reshape(-1, 3).max(axis=0)).astype(int) + 2
    buffer = np.full(size[1] * size[0], -np.inf)
    low = np.floor(corner[..., :2].min(axis=1)).astype(int)
    span = np.ceil(corner[..., :2].max(axis=1)).astype(int) - low + 1
    a, b, c = corner[:, 0], corner[:, 1], corner[:, 2]
    area = _cross(b - a, c - a)
    count = np.where(np.abs(area) > 1e-9, span[:, 0] * span[:, 1], 0)
    face = np.repeat(np.arange(len(faces)), count)
    local = np.arange(len(face)) - np.repeat(np.cumsum(count) - count, count)
    pixel = np.column_stack([
        low[face, 0] + local % span[face, 0],
        low[face, 1] + local // span[face, 0]
    ])
    u = _cross(pixel - a[face, :2], (c - a)[face]) / area[face]
    v = _cross((b - a)[face], pixel - a[face, :2]) / area[face]
    inside = (u >= 0) & (v >= 0) & (u + v <= 1)
    face, pixel, u, v = face[inside], pixel[inside], u[inside], v[inside]
    depth = a[face, 2] + u * (b - a)[face, 2] + v * (c - a)[face, 2]
    np.maximum.at(buffer, pixel[:, 1] * size[0] + pixel[:, 0], depth)
    return buffer.reshape(size[1], size[0])


def _cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def cotangent_laplacian(vertices: np.ndarray,
                        faces: np.ndarray) -> sparse.csr_matrix:
    """Cotangent Laplacian with row sums of zero, shaped (V, V)."""
    rows, cols, values = [], [], []
    for i in range(3):
        o, a, b = (faces[:, (i + k) % 3] for k in range(3))
        u, v = vertices[a] - vertices[o], vertices[b] - vertices[o]
        sine = np.linalg.norm(np.cross(u, v), axis=1)
        weight = np.maximum(0.5 * (u * v).sum(1) / np.maximum(sine, 1e-12),
                            1e-3)
        rows += [a, b]
        cols += [b, a]
        values += [weight, weight]
    weight = sparse.coo_matrix(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(cols))),
        shape=(len(vertices), ) * 2).tocsr()
    return sparse.diags(np.asarray(weight.sum(axis=1)).ravel()) - weight


def chest_operator(vertices: np.ndarray, faces: np.ndarray,
                   tips: Sequence[int]) -> sparse.csr_matrix:
    """Biharmonic fill around the tips of the chest, shaped (V, V)."""
    distance = np.min(
        [np.linalg.norm(vertices - vertices[t], axis=1) for t in tips], axis=0)
    inner = np.nonzero(distance < CHEST_RADIUS)[0]
    outer = np.nonzero(distance >= CHEST_RADIUS)[0]
    laplacian = cotangent_laplacian(vertices, faces)
    bilaplacian = (laplacian @ laplacian).tocsr()[inner]
    solve = splu(bilaplacian[:, inner].tocsc()).solve
    known = bilaplacian[:, outer].tocsc()
    used = np.unique(known.tocsr().indices)
    fill = -solve(known[:, used].toarray())
    fill /= fill.sum(axis=1, keepdims=True)
    matrix = sparse.identity(len(vertices)).tolil()
    for row, values in zip(inner, fill):
        matrix.rows[row] = outer[used].tolist()
        matrix.data[row] = values.tolist()
    return matrix.tocsr()


def build_surface(mh: MakeHuman, average: np.ndarray) -> Surface:
    """Find cavities and eyeballs and prepare the smoothing.

    Args:
        mh (MakeHuman): The base mesh.
        average (np.ndarray): All vertices of an average person in the A pose,
            shaped (19158, 3).
    """
    num_body = mh.num_body
    mirror = mh.mirror[:num_body]
    faces = triangulate(mh.quads, average)
    body = average[:num_body]

    # Cavities of the head, with the eyeballs in place.
    on_head = mh.weights[:, 15] > 0.5
    eyeballs = np.concatenate(
        [mh.helper_quads[f'helper-{side}-eye'] for side in 'lr'])
    occluder = np.concatenate([
        faces[on_head[faces].all(axis=1)],
        triangulate(eyeballs, average),
    ])
    eye = np.unique(mh.helper_quads['helper-l-eye'])
    centre = average[eye].mean(axis=0)
    by_eye = np.linalg.norm(
        np.abs(body) - np.abs(centre), axis=1) < EYELID_RADIUS
    seen = visible_vertices(average, occluder)[:num_body]
    hidden = on_head & (seen < np.where(by_eye, EYELID_DIRECTIONS, 1))
    hidden &= hidden[mirror]

    # One cavity vertex a side becomes the front of the eyeball.
    front = int(eye[np.argmax(average[eye, 2])])
    cavity = np.nonzero(hidden & (body[:, 0] > 0))[0]
    near = cavity[by_eye[cavity]]
    left = int(near[np.argmin(body[near, 2])])
    right = int(mirror[left])
    hidden[[left, right]] = False

    # Chest.
    chest = np.nonzero((mh.weights[:, 9] > 0.5) & (body[:, 0] > 0.03))[0]
    tip = int(chest[np.argmax(body[chest, 2])])
    operator = chest_operator(body, faces, [tip, int(mirror[tip])])
    operator = sparse.hstack(
        [operator,
         sparse.csr_matrix((num_body, len(average) - num_body))]).tolil()
    for vertex, source in ((left, front), (right, int(mh.mirror[front]))):
        operator.rows[vertex], operator.data[vertex] = [source], [1.]
    return Surface(operator.tocsr(), hidden, (left, right))


def symmetric_levels(points: np.ndarray, mh: MakeHuman, surface: Surface,
                     sizes: Sequence[int], progress) -> List[Level]:
    """Decimate one half and mirror it.

    Args:
        points (np.ndarray): Body vertices in several symmetric or other
            poses, the symmetric rest pose first, shaped (P, 13380, 3).
        mh (MakeHuman): The base mesh.
        surface (Surface): Its cavities.
        sizes (Sequence[int]): Falling numbers of vertices.
        progress (Callable[[int], None]): Called with the current count.

    Returns:
        List[Level]: Whole closed meshes, in indices of the base mesh.
    """
    mirror = mh.mirror[:mh.num_body]
    left = (mh.vertices[:mh.num_body, 0] > 0) | (
        mirror == np.arange(mh.num_body))
    faces = triangulate(mh.quads[left[mh.quads].all(axis=1)], points[0])
    collapser = HalfEdgeCollapser(
        points, faces, hidden=surface.hidden, locked=surface.eyes)
    levels = []
    for half in collapser.run(sizes, progress):
        vertices = np.union1d(half.vertices, mirror[half.vertices])
        both = np.concatenate([half.faces, mirror[half.faces][:, ::-1]])
        levels.append(Level(vertices, both))
    return levels


def mesh_report(faces: np.ndarray) -> Dict[str, int]:
    """Count what makes a surface closed and of genus 0.

    Args:
        faces (np.ndarray): Triangles, shaped (F, 3).

    Returns:
        dict: ``vertices``, ``faces``, ``open_edges`` (edges without exactly
        two faces of opposite direction), ``components``, ``genus``.
    """
    half_edges = faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2)
    directed, counts = np.unique(half_edges, axis=0, return_counts=True)
    edges = np.unique(np.sort(half_edges, axis=1), axis=0)
    keys = {tuple(e) for e in directed.tolist()}
    open_edges = sum((b, a) not in keys for a, b in keys)
    open_edges += int((counts > 1).sum())
    used = np.unique(faces)
    graph = sparse.coo_matrix((np.ones(len(edges)), edges.T),
                              shape=(int(faces.max()) + 1, ) * 2)
    _, label = sparse.csgraph.connected_components(graph, directed=False)
    components = len(np.unique(label[used]))
    euler = len(used) - len(edges) + len(faces)
    return dict(
        vertices=len(used),
        faces=len(faces),
        open_edges=open_edges,
        components=components,
        genus=components - euler // 2)
