# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Linear upsampling between mesh levels, fitted to posed bodies."""
from typing import Optional

import numpy as np
from scipy import sparse
from scipy.sparse.csgraph import dijkstra


def edge_graph(vertices: np.ndarray, faces: np.ndarray) -> sparse.csr_matrix:
    """Symmetric graph of edge lengths, shaped (V, V)."""
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    edges = np.unique(edges, axis=0)
    length = np.linalg.norm(
        vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
    graph = sparse.coo_matrix((length, (edges[:, 0], edges[:, 1])),
                              shape=(len(vertices), ) * 2)
    return (graph + graph.T).tocsr()


def fit_upsampling(samples: np.ndarray,
                   rest: np.ndarray,
                   faces: np.ndarray,
                   coarse: np.ndarray,
                   num_neighbours: int = 16,
                   ridge: float = 1e-6,
                   mirror: Optional[np.ndarray] = None) -> sparse.csr_matrix:
    """Fit each vertex as an affine combination of near coarse vertices.

    Least squares over posed bodies, on the geodesically nearest coarse
    vertices, with weights that sum to one and a small pull towards equal
    weights, which keeps them from amplifying noise. Coarse vertices are kept
    exactly.

    Args:
        samples (np.ndarray): Posed bodies at the finer level (S, V, 3), m.
        rest (np.ndarray): Rest pose at the finer level, shaped (V, 3).
        faces (np.ndarray): Faces of the finer level, shaped (F, 3).
        coarse (np.ndarray): Indices of the coarse vertices, shaped (C,).
        num_neighbours (int): Coarse vertices per fine vertex.
        ridge (float): Pull towards equal weights, in square metres per
            sample.
        mirror (np.ndarray, optional): Mirror partner of each finer vertex,
            shaped (V,). If given, the matrix is made exactly symmetric.

    Returns:
        scipy.sparse.csr_matrix: Weights, shaped (V, C), float32.
    """
    num_vertices, num_coarse = len(rest), len(coarse)
    distance = dijkstra(
        edge_graph(rest, faces), directed=False, indices=coarse).T  # (V, C)
    if mirror is not None:
        # Ties must be broken alike on both sides.
        coarse_mirror = _lookup(coarse, num_vertices)[mirror[coarse]]
        distance = np.round(
            0.5 * (distance + distance[mirror][:, coarse_mirror]), 9)
    near = np.argsort(distance, axis=1, kind='stable')[:, :num_neighbours]
    del distance
    weights = np.empty((num_vertices, num_neighbours))
    flat = samples.transpose(1, 0, 2).reshape(num_vertices, -1)  # (V, 3S)
    identity = np.eye(num_neighbours) * ridge * len(samples)
    for start in range(0, num_vertices, 256):
        rows = slice(start, min(start + 256, num_vertices))
        offset = flat[coarse[near[rows]]] - flat[rows, None]  # (v, k, 3S)
        gram = offset @ offset.transpose(0, 2, 1) + identity
        solved = np.linalg.solve(gram, np.ones(
            (len(gram), num_neighbours, 1)))[..., 0]
        weights[rows] = solved / solved.sum(axis=1, keepdims=True)
    weights[coarse] = 0.
    weights[coarse, 0] = 1.
    near[coarse, 0] = np.arange(num_coarse)
    matrix = sparse.csr_matrix(
        (weights.ravel(), near.ravel(),
         np.arange(0, num_vertices * num_neighbours + 1, num_neighbours)),
        shape=(num_vertices, num_coarse))
    if mirror is not None:
        matrix = 0.5 * (matrix + matrix[mirror][:, coarse_mirror])
    matrix = matrix.tocsr().astype(np.float32)
    matrix.eliminate_zeros()
    matrix.sort_indices()
    return matrix


def _lookup(indices: np.ndarray, size: int) -> np.ndarray:
    table = np.full(size, -1)
    table[indices] = np.arange(len(indices))
    return table
