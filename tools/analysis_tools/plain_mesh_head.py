# Copyright (c) The mpm_postometro authors. All rights reserved.
"""A plain transcription of the mesh transformer, to compare with.

The network as it is published, step by step: tokens are sequence-first,
attention is ``nn.MultiheadAttention`` with a mask over all pairs of joints and
vertices and returns its weights, every sample has its own copy of the
queries, token axes are turned for the MLP over them, and meshes are upsampled
by dense matrices. Modules bear the names of :class:`PostoMETROHead`, whose
weights load strictly.
"""
from typing import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mpm_postometro.models.heads import MeshPrediction
from mpm_postometro.models.layers import sine_position_code


class PlainEncoderLayer(nn.Module):
    """Self-attention and feed-forward network, pre-norm."""

    def __init__(self, dim: int, heads: int, hidden: int, rate: float) -> None:
        super().__init__()
        self.self_attn = nn.MultiheadAttention(dim, heads, dropout=rate)
        self.linear1 = nn.Linear(dim, hidden)
        self.linear2 = nn.Linear(hidden, dim)
        self.norm1 = nn.LayerNorm(dim)
        self.norm2 = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(rate)

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """(S, B, D) -> (S, B, D)."""
        y = self.norm1(x)
        y = self.self_attn(y + code, y + code, y)[0]
        x = x + self.dropout(y)
        return x + self.feedforward(self.norm2(x))

    def feedforward(self, x: Tensor) -> Tensor:
        x = self.dropout(F.relu(self.linear1(x)))
        return self.dropout(self.linear2(x))


class PlainDecoderLayer(PlainEncoderLayer):
    """Masked self-attention, cross-attention and feed-forward network."""

    def __init__(self, dim: int, heads: int, hidden: int, rate: float) -> None:
        super().__init__(dim, heads, hidden, rate)
        self.multihead_attn = nn.MultiheadAttention(dim, heads, dropout=rate)
        self.norm3 = nn.LayerNorm(dim)

    def forward(self, x: Tensor, memory: Tensor, code: Tensor,
                mask: Tensor) -> Tensor:
        """(L, B, D), memory and code (S, B, D) -> (L, B, D)."""
        y = self.norm1(x)
        x = x + self.dropout(self.self_attn(y, y, y, attn_mask=mask)[0])
        y = self.norm2(x)
        y = self.multihead_attn(y, memory + code, memory)[0]
        x = x + self.dropout(y)
        return x + self.feedforward(self.norm3(x))


class PlainStack(nn.Module):
    """Layers and a final norm."""

    def __init__(self, layer: type, num_layers: int, dim: int, *args:
                 float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            layer(dim, *args) for _ in range(num_layers))
        self.norm = nn.LayerNorm(dim)

    def forward(self, x: Tensor, *args: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x, *args)
        return self.norm(x)


class PlainTransformer(nn.Module):
    """Encoder and decoder."""

    def __init__(self, *args: float) -> None:
        super().__init__()
        self.encoder = PlainStack(PlainEncoderLayer, *args)
        self.decoder = PlainStack(PlainDecoderLayer, *args)


