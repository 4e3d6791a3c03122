# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Encoder and decoder of FastMETRO (sec. 3 of "Cross-Attention of
Disentangled Modalities for 3D Human Mesh Recovery", ECCV 2022).

Layers are pre-norm with ReLU. Parameters bear the names of the published
checkpoints (those of ``torch.nn.MultiheadAttention``), but tokens are
batch-first.

Note:
    - B: batch size
    - L: number of queries (in the decoder: joints and vertices)
    - S: number of tokens of the memory
    - D: width of a token
"""
from typing import Callable, Optional, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from .dropout import Dropout
from .linear_layer import Linear, linear
from .mesh_attention import MeshAttention, attend
from .remembered import Remembered

__all__ = [
    'Attention', 'DecoderLayer', 'EncoderDecoder', 'EncoderLayer',
    'TransformerDecoder', 'TransformerEncoder'
]


class Attention(nn.Module):
    """Multi-head attention that returns no weights.

    Args:
        dim (int): Width ``D``.
        num_heads (int): Number of heads.
        dropout (float): Dropout rate of the attention weights.
    """

    def __init__(self, dim: int, num_heads: int, dropout: float = 0.) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(
                f'width {dim} cannot be split into {num_heads} heads')
        self.num_heads = num_heads
        self.dropout = dropout
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(self,
                x: Tensor,
                code: Optional[Tensor] = None,
                mesh_attention: Optional[MeshAttention] = None) -> Tensor:
        """Self-attention.

        Args:
            x (Tensor): Tokens (B, L, D).
            code (Tensor, optional): Position code (1, L, D) added to queries
                and keys, never to values. Not with ``mesh_attention``.
            mesh_attention (MeshAttention, optional): Which pairs may attend.
                None: all.

        Returns:
            Tensor: (B, L, D).
        """
        dim = x.shape[-1]
        weight, bias = self.in_proj_weight, self.in_proj_bias
        dropout = self.dropout if self.training else 0.
        if mesh_attention is not None:
            query, key_value = linear(x, weight, bias).split((dim, 2 * dim),
                                                             -1)
            return self.out_proj(
                mesh_attention(query, key_value, self.num_heads, dropout))
        if code is None:
            query, key, value = linear(x, weight, bias).chunk(3, -1)
        else:
            pair = linear(x + code, weight[:2 * dim], bias[:2 * dim])
            query, key = pair.chunk(2, -1)
            value = linear(x, weight[2 * dim:], bias[2 * dim:])
        return self.out_proj(
            attend(query, key, value, self.num_heads, dropout))

    def query_parameters(self) -> Tuple[Tensor, Tensor]:
        """Weight (D, D) and bias (D, ) of :meth:`project_query`."""
        dim = self.in_proj_weight.shape[1]
        return self.in_proj_weight[:dim], self.in_proj_bias[:dim]

    def project_query(self, x: Tensor) -> Tensor:
        """(B, L, D) -> (B, L, D), what :meth:`attend_to` takes."""
        return linear(x, *self.query_parameters())

    def attend_to(self,
                  query: Tensor,
                  memory: Tensor,
                  code: Optional[Tensor] = None) -> Tensor:
        """Cross-attention.

        Args:
            query (Tensor): Projected queries (B, L, D); a batch of 1 serves
                every sample of the memory.
            memory (Tensor): Keys and values (B, S, D).
            code (Tensor, optional): Position code (1, S, D) added to the
                keys, never to values.

        Returns:
            Tensor: (B, L, D).
        """
        dim = query.shape[-1]
        weight, bias = self.in_proj_weight[dim:], self.in_proj_bias[dim:]
        if code is None:
            key, value = linear(memory, weight, bias).chunk(2, -1)
        else:
            key = linear(memory + code, weight[:dim], bias[:dim])
            value = linear(memory, weight[dim:], bias[dim:])
        out = attend(
            query.expand(len(memory), -1, -1), key, value, self.num_heads,
            self.dropout if self.training else 0.)
        return self.out_proj(out)


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward network, each after a LayerNorm.

    Args:
        dim (int): Width ``D``.
        num_heads (int): Number of heads.
        feedforward_dim (int): Hidden width of the feed-forward network.
        dropout (float): Dropout rate.
        attention_dropout (float): Dropout rate of the attention weights.
        norm_layer (Callable[[int], nn.Module]): Makes the norm of a width.
            Defaults to ``nn.LayerNorm``.
    """

    def __init__(
            self,
            dim: int,
            num_heads: int,
            feedforward_dim: int,
            dropout: float,
            attention_dropout: float,
            norm_layer: Callable[[int], nn.Module] = nn.LayerNorm) -> None:
        super().__init__()
        self.self_attn = Attention(dim, num_heads, attention_dropout)
        self.linear1 = Linear(dim, feedforward_dim)
        self.linear2 = Linear(feedforward_dim, dim)
        self.norm1 = norm_layer(dim)
        self.norm2 = norm_layer(dim)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, code: Optional[Tensor] = None) -> Tensor:
        """Update tokens ``x`` (B, S, D); ``code`` as in
        :class:`Attention`."""
        x = x + self.dropout(self.self_attn(self.norm1(x), code=code))
        return x + self.feedforward(self.norm2(x))

    def feedforward(self, x: Tensor) -> Tensor:
        """(B, S, D) -> (B, S, D)."""
        rate = self.dropout.p if self.training else 0.
        x = linear(x, self.linear1.weight, self.linear1.bias, True, rate)
        return self.dropout(self.linear2(x))


