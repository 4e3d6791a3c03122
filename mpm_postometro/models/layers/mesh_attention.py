# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Self-attention in which a vertex sees its mesh neighbours only."""
import math
from typing import List, Optional

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .dropout import attention_with_dropout

__all__ = ['MeshAttention']


def split_mesh(adjacency: np.ndarray, size: int) -> List[np.ndarray]:
    """Cut a mesh into connected patches of at most ``size`` vertices.

    Patches grow greedily towards the vertex with most links into the patch,
    which keeps their borders short.

    Args:
        adjacency (np.ndarray): (V, V) bool, symmetric.
        size (int): Largest number of vertices in a patch.

    Returns:
        list[np.ndarray]: Vertex indices of each patch; every vertex is in
        exactly one.
    """
    free = np.ones(len(adjacency), dtype=bool)
    patches = []
    while free.any():
        open_links = np.where(free, (adjacency & free).sum(1), len(free) + 1)
        patch = [int(open_links.argmin())]
        free[patch[0]] = False
        while len(patch) < size:
            links = adjacency[patch].sum(0) * free
            if not links.any():
                break
            best = np.flatnonzero(links == links.max())
            open_links = (adjacency[best] & free).sum(1)
            patch.append(int(best[open_links.argmin()]))
            free[patch[-1]] = False
        patches.append(np.array(patch))
    return patches


class MeshAttention(nn.Module):
    """Attention among joint and vertex tokens with FastMETRO's mask.

    Pairs of vertices that are not adjacent are blocked; every pair with a
    joint is open. Most of the (J + V)^2 products would be thrown away, so the
    mesh is cut into patches and each patch attends to the joints, to itself
    and to its border. That gives the numbers of the dense computation with
    the mask; which is used instead where patches would not save half of the
    products (small or strongly linked meshes).

    The buffers are not persistent.

    Args:
        adjacency (Tensor): (V, V) bool, symmetric, with diagonal.
        num_joints (int): Number ``J`` of tokens before the vertices.
        patch_size (int, optional): Vertices in a patch; None computes
            densely. Defaults to 32, which measured quickest on CPUs for the
            431 vertices of SMPL's coarse mesh.
    """

    def __init__(self,
                 adjacency: Tensor,
                 num_joints: int,
                 patch_size: Optional[int] = 32) -> None:
        super().__init__()
        if adjacency.dim() != 2 or not torch.equal(adjacency, adjacency.T):
            raise ValueError('adjacency must be a symmetric (V, V) matrix, '
                             f'got shape {tuple(adjacency.shape)}')
        adjacency = adjacency.bool().cpu()
        self.num_joints = num_joints
        num_vertices = len(adjacency)
        self.num_tokens = num_joints + num_vertices
        self.use_patches = False
        if patch_size:
            adjacency_np = adjacency.numpy()
            patches = split_mesh(adjacency_np, patch_size)
            seen = [np.flatnonzero(adjacency_np[p].any(0)) for p in patches]
            shape = (len(patches), max(map(len, patches)),
                     num_joints + max(map(len, seen)))
            self.use_patches = 2 * math.prod(shape) < self.num_tokens**2
        if self.use_patches:
            self._register_patches(adjacency_np, patches, seen, shape)
        else:
            mask = torch.ones(
                self.num_tokens, self.num_tokens, dtype=torch.bool)
            mask[num_joints:, num_joints:] = adjacency
            self.register_buffer(
                'mask', _numbers_to_add(mask[None, None]), persistent=False)

    def _register_patches(self, adjacency, patches, seen, shape) -> None:
        joints = self.num_joints
        num_patches, num_queries, num_keys = shape
        queries = np.full((num_patches, num_queries), joints)  # any filling
        keys = np.zeros((num_patches, num_keys), dtype=np.int64)
        mask = np.zeros(shape, dtype=bool)
        place = np.zeros(len(adjacency), dtype=np.int64)
        keys[:, :joints] = np.arange(joints)
        mask[:, :, :joints] = True
        # filled-up queries must see something, joints or not: NaN otherwise
        mask[:, :, 0] |= joints == 0
        for i, (patch, near) in enumerate(zip(patches, seen)):
            span = slice(joints, joints + len(near))
            queries[i, :len(patch)] = joints + patch
            keys[i, span] = joints + near
            mask[i, :len(patch), span] = adjacency[np.ix_(patch, near)]
            place[patch] = i * num_queries + np.arange(len(patch))
        buffers = dict(
            queries=torch.from_numpy(queries.reshape(-1)),
            keys=torch.from_numpy(keys.reshape(-1)),
            # Not mask[:, None], whose stride of 0 SyncBuffersHook refuses.
            mask=_numbers_to_add(
                torch.from_numpy(
                    mask.reshape(num_patches, 1, num_queries, num_keys))),
            place=torch.from_numpy(place))
        for name, buffer in buffers.items():
            self.register_buffer(name, buffer, persistent=False)

    def forward(self,
                query: Tensor,
                key_value: Tensor,
                num_heads: int,
                dropout: float = 0.) -> Tensor:
        """Attend.

        Args:
            query (Tensor): Projected queries (B, J + V, D).
            key_value (Tensor): Projected keys and values side by side,
                (B, J + V, 2 D).
            num_heads (int): Number of heads.
            dropout (float): Dropout rate of the attention weights.

        Returns:
            Tensor: (B, J + V, D).
        """
        mask = self.mask.to(query.dtype)  # which autocast may have changed
        if not self.use_patches:
            return attend(query, *key_value.chunk(2, -1), num_heads, dropout,
                          mask)
        batch, _, dim = query.shape
        num_patches, _, num_queries, num_keys = mask.shape
        joints = self.num_joints
        patch_query = query.index_select(1, self.queries)
        patch_key_value = key_value.index_select(1, self.keys)
        out = attend(
            patch_query.view(-1, num_queries, dim),
            *patch_key_value.view(-1, num_keys, 2 * dim).chunk(2, -1),
            num_heads, dropout,
            mask.expand(batch, *mask.shape).flatten(0, 1))
        out = out.reshape(batch, num_patches * num_queries, dim)
        out = out.index_select(1, self.place)
        if joints == 0:
            return out
        joint_out = attend(query[:, :joints], *key_value.chunk(2, -1),
                           num_heads, dropout)
        return torch.cat([joint_out, out], 1)