class PlainMixer(nn.Module):
    """Mixer layer of PCT, with turned axes."""

    def __init__(self, tokens: int, dim: int, token_hidden: int) -> None:
        super().__init__()
        self.layernorm1 = nn.LayerNorm(dim)
        self.MLP_token = _mlp(tokens, token_hidden)
        self.layernorm2 = nn.LayerNorm(dim)
        self.MLP_channel = _mlp(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """(B, N, D) -> (B, N, D)."""
        y = self.MLP_token.ff(self.layernorm1(x).transpose(1, 2))
        y = y.transpose(1, 2)
        return x + y + self.MLP_channel.ff(self.layernorm2(x + y))


class PlainModulator(nn.Module):
    """Pose modulator in the order of the authors' code."""

    def __init__(self, token_dim: int, tokens: int, dim: int) -> None:
        super().__init__()
        self.mixers = nn.Sequential(*(PlainMixer(tokens, token_dim, 64)
                                      for _ in range(4)))
        self.start_embed = nn.Linear(token_dim, token_dim)
        self.norm = nn.LayerNorm(token_dim)
        self.token_mlp = nn.Linear(tokens, tokens)
        self.proj = _named(
            ff=nn.Sequential(
                nn.Linear(token_dim + 1, dim), nn.LayerNorm(dim), nn.ReLU()))

    def forward(self, tokens: Tensor, confidence: Tensor) -> Tensor:
        """(B, N, token_dim) and (B, N, 1) -> (B, N, D)."""
        x = self.norm(self.mixers(self.start_embed(tokens)))
        x = self.token_mlp(x.transpose(1, 2)).transpose(1, 2)
        return self.proj.ff(torch.cat([x, confidence], -1))


class PlainMeshHead(nn.Module):
    """PostoMETRO's head of image and pose tokens.

    Args:
        in_channels (int): Channels of the feature map.
        levels (MeshLevels): Of the body.
        num_layers (int): Layers of each encoder and decoder.
        hidden_dims (Sequence[int]): Width of each transformer.
        feedforward_dims (Sequence[int]): Hidden widths.
        num_heads (int): Attention heads.
        dropout (float): Dropout rate.
        num_joints (int): Joint tokens.
        num_tokens (int): Pose tokens.
        token_dim (int): Width of a pose token.
    """

    def __init__(self,
                 in_channels: int,
                 levels: nn.Module,
                 num_layers: int,
                 hidden_dims: Sequence[int],
                 feedforward_dims: Sequence[int],
                 num_heads: int,
                 dropout: float = 0.1,
                 num_joints: int = 14,
                 num_tokens: int = 34,
                 token_dim: int = 512) -> None:
        super().__init__()
        dim = hidden_dims[0]
        num_vertices = levels.sizes[2]
        self.num_joints = num_joints
        self.camera_token = nn.Embedding(1, dim)
        self.joint_tokens = nn.Embedding(num_joints, dim)
        self.vertex_tokens = nn.Embedding(num_vertices, dim)
        self.image_proj = nn.Conv2d(in_channels, dim, 1)
        self.pose_modulator = PlainModulator(token_dim, num_tokens, dim)
        self.transformers = nn.ModuleList(
            PlainTransformer(num_layers, d, num_heads, hidden, dropout)
            for d, hidden in zip(hidden_dims, feedforward_dims))
        self.reductions = nn.ModuleList(
            nn.ModuleDict({
                kind: nn.Linear(wide, narrow)
                for kind in ('camera', 'queries', 'image', 'pose')
            }) for wide, narrow in zip(hidden_dims[:-1], hidden_dims[1:]))
        self.camera_head = nn.Linear(hidden_dims[-1], 3)
        self.coordinate_head = nn.Linear(hidden_dims[-1], 3)
        mask = torch.zeros([num_joints + num_vertices] * 2, dtype=torch.bool)
        mask[num_joints:, num_joints:] = ~levels.adjacency(2)
        self.register_buffer('mask', mask, persistent=False)
        for name, step in (('coarse', (2, 1)), ('intermediate', (1, 0))):
            matrix = torch.tensor(levels.upsample_matrix(*step).toarray())
            self.register_buffer(f'upsample_{name}', matrix, persistent=False)

    def forward(self, feats: Tensor,
                pose_tokens: Sequence[Tensor]) -> MeshPrediction:
        """As :meth:`PostoMETROHead.forward`."""
        images = self.image_proj(feats)
        batch, _, height, width = images.shape
        num_images = height * width
        images = images.flatten(2).permute(2, 0, 1)
        pose = self.pose_modulator(*pose_tokens).transpose(0, 1)
        camera = self.camera_token.weight[:, None].repeat(1, batch, 1)
        queries = torch.cat(
            [self.joint_tokens.weight, self.vertex_tokens.weight])
        queries = queries[:, None].repeat(1, batch, 1)
        for i, transformer in enumerate(self.transformers):
            if i > 0:
                layers = self.reductions[i - 1]
                camera, queries = (layers['camera'](camera),
                                   layers['queries'](queries))
                images, pose = layers['image'](images), layers['pose'](pose)
            tokens = torch.cat([camera, images, pose])
            code = sine_position_code(height, width, tokens.shape[-1],
                                      tokens.device)
            code = code.flatten(1).T[:, None].repeat(1, batch, 1)
            code = torch.cat([
                torch.zeros_like(camera), code,
                torch.zeros_like(pose)
            ])  # yapf: disable
            tokens = transformer.encoder(tokens, code)
            queries = transformer.decoder(queries, tokens[1:], code[1:],
                                          self.mask)
            camera, images, pose = tokens.split((1, num_images, len(pose)))
        points = self.coordinate_head(queries.transpose(0, 1))
        joints, coarse = points.tensor_split((self.num_joints, ), 1)
        intermediate = self.upsample_coarse @ coarse
        fine = self.upsample_intermediate @ intermediate
        return MeshPrediction(
            self.camera_head(camera[0]), joints, (coarse, intermediate, fine))


def _named(**modules: nn.Module) -> nn.ModuleDict:
    return nn.ModuleDict(modules)


def _mlp(channels: int, hidden: int) -> nn.ModuleDict:
    return _named(
        ff=nn.Sequential(
            nn.Linear(channels, hidden), nn.GELU(), nn.Dropout(0.),
            nn.Linear(hidden, channels), nn.Dropout(0.)))