class DecoderLayer(EncoderLayer):
    """Self-attention among joints and vertices, cross-attention to the memory
    and feed-forward network, each after a LayerNorm.

    Arguments are those of :class:`EncoderLayer`.
    """

    def __init__(self, dim: int, num_heads: int, feedforward_dim: int,
                 dropout: float, attention_dropout: float) -> None:
        super().__init__(dim, num_heads, feedforward_dim, dropout,
                         attention_dropout)
        self.multihead_attn = Attention(dim, num_heads, attention_dropout)
        self.norm3 = nn.LayerNorm(dim)
        # Set where the queries are the same for every input.
        self.remembered = None

    def forward(self,
                x: Tensor,
                memory: Tensor,
                code: Optional[Tensor] = None,
                mesh_attention: Optional[MeshAttention] = None) -> Tensor:
        """Update queries.

        Args:
            x (Tensor): Queries (B, L, D) or (1, L, D).
            memory (Tensor): (B, S, D).
            code (Tensor, optional): Position code (1, S, D) of the keys.
            mesh_attention (MeshAttention, optional): See
                :class:`Attention`.

        Returns:
            Tensor: (B, L, D).
        """
        if self.remembered is None or any(m.training for m in self.modules()):
            x, query = self.attend_mesh(x, mesh_attention)
        else:
            inputs = (x, *self.norm1.parameters(),
                      *self.self_attn.parameters(), *self.norm2.parameters(),
                      *self.multihead_attn.query_parameters())
            x, query = self.remembered(
                lambda: self.attend_mesh(x, mesh_attention), inputs,
                mesh_attention)
        x = x + self.dropout(
            self.multihead_attn.attend_to(query, memory, code))
        return x + self.feedforward(self.norm3(x))

    def attend_mesh(
            self, x: Tensor,
            mesh_attention: Optional[MeshAttention]) -> Tuple[Tensor, Tensor]:
        """The part of :meth:`forward` before the memory comes in.

        Returns:
            tuple[Tensor, Tensor]: Queries after the self-attention, and
            projected for the cross-attention, both (B, L, D).
        """
        x = x + self.dropout(
            self.self_attn(self.norm1(x), mesh_attention=mesh_attention))
        return x, self.multihead_attn.project_query(self.norm2(x))