def _numbers_to_add(mask: Tensor) -> Tensor:
    """0 where a pair may attend, else -inf: what attention makes of a bool
    mask at every call."""
    return torch.zeros(mask.shape).masked_fill_(~mask, float('-inf'))


def attend(query: Tensor,
           key: Tensor,
           value: Tensor,
           num_heads: int,
           dropout: float = 0.,
           mask: Optional[Tensor] = None) -> Tensor:
    """Scaled dot-product attention of several heads.

    Args:
        query (Tensor): (B, L, D).
        key (Tensor): (B, S, D).
        value (Tensor): (B, S, D).
        num_heads (int): Number of heads.
        dropout (float): Dropout rate of the attention weights. On CPUs see
            :func:`attention_with_dropout`.
        mask (Tensor, optional): (B, 1, L, S) or (1, 1, L, S), added to the
            scores: 0 or -inf, of the queries' type.

    Returns:
        Tensor: (B, L, D).
    """
    query, key, value = (
        x.unflatten(-1, (num_heads, -1)).transpose(1, 2)
        for x in (query, key, value))
    if (dropout > 0 and query.device.type == 'cpu'
            and not torch.compiler.is_compiling()):
        out = attention_with_dropout(query, key, value, dropout, mask)
    else:
        out = F.scaled_dot_product_attention(
            query, key, value, attn_mask=mask, dropout_p=dropout)
    return out.transpose(1, 2).flatten(2)
