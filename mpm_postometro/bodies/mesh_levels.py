# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Coarse and fine versions of one mesh, and the way between them."""
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import List, Optional, Tuple, Union

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor, nn

from .safe_pickle import load_npz

__all__ = ['LevelData', 'MeshLevels', 'read_mesh_downsampling']


@dataclass
class LevelData:
    """Arrays of a mesh at L levels, 0 = fine.

    Attributes:
        faces (list): L arrays (F, 3), vertex indices within the level.
        selections (list): L - 1 arrays; entry l holds, for each vertex of
            level l + 1, its index in level l.
        upsample (list): L - 1 sparse matrices (V_l, V_{l+1}).
        adjacency (list, optional): L sparse matrices (V_l, V_l) where the
            neighbours are not those of the faces.
    """

    faces: List[np.ndarray]
    selections: List[np.ndarray]
    upsample: List[sp.csr_matrix]
    adjacency: Optional[List[sp.spmatrix]] = None

    def __post_init__(self):
        sizes = [self.upsample[0].shape[0]]
        for level, (matrix,
                    chosen) in enumerate(zip(self.upsample, self.selections)):
            if matrix.shape != (sizes[-1], len(chosen)):
                raise ValueError(
                    f'upsample[{level}] must be ({sizes[-1]}, {len(chosen)}), '
                    f'got {matrix.shape}')
            sizes.append(len(chosen))
        if len(self.faces) != len(sizes):
            raise ValueError(f'expected faces of {len(sizes)} levels, got '
                             f'{len(self.faces)}')
        self.sizes = tuple(sizes)
        # All coarse-to-fine products and fine-to-coarse index chains.
        self.upsample_products, self.selection_chains = {}, {}
        for fine in range(len(sizes)):
            matrix = sp.identity(sizes[fine], dtype=np.float32, format='csr')
            chain = np.arange(sizes[fine])
            for coarse in range(fine + 1, len(sizes)):
                matrix = (matrix @ self.upsample[coarse - 1]).tocsr()
                matrix = matrix.astype(np.float32)
                matrix.sort_indices()
                chain = chain[self.selections[coarse - 1]]
                self.upsample_products[coarse, fine] = matrix
                self.selection_chains[fine, coarse] = chain


def _selection(matrix: sp.spmatrix, where: str) -> np.ndarray:
    """Column of the single 1 in every row."""
    matrix = matrix.tocsr()
    matrix.eliminate_zeros()
    if (np.diff(matrix.indptr) != 1).any() or not np.allclose(matrix.data, 1):
        raise ValueError(f'{where}: expected one entry of 1 in every row, as '
                         'coarse vertices are a choice of the fine ones')
    return matrix.indices.astype(np.int64)


def read_mesh_downsampling(path: Union[str, Path]) -> LevelData:
    """Read SMPL's published mesh levels (``mesh_downsampling.npz``).

    Of the file's keys A, U, D and F are read (adjacency, up- and
    downsampling matrices, faces), by the restricted unpickler. U's rows do
    not sum to one: the published upsampling is not affine.

    Args:
        path (str | Path): File.

    Returns:
        LevelData: The levels, as many as the file has. Cached: do not write.

    Raises:
        ValueError: If a key is missing or a matrix has the wrong shape.
    """
    path = Path(path).resolve()
    stat = path.stat()
    return _read_cached(path, (stat.st_mtime_ns, stat.st_size))


@lru_cache(maxsize=4)
def _read_cached(path: Path, stamp: tuple) -> LevelData:
    arrays = load_npz(path, keys=('A', 'U', 'D', 'F'))
    missing = [key for key in 'AUDF' if key not in arrays]
    if missing:
        raise ValueError(f'{path}: keys {missing} are missing, expected A, '
                         'U, D and F of the published mesh_downsampling.npz')
    steps = len(arrays['U'])
    try:
        return LevelData(
            faces=[
                np.asarray(f).astype(np.int64)
                for f in list(arrays['F'])[:steps + 1]
            ],
            selections=[
                _selection(m, f'{path}, D[{i}]')
                for i, m in enumerate(arrays['D'])
            ],
            upsample=[sp.csr_matrix(m) for m in arrays['U']],
            adjacency=[sp.coo_matrix(m) for m in arrays['A']][:steps + 1])
    except ValueError as error:
        if str(path) in str(error):
            raise
        raise ValueError(f'{path}: {error}') from error


class _SparseMatmul(torch.autograd.Function):
    """Fixed sparse matrix times dense (V, D), both ways by row gathers.

    Several times faster on CPU than torch's sparse tensors, and free of
    sparse buffers, which distributed wrappers cannot broadcast.
    """

    @staticmethod
    def forward(ctx, dense, indptr, indices, values, *transposed):
        ctx.save_for_backward(*transposed, indptr, indices, values)
        return torch.nn.functional.embedding_bag(
            indices, dense, indptr, mode='sum', per_sample_weights=values,
            include_last_offset=True)  # yapf: disable

    @staticmethod
    def backward(ctx, grad):
        grad = _SparseMatmul.apply(grad.contiguous(), *ctx.saved_tensors)
        return (grad, ) + (None, ) * 6


