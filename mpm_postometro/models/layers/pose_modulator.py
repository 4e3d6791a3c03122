# Copyright (c) The mpm_postometro authors. All rights reserved.
"""From tokens of the pose classifier to tokens of the mesh transformer."""
from typing import Optional

import torch
from torch import Tensor, nn

from .linear_layer import Linear
from .mixer import FCBlock, MixerLayer
from .token_mixing import mix_tokens

__all__ = ['PoseModulator']


class PoseModulator(nn.Module):
    """Pose modulator of PostoMETRO (sec. 3.1).

    Paper and released code differ in where the confidence comes in:

    - ``order='code'``: linear, mixer layers, LayerNorm, linear over the token
      axis; *then* the confidence is appended and a linear layer with
      LayerNorm and ReLU follows.
    - ``order='paper'``: the confidence is appended to the tokens *first*;
      mixer layers of that width and a linear layer with LayerNorm and ReLU
      follow.

    Args:
        token_dim (int): Width of a pose token.
        num_tokens (int): Number ``N`` of pose tokens.
        out_channels (int): Width ``D`` of the mesh transformer.
        kind (str): ``'mixer'``, or ``'linear'`` for one linear layer on token
            and confidence (ablation of the paper). Defaults to ``'mixer'``.
        order (str): ``'code'`` or ``'paper'``. Defaults to ``'code'``.
        num_blocks (int): Number of mixer layers. Defaults to 4.
        hidden_dim (int, optional): Width inside, in code order; None means
            ``token_dim``.
        token_hidden_dim (int): Hidden width over the token axis of the mixer
            layers. Defaults to 64.
        channel_hidden_dim (int, optional): Hidden width over the channels of
            the mixer layers; None means ``hidden_dim``.
        dropout (float): Dropout rate inside the mixer layers. Defaults to 0.

    Raises:
        ValueError: For an unknown ``kind`` or ``order``.
    """

    def __init__(self,
                 token_dim: int,
                 num_tokens: int,
                 out_channels: int,
                 kind: str = 'mixer',
                 order: str = 'code',
                 num_blocks: int = 4,
                 hidden_dim: Optional[int] = None,
                 token_hidden_dim: int = 64,
                 channel_hidden_dim: Optional[int] = None,
                 dropout: float = 0.) -> None:
        super().__init__()
        if kind not in ('mixer', 'linear'):
            raise ValueError('kind of pose modulator must be "mixer" or '
                             f'"linear", got {kind!r}')
        if order not in ('code', 'paper'):
            raise ValueError('order of pose modulator must be "code" or '
                             f'"paper", got {order!r}')
        self.kind = kind
        self.order = order
        if kind == 'linear':
            self.proj = Linear(token_dim + 1, out_channels)
            return
        hidden_dim = hidden_dim or token_dim
        if order == 'paper':
            hidden_dim = token_dim + 1
        self.mixers = nn.Sequential(*[
            MixerLayer(num_tokens, hidden_dim, token_hidden_dim,
                       channel_hidden_dim or hidden_dim, dropout)
            for _ in range(num_blocks)
        ])
        if order == 'paper':
            self.proj = FCBlock(hidden_dim, out_channels)
        else:
            self.start_embed = Linear(token_dim, hidden_dim)
            self.norm = nn.LayerNorm(hidden_dim)
            self.token_mlp = Linear(num_tokens, num_tokens)
            self.proj = FCBlock(hidden_dim + 1, out_channels)

    def forward(self, tokens: Tensor, confidence: Tensor) -> Tensor:
        """Modulate.

        Args:
            tokens (Tensor): Pose tokens (B, N, token_dim).
            confidence (Tensor): Largest raw logit of each token (B, N, 1).

        Returns:
            Tensor: (B, N, D).
        """
        if self.kind == 'linear':
            return self.proj(torch.cat([tokens, confidence], -1))
        if self.order == 'paper':
            return self.proj(self.mixers(torch.cat([tokens, confidence], -1)))
        x = self.norm(self.mixers(self.start_embed(tokens)))
        x = mix_tokens(x, self.token_mlp.weight, self.token_mlp.bias)
        return self.proj(torch.cat([x, confidence.to(x)], -1))
