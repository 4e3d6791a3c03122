# Copyright (c) The mpm_postometro authors. All rights reserved.
"""MLP-Mixer block and fully connected block of PCT.

The sub-module names (``layernorm1``, ``MLP_token.ff.0`` ...) are those of the
published PCT and PostoMETRO checkpoints, so that released weights load
without renaming.
"""
from torch import Tensor, nn

from .linear_layer import Linear
from .token_mixing import mix_tokens, normed_channel_mlp, normed_token_mlp

__all__ = ['FCBlock', 'MixerLayer', 'MixerMLP']


class FCBlock(nn.Module):
    """Linear layer, layer normalisation and ReLU.

    Args:
        in_channels (int): Width of the input.
        out_channels (int): Width of the output.
    """

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.ff = nn.Sequential(
            Linear(in_channels, out_channels), nn.LayerNorm(out_channels),
            nn.ReLU(inplace=True))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., in_channels)`` to ``(..., out_channels)``."""
        return self.ff(x)


class MixerMLP(nn.Module):
    """Two linear layers with an exact GELU between them.

    Args:
        channels (int): Width of input and output.
        hidden (int): Width between the two layers.
        dropout (float): Dropout rate after each layer. Defaults to 0.
    """

    def __init__(self,
                 channels: int,
                 hidden: int,
                 dropout: float = 0.) -> None:
        super().__init__()
        self.ff = nn.Sequential(
            Linear(channels, hidden), nn.GELU(), nn.Dropout(dropout),
            Linear(hidden, channels), nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., channels)`` to ``(..., channels)``."""
        return self.ff(x)


class MixerLayer(nn.Module):
    """MLP-Mixer block as in PCT (sec. 3.1 of "Human Pose as Compositional
    Tokens", CVPR 2023).

    With ``y = token_mlp(norm1(x)^T)^T`` the output is
    ``x + y + channel_mlp(norm2(x + y))``.

    Args:
        num_tokens (int): Number ``N`` of tokens.
        channels (int): Width ``D`` of a token.
        token_hidden (int): Hidden width of the MLP over the token axis.
        channel_hidden (int): Hidden width of the MLP over the channels.
        dropout (float): Dropout rate inside both MLPs. Defaults to 0.
        recompute (bool): Save memory in training, see
            :func:`normed_token_mlp`; for full precision without dropout.
            Defaults to False.

    Raises:
        ValueError: If ``recompute`` comes with dropout.
    """

    def __init__(self,
                 num_tokens: int,
                 channels: int,
                 token_hidden: int,
                 channel_hidden: int,
                 dropout: float = 0.,
                 recompute: bool = False) -> None:
        super().__init__()
        if recompute and dropout:
            raise ValueError('a layer with dropout cannot recompute')
        self.recompute = recompute
        self.layernorm1 = nn.LayerNorm(channels)
        self.MLP_token = MixerMLP(num_tokens, token_hidden, dropout)
        self.layernorm2 = nn.LayerNorm(channels)
        self.MLP_channel = MixerMLP(channels, channel_hidden, dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Mix tokens, then channels.

        Args:
            x (Tensor): Tokens shaped ``(B, N, D)``.

        Returns:
            Tensor: Tokens shaped ``(B, N, D)``.
        """
        if self.recompute:
            x = x + normed_token_mlp(
                x, *_tensors(self.layernorm1, self.MLP_token))
            return x + normed_channel_mlp(
                x, *_tensors(self.layernorm2, self.MLP_channel))
        x = x + self._mix_tokens(self.layernorm1(x))
        return x + self.MLP_channel(self.layernorm2(x))

    def _mix_tokens(self, x: Tensor) -> Tensor:
        up, gelu, drop, down, drop_out = self.MLP_token.ff
        x = drop(gelu(mix_tokens(x, up.weight, up.bias)))
        return drop_out(mix_tokens(x, down.weight, down.bias))


def _tensors(norm: nn.LayerNorm, mlp: MixerMLP) -> tuple:
    """What :func:`normed_token_mlp` takes beside the tokens."""
    up, down = mlp.ff[0], mlp.ff[3]
    return (norm.weight, norm.bias, norm.eps, up.weight, up.bias, down.weight,
            down.bias)
