# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Quadric half-edge collapse that keeps original vertices and symmetry.

Every collapse moves a vertex onto a neighbour, so each coarser mesh is a
subset of the finer one and downsampling is plain indexing. A mesh that is cut
open along its mirror plane is decimated as one half: its boundary is the seam,
seam vertices slide only along the seam, and welding the result to its mirror
image gives an exactly symmetric closed surface.
"""
import heapq
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Set

import numpy as np

# New triangles may tilt by at most about 70 degrees against the one they
# replace and must not be slivers (1 is equilateral, 0 degenerate).
MIN_NORMAL_AGREEMENT = 0.35
MIN_TRIANGLE_QUALITY = 0.08


class Level(NamedTuple):
    """One mesh level: ``vertices`` (V,) and ``faces`` (F, 3), old indices."""
    vertices: np.ndarray
    faces: np.ndarray


def face_quadrics(points: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Area-weighted plane quadrics (Garland and Heckbert 1997, Sec. 4).

    Args:
        points (np.ndarray): Vertices in several poses, shaped (P, V, 3).
        faces (np.ndarray): Triangles, shaped (F, 3).

    Returns:
        np.ndarray: Homogeneous quadrics, shaped (F, P, 4, 4).
    """
    a, b, c = (points[:, faces[:, i]] for i in range(3))
    normal = np.cross(b - a, c - a)  # (P, F, 3)
    double_area = np.linalg.norm(normal, axis=-1, keepdims=True)
    normal = normal / np.maximum(double_area, 1e-20)
    plane = np.concatenate([normal, -(normal * a).sum(-1, keepdims=True)],
                           axis=-1)
    quadric = plane[..., :, None] * plane[..., None, :]
    return np.swapaxes(quadric * (0.5 * double_area)[..., None], 0, 1)