class _Stack(nn.Module):
    """Layers of one kind and the final norm."""

    layer_type = EncoderLayer

    def __init__(self, num_layers: int, dim: int, num_heads: int,
                 feedforward_dim: int, dropout: float,
                 attention_dropout: float, with_cp: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            self.layer_type(dim, num_heads, feedforward_dim, dropout,
                            attention_dropout) for _ in range(num_layers))
        self.norm = nn.LayerNorm(dim)
        self.with_cp = with_cp

    def forward(self, x: Tensor, *args) -> Tensor:
        for layer in self.layers:
            if self.with_cp and torch.is_grad_enabled():
                x = checkpoint(layer, x, *args, use_reentrant=False)
            else:
                x = layer(x, *args)
        return self.norm(x)


class TransformerEncoder(_Stack):
    """Stack of :class:`EncoderLayer`: ``(x, code) -> x``."""


class TransformerDecoder(_Stack):
    """Stack of :class:`DecoderLayer`:
    ``(x, memory, code, mesh_attention) -> x``."""

    layer_type = DecoderLayer


class EncoderDecoder(nn.Module):
    """One transformer of FastMETRO: encoder over camera and context tokens,
    decoder over joint and vertex tokens.

    The context is what the decoder sees: image tokens first, others (pose
    tokens) behind them. Only image tokens have a position code.

    Args:
        dim (int): Width ``D``.
        num_heads (int): Number of heads.
        feedforward_dim (int): Hidden width of the feed-forward networks.
        num_layers (int): Layers of the encoder, and of the decoder.
        dropout (float): Dropout rate. Defaults to 0.1.
        attention_dropout (float, optional): Dropout rate of the attention
            weights; None means ``dropout``.
        with_cp (bool): Recompute layers in the backward pass instead of
            storing what they need. Defaults to False.
        constant_queries (bool): The queries are parameters, so that in
            inference their first self-attention is computed once, see
            :class:`Remembered`. Defaults to False.
    """

    def __init__(self,
                 dim: int,
                 num_heads: int,
                 feedforward_dim: int,
                 num_layers: int,
                 dropout: float = 0.1,
                 attention_dropout: Optional[float] = None,
                 with_cp: bool = False,
                 constant_queries: bool = False) -> None:
        super().__init__()
        if attention_dropout is None:
            attention_dropout = dropout
        self.has_dropout = max(dropout, attention_dropout) > 0
        args = (num_layers, dim, num_heads, feedforward_dim, dropout,
                attention_dropout, with_cp)
        self.encoder = TransformerEncoder(*args)
        self.decoder = TransformerDecoder(*args)
        if constant_queries:
            self.decoder.layers[0].remembered = Remembered()
        for parameter in self.parameters():
            if parameter.dim() > 1:
                nn.init.xavier_uniform_(parameter)

    def forward(
            self, camera: Tensor, context: Tensor, queries: Tensor,
            code: Optional[Tensor],
            mesh_attention: MeshAttention) -> Tuple[Tensor, Tensor, Tensor]:
        """Encode, then decode.

        Args:
            camera (Tensor): Camera token (B, 1, D) or (1, 1, D).
            context (Tensor): Image tokens, then others, (B, S, D).
            queries (Tensor): Joint and vertex tokens (B, L, D); or (1, L, D)
                where they do not depend on the sample, which spares the
                first self-attention of all samples but one.
            code (Tensor, optional): Position code (1, HW, D) of the first
                HW context tokens.
            mesh_attention (MeshAttention): Which queries see each other.

        Returns:
            tuple[Tensor, Tensor, Tensor]: Updated camera (B, 1, D), context
            (B, S, D) and queries (B, L, D).
        """
        batch, num_context, _ = context.shape
        if code is not None:
            code = F.pad(code, (0, 0, 0, num_context - code.shape[1]))
            encoder_code = F.pad(code, (0, 0, 1, 0))
        else:
            encoder_code = None
        encoded = self.encoder(
            torch.cat([camera.expand(batch, -1, -1), context], 1),
            encoder_code)
        camera, context = encoded.split((1, num_context), 1)
        if self.training and self.has_dropout:
            # every sample draws its own dropout
            queries = queries.expand(batch, -1, -1)
        queries = self.decoder(queries, context, code, mesh_attention)
        return camera, context, queries
