# Copyright (c) The mpm_postometro authors. All rights reserved.
"""From the coarse mesh to the fine one."""
from typing import Sequence, Tuple

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from torch import Tensor, nn

__all__ = ['MeshUpsampler', 'SparseMatrix']


class _SparseProduct(torch.autograd.Function):
    """``A @ x`` with a constant sparse ``A``; the gradient is ``A^T @ g``.

    Written with ``embedding_bag``, whose own backward pass is several times
    slower than a second forward pass with the transposed matrix, and which
    needs none of torch's (beta) sparse tensors.
    """

    @staticmethod
    def forward(ctx, x, rows, columns, values, rows_t, columns_t, values_t):
        ctx.save_for_backward(rows_t, columns_t, values_t)
        return _bag(x, rows, columns, values)

    @staticmethod
    def backward(ctx, grad):
        grad = _bag(grad.contiguous(), *ctx.saved_tensors)
        return (grad, ) + (None, ) * 6


def _bag(x, rows, columns, values):
    return F.embedding_bag(
        columns,
        x,
        rows,
        mode='sum',
        per_sample_weights=values.to(x.dtype),
        include_last_offset=True)


class SparseMatrix(nn.Module):
    """A constant sparse matrix that acts on the vertex axis.

    The buffers are not persistent: mesh geometry stays out of checkpoints.

    Args:
        matrix (scipy.sparse.spmatrix): (V_out, V_in).
    """

    def __init__(self, matrix: sparse.spmatrix) -> None:
        super().__init__()
        self.shape = tuple(matrix.shape)
        for suffix, part in (('', matrix), ('_t', matrix.T)):
            part = sparse.csr_matrix(part, dtype=np.float32)
            arrays = dict(
                rows=part.indptr.astype(np.int64),
                columns=part.indices.astype(np.int64),
                values=part.data)
            for name, array in arrays.items():
                # a copy, because scipy may hand out read-only memory
                self.register_buffer(
                    name + suffix,
                    torch.from_numpy(array.copy()),
                    persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Multiply, in full precision also under autocast.

        Args:
            x (Tensor): (B, V_in, C).

        Returns:
            Tensor: (B, V_out, C), float32 (float64 for float64 input).
        """
        if x.dtype != torch.float64:
            x = x.float()
        batch, _, channels = x.shape
        # vertices first, so that one sparse row serves the whole batch
        columns = x.transpose(0, 1).reshape(self.shape[1], batch * channels)
        out = _SparseProduct.apply(columns, self.rows, self.columns,
                                   self.values, self.rows_t, self.columns_t,
                                   self.values_t)
        return out.view(self.shape[0], batch, channels).transpose(0, 1)

    def extra_repr(self) -> str:
        return f'shape={self.shape}, entries={self.values.numel()}'


class MeshUpsampler(nn.Module):
    """Coarse mesh -> intermediate mesh -> fine mesh.

    Fixed matrices are the paper's choice (PostoMETRO sec. 3.2); the released
    networks of FastMETRO and PostoMETRO learn the first step as a linear
    layer over the vertex axis.

    Args:
        matrices (Sequence[scipy.sparse.spmatrix]): One matrix (V_out, V_in)
            per step, from coarse to fine.
        learned_first (bool): Learn the first step. Defaults to False.
    """

    def __init__(self,
                 matrices: Sequence[sparse.spmatrix],
                 learned_first: bool = False) -> None:
        super().__init__()
        self.steps = nn.ModuleList()
        for i, matrix in enumerate(matrices):
            if learned_first and i == 0:
                self.steps.append(nn.Linear(matrix.shape[1], matrix.shape[0]))
            else:
                self.steps.append(SparseMatrix(matrix))

    def forward(self, vertices: Tensor) -> Tuple[Tensor, ...]:
        """Upsample step by step.

        Args:
            vertices (Tensor): Coarse vertices (B, V_coarse, 3), metres.

        Returns:
            tuple[Tensor]: The input and the result of every step, from
            coarse to fine, each (B, V, 3).
        """
        levels = [vertices]
        for step in self.steps:
            x = levels[-1]
            if isinstance(step, nn.Linear):
                with torch.autocast(x.device.type, enabled=False):
                    x = step(x.to(step.weight.dtype).transpose(1, 2))
                levels.append(x.transpose(1, 2))
            else:
                levels.append(step(x))
        return tuple(levels)