class HalfEdgeCollapser:
    """Greedy half-edge collapse of a manifold mesh with at most one boundary.

    Args:
        points (np.ndarray): Vertices in several poses, shaped (P, V, 3); the
            first is the rest pose in which triangles are checked.
        faces (np.ndarray): Triangles, shaped (F, 3).
        hidden (np.ndarray, optional): Vertices of inner cavities, shaped (V,)
            bool. They cost nothing and go first, which closes each cavity
            with a cap over its rim.
        locked (Sequence[int]): Vertices that stay down to the first target.
        spread (float): Weight of the squared edge length beside the squared
            distance to the planes; evens out flat regions.
        mirrored (bool): Whether the mesh is one half of a symmetric surface
            whose seam is the boundary. Seam vertices then count once and all
            others twice.
    """

    def __init__(self,
                 points: np.ndarray,
                 faces: np.ndarray,
                 hidden: Optional[np.ndarray] = None,
                 locked: Sequence[int] = (),
                 spread: float = 0.05,
                 mirrored: bool = True) -> None:
        self.points = np.ascontiguousarray(
            points.transpose(1, 0, 2), dtype=np.float64)  # (V, P, 3)
        num_vertices, num_poses = self.points.shape[:2]
        self.rest = [tuple(p) for p in self.points[:, 0].tolist()]
        self.homogeneous = np.concatenate(
            [self.points, np.ones((num_vertices, num_poses, 1))], axis=-1)
        self.spread = spread
        self.locked = set(locked)
        if hidden is None:
            hidden = np.zeros(num_vertices, dtype=bool)
        self.hidden = hidden.tolist()
        self.faces: List[Optional[tuple]] = [tuple(f) for f in faces.tolist()]
        self.vertex_faces: List[Set[int]] = [
            set() for _ in range(num_vertices)
        ]
        for i, face in enumerate(self.faces):
            for v in face:
                self.vertex_faces[v].add(i)
        self.alive = np.zeros(num_vertices, dtype=bool)
        self.alive[np.unique(faces)] = True

        quadrics = face_quadrics(points.astype(np.float64), faces)
        quadrics[hidden[faces].any(axis=1)] = 0.
        self.quadric = np.zeros((num_vertices, num_poses, 4, 4))
        for corner in range(3):
            np.add.at(self.quadric, faces[:, corner], quadrics)
        area = np.trace(quadrics[:, 0, :3, :3], axis1=1, axis2=2)
        self.area = np.zeros(num_vertices)
        np.add.at(self.area, faces.ravel(), np.repeat(area / 3, 3))

        edges = np.sort(
            faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
        edges, counts = np.unique(edges, axis=0, return_counts=True)
        self.seam: Set[int] = set(edges[counts == 1].ravel().tolist())
        self.multiplicity = 2 if mirrored else 1
        self.count = sum(
            self._weight(int(v)) for v in np.nonzero(self.alive)[0])
        self.stamp = [0] * num_vertices
        self.blocked: Dict[int, Set[int]] = {}
        self.heap: List[tuple] = []
        for v, u in edges.tolist():
            self._push(v, u)
            self._push(u, v)

    def _weight(self, vertex: int) -> int:
        return 1 if vertex in self.seam else self.multiplicity

    def _ring(self, vertex: int) -> Set[int]:
        ring = set()
        for face in self.vertex_faces[vertex]:
            ring.update(self.faces[face])
        ring.discard(vertex)
        return ring

    def _push(self, vertex: int, onto: int) -> None:
        """Queue the collapse of ``vertex`` onto ``onto``."""
        if vertex in self.locked or (vertex in self.seam
                                     and onto not in self.seam):
            return
        target = self.homogeneous[onto]  # (P, 4)
        quadric = self.quadric[vertex] + self.quadric[onto]
        error = float(((quadric @ target[..., None])[..., 0] * target).sum())
        offset = self.points[vertex, 0] - self.points[onto, 0]
        error += self.spread * self.area[vertex] * float(offset @ offset)
        # A seam vertex stands for one vertex of the welded mesh, any other
        # for two that go together.
        error /= self._weight(vertex)
        if self.hidden[vertex]:
            # Before all others, and best onto a locked vertex, which then
            # becomes the centre of the cap.
            error = float(offset @ offset) - 1e3
            if onto in self.locked:
                error -= 1e3
        heapq.heappush(
            self.heap,
            (error, vertex, onto, self.stamp[vertex], self.stamp[onto]))

    def _shared_faces(self, a: int, b: int) -> Set[int]:
        return self.vertex_faces[a] & self.vertex_faces[b]

    def _allowed(self, vertex: int, onto: int) -> bool:
        """Whether the collapse keeps the surface a manifold and unfolded."""
        shared = self._shared_faces(vertex, onto)
        ring, ring_onto = self._ring(vertex), self._ring(onto)
        common = ring & ring_onto
        if len(common) != len(shared):
            return False  # link condition
        if vertex in self.seam and len(shared) != 1:
            return False  # a chord between two seam vertices
        if onto in self.seam:
            # No edge may join two seam vertices across the half: its mirror
            # image would be a second edge between the same two.
            for other in ring & self.seam:
                if other == onto:
                    continue
                if other in ring_onto:
                    if len(self._shared_faces(onto, other)) == 1:
                        continue
                elif vertex in self.seam and len(
                        self._shared_faces(vertex, other)) == 1:
                    continue
                return False
        # Do not leave a vertex with fewer than three neighbours.
        for other in common:
            minimum = 3 if other in self.seam else 4
            if len(self._ring(other)) < minimum:
                return False
        if not common or len(ring | ring_onto) < 5:
            return False
        return self._unfolded(vertex, onto, shared)

    def _unfolded(self, vertex: int, onto: int, shared: Set[int]) -> bool:
        rest = self.rest
        for index in self.vertex_faces[vertex] - shared:
            face = self.faces[index]
            if any(self.hidden[v] for v in face):
                continue
            old = _normal(*(rest[v] for v in face))
            corners = [rest[onto if v == vertex else v] for v in face]
            new = _normal(*corners)
            length_old, length_new = _length(old), _length(new)
            dot = sum(x * y for x, y in zip(old, new))
            if dot < MIN_NORMAL_AGREEMENT * length_old * length_new:
                return False
            squares = sum(
                sum((x - y)**2 for x, y in zip(corners[i], corners[i - 1]))
                for i in range(3))
            if 2 * 3**0.5 * length_new < MIN_TRIANGLE_QUALITY * squares:
                return False
        return True

    def _collapse(self, vertex: int, onto: int) -> None:
        self.count -= self._weight(vertex)
        for index in self._shared_faces(vertex, onto):
            for v in self.faces[index]:
                self.vertex_faces[v].discard(index)
            self.faces[index] = None
        for index in self.vertex_faces[vertex]:
            self.faces[index] = tuple(onto if v == vertex else v
                                      for v in self.faces[index])
            self.vertex_faces[onto].add(index)
        self.vertex_faces[vertex] = set()
        self.alive[vertex] = False
        self.quadric[onto] += self.quadric[vertex]
        self.area[onto] += self.area[vertex]
        self.stamp[onto] += 1
        self.stamp[vertex] += 1
        for other in sorted(self._ring(onto)):
            self._push(onto, other)
            self._push(other, onto)
            for target in sorted(self.blocked.pop(other, ())):
                if target != onto and self.alive[target]:
                    self._push(other, target)

    def run(self,
            targets: Sequence[int],
            progress: Optional[Callable[[int], None]] = None) -> List[Level]:
        """Collapse down to each number of vertices in turn.

        Args:
            targets (Sequence[int]): Falling vertex counts of the whole
                (welded) mesh.
            progress (Callable, optional): Called with the current count.

        Returns:
            List[Level]: One level per target, in indices of the input.

        Raises:
            RuntimeError: If no allowed collapse is left before a target.
        """
        levels = []
        for target in targets:
            deferred = []
            while self.count > target:
                if not self.heap:
                    raise RuntimeError(
                        f'no allowed collapse left at {self.count} vertices, '
                        f'expected to reach {target}')
                item = heapq.heappop(self.heap)
                _, vertex, onto, stamp, stamp_onto = item
                if (not self.alive[vertex] or not self.alive[onto]
                        or stamp != self.stamp[vertex]
                        or stamp_onto != self.stamp[onto]):
                    continue
                if self.count - self._weight(vertex) < target:
                    deferred.append(item)  # only a seam vertex still fits
                    continue
                if not self._allowed(vertex, onto):
                    self.blocked.setdefault(vertex, set()).add(onto)
                    continue
                self._collapse(vertex, onto)
                if progress is not None:
                    progress(self.count)
            for item in deferred:
                heapq.heappush(self.heap, item)
            unlocked, self.locked = sorted(self.locked), set()
            for vertex in unlocked:
                for onto in sorted(self._ring(vertex)):
                    self._push(vertex, onto)
            faces = np.array([f for f in self.faces if f is not None])
            levels.append(Level(np.nonzero(self.alive)[0], faces))
        return levels


def _normal(a: tuple, b: tuple, c: tuple) -> tuple:
    ux, uy, uz = b[0] - a[0], b[1] - a[1], b[2] - a[2]
    vx, vy, vz = c[0] - a[0], c[1] - a[1], c[2] - a[2]
    return uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx


def _length(v: tuple) -> float:
    return (v[0] * v[0] + v[1] * v[1] + v[2] * v[2])**0.5