class MeshLevels(nn.Module):
    """Up- and downsampling between mesh levels; 0 is the finest.

    All buffers are non-persistent: a checkpoint holds no geometry.

    Args:
        data (LevelData): The arrays.
    """

    def __init__(self, data: LevelData):
        super().__init__()
        self._data = data
        for level, faces in enumerate(data.faces):
            self._buffer(f'_faces_{level}', faces.astype(np.int64))
        for (fine, coarse), chain in data.selection_chains.items():
            self._buffer(f'_select_{fine}_{coarse}', chain)
        for (coarse, fine), matrix in data.upsample_products.items():
            for suffix, m in (('', matrix), ('_t', matrix.T.tocsr())):
                name = f'_upsample_{coarse}_{fine}{suffix}'
                self._buffer(name + '_indptr', m.indptr.astype(np.int64))
                self._buffer(name + '_indices', m.indices.astype(np.int64))
                self._buffer(name + '_values', m.data)

    def _buffer(self, name: str, array: np.ndarray) -> None:
        self.register_buffer(name, torch.tensor(array), persistent=False)

    @property
    def sizes(self) -> Tuple[int, ...]:
        """tuple[int]: Vertices of each level, fine to coarse."""
        return self._data.sizes

    def _check(self, level: int, size: Optional[int] = None) -> None:
        if not 0 <= level < len(self.sizes):
            raise ValueError(f'level must be in [0, {len(self.sizes) - 1}], '
                             f'got {level}')
        if size is not None and size != self.sizes[level]:
            raise ValueError(f'level {level} has {self.sizes[level]} '
                             f'vertices, got {size}')

    def downsample(self,
                   vertices: Tensor,
                   level: int = 2,
                   from_level: int = 0) -> Tensor:
        """Choose the vertices of a coarser level.

        Args:
            vertices (Tensor): (..., V_from, D).
            level (int): Level wanted, not finer than ``from_level``.
            from_level (int): Level of ``vertices``.

        Returns:
            Tensor: (..., V_level, D).
        """
        self._check(from_level, vertices.shape[-2])
        self._check(level)
        if level < from_level:
            raise ValueError(f'level {level} is finer than {from_level}')
        if level == from_level:
            return vertices
        index = getattr(self, f'_select_{from_level}_{level}')
        return vertices.index_select(-2, index)

    def upsample(self,
                 vertices: Tensor,
                 from_level: int = 2,
                 to_level: int = 0) -> Tensor:
        """Fixed linear upsampling, differentiable.

        Args:
            vertices (Tensor): (..., V_from, D).
            from_level (int): Level of ``vertices``.
            to_level (int): Level wanted, not coarser than ``from_level``.

        Returns:
            Tensor: (..., V_to, D) in the dtype of this module, under
            autocast too.
        """
        self._check(from_level, vertices.shape[-2])
        self._check(to_level)
        if to_level > from_level:
            raise ValueError(f'level {to_level} is coarser than {from_level}')
        if to_level == from_level:
            return vertices
        name = f'_upsample_{from_level}_{to_level}'
        matrix = [
            getattr(self, f'{name}{suffix}_{part}') for suffix in ('', '_t')
            for part in ('indptr', 'indices', 'values')
        ]
        with torch.autocast(vertices.device.type, enabled=False):
            flat = vertices.to(matrix[2].dtype).movedim(-2, 0)
            shape = flat.shape[1:]
            flat = flat.reshape(self.sizes[from_level], -1)
            fine = _SparseMatmul.apply(flat, *matrix)
            return fine.unflatten(-1, shape).movedim(0, -2).contiguous()

    def upsample_matrix(self, from_level: int, to_level: int) -> sp.csr_matrix:
        """The matrix behind :meth:`upsample`.

        Args:
            from_level (int): Coarse level.
            to_level (int): Finer (or the same) level.

        Returns:
            scipy.sparse.csr_matrix: (V_to, V_from), float32, a copy.
        """
        self._check(from_level)
        self._check(to_level)
        if to_level > from_level:
            raise ValueError(f'level {to_level} is coarser than {from_level}')
        if to_level == from_level:
            return sp.identity(
                self.sizes[to_level], dtype=np.float32, format='csr')
        return self._data.upsample_products[from_level, to_level].copy()

    def faces(self, level: int) -> Tensor:
        """Faces of a level.

        Args:
            level (int): Level.

        Returns:
            Tensor: (F, 3), long.
        """
        self._check(level)
        return getattr(self, f'_faces_{level}')

    def adjacency(self, level: int) -> Tensor:
        """Which vertices are neighbours, every vertex its own.

        From the published adjacency where the body has one (SMPL), from the
        edges of the faces otherwise.

        Args:
            level (int): Level. At level 0 the result takes 47 MB.

        Returns:
            Tensor: (V, V), bool, symmetric.
        """
        faces = self.faces(level)
        size = self.sizes[level]
        adjacency = torch.eye(size, dtype=torch.bool, device=faces.device)
        if self._data.adjacency is not None:
            edges = self._data.adjacency[level].tocoo()
            keep = edges.data != 0
            a = torch.as_tensor(edges.row[keep], device=faces.device).long()
            b = torch.as_tensor(edges.col[keep], device=faces.device).long()
        else:
            a, b = faces.flatten(), faces.roll(-1, dims=1).flatten()
        adjacency[a, b] = True
        adjacency[b, a] = True
        return adjacency
