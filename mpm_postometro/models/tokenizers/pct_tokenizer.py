# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Pose tokenizer of PCT: joints to codes and back."""
from typing import NamedTuple, Optional, Sequence, Tuple, Union

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmpose.registry import MODELS
from mmpose.utils.typing import OptConfigType
from torch import Tensor, nn

from ..layers import MixerLayer, QuantizerOutput, VectorQuantizer, mix_tokens

__all__ = ['PCTTokenizer', 'TokenizerOutput', 'sample_joint_features']

OptFloats = Optional[Union[float, Sequence[float]]]


class TokenizerOutput(NamedTuple):
    """What :class:`PCTTokenizer` returns.

    Attributes:
        joints (Tensor): Reconstructed joints ``(B, K, C)``, in the units of
            the input.
        codes (Tensor): Code of each token, int64 ``(B, N)``.
        latent_loss (Tensor): See :class:`QuantizerOutput`, as the others.
        usage (Tensor, optional): Used fraction of the codebook.
        perplexity (Tensor, optional): Perplexity of the codes.
    """
    joints: Tensor
    codes: Tensor
    latent_loss: Tensor
    usage: Optional[Tensor] = None
    perplexity: Optional[Tensor] = None


@MODELS.register_module()
class PCTTokenizer(BaseModule):
    """Tokenizer of `Human Pose as Compositional Tokens`_ (CVPR 2023, sec.
    3.1): mixer encoder, codebook, mixer decoder.

    - Number of joints: K
    - Coordinates of a joint: C
    - Number of tokens: N
    - Width of a token: D
    - Number of codes: V
    - Channels of the image features: G

    As published, coordinates are pixels of the network's input image and
    enter the network unscaled; it computes in the precision of its weights
    under automatic mixed precision too, since pixels in half precision would
    be off by up to a quarter. A joint that is NaN counts as invisible.
    Parameter names are the published ones, the
    codebook's apart, which are under ``quantizer.``.

    Args:
        num_joints (int): Number of joints. Defaults to 17.
        num_tokens (int): Number of tokens. Defaults to 34.
        num_codes (int): Size of the codebook. Defaults to 2048.
        token_dim (int): Width of a token. Defaults to 512.
        coord_dims (int): Coordinates of a joint. Defaults to 2.
        encoder (dict, optional): What differs from ``num_blocks=4,
            channels=512, token_hidden=64, channel_hidden=512, dropout=0``.
        decoder (dict, optional): What differs from ``num_blocks=1,
            channels=32, token_hidden=64, channel_hidden=64, dropout=0``.
        quantizer (dict, optional): Further arguments of
            :class:`VectorQuantizer`: ``decay``, ``kmeans_iters``,
            ``revive_threshold`` and so on.
        guide_ratio (float): Share of the encoder's channels that comes from
            image features at the joints. Defaults to 0, no image.
        guide_channels (int): Channels of these features. Defaults to 0.
        joint_drop (float): Probability with which a visible joint is hidden
            from the encoder in training. Defaults to 0.2.
        coord_scale (float | Sequence[float], optional): If given, the
            network sees ``(joints - coord_offset) / coord_scale`` and its
            output is scaled back, which short trainings need. One number, or
            one for each coordinate; kept in the state dict. Defaults to
            None.
        coord_offset (float | Sequence[float], optional): See
            ``coord_scale``. Defaults to None, which is 0.
        init_cfg (dict, optional): As in MMEngine. Defaults to None.

    .. _`Human Pose as Compositional Tokens`: https://arxiv.org/abs/2303.11638
    """

    def __init__(self,
                 num_joints: int = 17,
                 num_tokens: int = 34,
                 num_codes: int = 2048,
                 token_dim: int = 512,
                 coord_dims: int = 2,
                 encoder: OptConfigType = None,
                 decoder: OptConfigType = None,
                 quantizer: OptConfigType = None,
                 guide_ratio: float = 0.,
                 guide_channels: int = 0,
                 joint_drop: float = 0.2,
                 coord_scale: OptFloats = None,
                 coord_offset: OptFloats = None,
                 init_cfg: OptConfigType = None) -> None:
        super().__init__(init_cfg)
        if not 0 <= guide_ratio < 1:
            raise ValueError(
                f'guide_ratio should be in [0, 1), but got {guide_ratio}')
        if (guide_ratio > 0) != (guide_channels > 0):
            raise ValueError(
                'guide_ratio and guide_channels should both be positive or '
                f'both 0, but got {guide_ratio} and {guide_channels}')
        self.num_joints = num_joints
        self.num_tokens = num_tokens
        self.num_codes = num_codes
        self.token_dim = token_dim
        self.coord_dims = coord_dims
        self.guide_channels = guide_channels
        self.joint_drop = joint_drop
        self._set_coordinates(coord_scale, coord_offset)

        width, blocks = _mixers(
            num_joints, encoder,
            dict(
                num_blocks=4,
                channels=512,
                token_hidden=64,
                channel_hidden=512))
        guide_width = int(width * guide_ratio)
        if guide_channels > 0:
            self.start_img_embed = nn.Linear(guide_channels, guide_width)
        self.start_embed = nn.Linear(coord_dims, width - guide_width)
        self.invisible_token = nn.Parameter(torch.empty(1, 1, width))
        nn.init.trunc_normal_(self.invisible_token, std=0.02, a=-0.02, b=0.02)
        self.encoder = blocks
        self.encoder_layer_norm = nn.LayerNorm(width)
        self.token_mlp = nn.Linear(num_joints, num_tokens)
        self.feature_embed = nn.Linear(width, token_dim)

        self.quantizer = VectorQuantizer(num_codes, token_dim,
                                         **(quantizer or {}))

        width, blocks = _mixers(
            num_joints, decoder,
            dict(
                num_blocks=1, channels=32, token_hidden=64, channel_hidden=64))
        self.decoder_token_mlp = nn.Linear(num_tokens, num_joints)
        self.decoder_start = nn.Linear(token_dim, width)
        self.decoder = blocks
        self.decoder_layer_norm = nn.LayerNorm(width)
        self.recover_embed = nn.Linear(width, coord_dims)

    def _set_coordinates(self, scale: OptFloats, offset: OptFloats) -> None:
        if scale is None and offset is not None:
            raise ValueError('coord_offset needs coord_scale')
        values = dict(coord_scale=scale, coord_offset=offset)
        for name, value in values.items():
            if scale is None:
                # Absent from the state dict, as it is when published.
                self.register_buffer(name, None)
                continue
            value = torch.as_tensor(
                0. if value is None else value, dtype=torch.float32)
            if value.ndim > 1 or value.numel() not in (1, self.coord_dims):
                raise ValueError(
                    f'{name} should be one number or {self.coord_dims}, but '
                    f'got {value.tolist()}')
            self.register_buffer(name, value.expand(self.coord_dims).clone())
        if scale is not None and not bool((self.coord_scale > 0).all()):
            raise ValueError(f'coord_scale should be positive, got {scale}')

    @property
    def codebook(self) -> Tensor:
        """Tensor: The codes' vectors ``(V, D)``."""
        return self.quantizer.codebook

    def forward(self,
                joints: Tensor,
                visible: Optional[Tensor] = None,
                img_feats: Optional[Tensor] = None) -> TokenizerOutput:
        """Encode, quantise and decode. Arguments as for :meth:`encode`."""
        encoded = self.encode(joints, visible, img_feats)
        return TokenizerOutput(
            self.decode(encoded.quantized), encoded.codes, encoded.latent_loss,
            encoded.usage, encoded.perplexity)

    def encode(self,
               joints: Tensor,
               visible: Optional[Tensor] = None,
               img_feats: Optional[Tensor] = None) -> QuantizerOutput:
        """Turn joints into tokens. In training mode this hides joints at
        random and moves the codebook.

        Args:
            joints (Tensor): Joints ``(B, K, C)``, in pixels of the network's
                input.
            visible (Tensor, optional): ``(B, K)``; joints with 0 are
                replaced by the invisible token. Defaults to None, all
                visible.
            img_feats (Tensor, optional): Image features at the joints
                ``(B, K, G)``, see :func:`sample_joint_features`; needed
                where the tokenizer is guided. Defaults to None.

        Returns:
            QuantizerOutput: With ``codes (B, N)`` and ``quantized
            (B, N, D)``.

        Raises:
            ValueError: If a shape does not fit, or image features are
                missing or given in vain.
        """
        with torch.autocast(joints.device.type, enabled=False):
            mixed = self._encode(joints, visible, img_feats)
            if self.num_tokens <= self.num_joints:
                return self.quantizer(mix_tokens(*mixed))
            return self.quantizer(mix_tokens(*mixed), mixed)

    def encode_latents(self,
                       joints: Tensor,
                       visible: Optional[Tensor] = None,
                       img_feats: Optional[Tensor] = None) -> Tensor:
        """As :meth:`encode`, but returns the encoder's output ``(B, N, D)``
        before it is quantised."""
        with torch.autocast(joints.device.type, enabled=False):
            return mix_tokens(*self._encode(joints, visible, img_feats))

    def _encode(self, joints: Tensor, visible: Optional[Tensor],
                img_feats: Optional[Tensor]) -> Tuple[Tensor, Tensor, Tensor]:
        """The encoder's output as arguments of :func:`mix_tokens`."""
        self._check_inputs(joints, visible, img_feats)
        dtype = self.start_embed.weight.dtype
        joints = joints.to(dtype)
        # One joint that is NaN would spoil the codebook for good.
        seen = joints.isfinite().all(-1)
        if visible is not None:
            seen = seen & (visible > 0)
        if self.training and self.joint_drop > 0:
            drawn = torch.rand(seen.shape, device=seen.device)
            seen = seen & (drawn >= self.joint_drop)
        joints = joints.masked_fill(~seen[..., None], 0.)

        if self.coord_scale is not None:
            joints = (joints - self.coord_offset) / self.coord_scale
        x = self.start_embed(joints)
        if img_feats is not None:
            img_feats = self.start_img_embed(img_feats.to(dtype))
            x = torch.cat([x, img_feats], dim=-1)
        x = torch.where(seen[..., None], x, self.invisible_token.to(x.dtype))

        x = self.encoder_layer_norm(self.encoder(x))  # (B, K, W)
        # As published, ``feature_embed(token_mlp(x))``: both are linear, and
        # the wide layer costs less on K joints than on N tokens.
        mix, embed = self.token_mlp, self.feature_embed
        bias = torch.addmm(embed.bias, mix.bias[:, None],
                           embed.weight.sum(1)[None])  # (N, D)
        return F.linear(x, embed.weight), mix.weight, bias

    def decode(self, tokens: Tensor) -> Tensor:
        """Turn tokens into joints.

        Args:
            tokens (Tensor): Codes ``(B, N)`` of an integer type, or features
                ``(B, N, D)``: codebook vectors, or their mean under a
                classifier's probabilities.

        Returns:
            Tensor: Joints ``(B, K, C)``, in pixels of the network's input.

        Raises:
            ValueError: If the shape does not fit or a code is not in
                ``[0, V)``.
        """
        if not tokens.is_floating_point():
            tokens = self._look_up(tokens)
        expected = (self.num_tokens, self.token_dim)
        if tokens.ndim != 3 or tokens.shape[1:] != expected:
            raise ValueError(f'expected token features (B, {expected[0]}, '
                             f'{expected[1]}), but got {tuple(tokens.shape)}')
        mix = self.decoder_token_mlp
        with torch.autocast(tokens.device.type, enabled=False):
            tokens = tokens.to(mix.weight.dtype)
            x = mix_tokens(tokens, mix.weight, mix.bias)  # (B, K, D)
            x = self.decoder(self.decoder_start(x))
            joints = self.recover_embed(self.decoder_layer_norm(x))
            if self.coord_scale is not None:
                joints = joints * self.coord_scale + self.coord_offset
        return joints

    def _look_up(self, codes: Tensor) -> Tensor:
        if codes.ndim != 2 or codes.shape[1] != self.num_tokens:
            raise ValueError(f'expected codes (B, {self.num_tokens}), but '
                             f'got {tuple(codes.shape)}')
        if codes.numel() and (codes.min() < 0
                              or codes.max() >= self.num_codes):
            raise ValueError(
                f'codes should be in [0, {self.num_codes}), but got '
                f'{int(codes.min())} to {int(codes.max())}')
        return self.quantizer.lookup(codes.long())

    def _check_inputs(self, joints: Tensor, visible: Optional[Tensor],
                      img_feats: Optional[Tensor]) -> None:
        expected = (self.num_joints, self.coord_dims)
        if joints.ndim != 3 or joints.shape[1:] != expected:
            raise ValueError(
                f'expected joints (B, {expected[0]}, {expected[1]}), but got '
                f'{tuple(joints.shape)}')
        if visible is not None and visible.shape != joints.shape[:2]:
            raise ValueError(
                f'expected visible {tuple(joints.shape[:2])}, one flag for '
                f'each joint, but got {tuple(visible.shape)}')
        if (img_feats is not None) != (self.guide_channels > 0):
            raise ValueError(
                'this tokenizer is guided by image features: img_feats is '
                'needed' if img_feats is None else
                'this tokenizer is not guided, but img_feats is given')
        if img_feats is not None:
            expected = (*joints.shape[:2], self.guide_channels)
            if img_feats.shape != expected:
                raise ValueError(f'expected img_feats {expected}, but got '
                                 f'{tuple(img_feats.shape)}')


def _mixers(num_joints: int, cfg: OptConfigType,
            defaults: dict) -> Tuple[int, nn.Sequential]:
    """Width and mixer layers, from defaults and what ``cfg`` changes."""
    cfg = {**defaults, **(cfg or {})}
    num_blocks = cfg.pop('num_blocks')
    cfg['recompute'] = not cfg.get('dropout')
    return cfg['channels'], nn.Sequential(*(MixerLayer(num_joints, **cfg)
                                            for _ in range(num_blocks)))


def sample_joint_features(feature_map: Tensor, joints: Tensor,
                          image_size: Tuple[int, int]) -> Tensor:
    """Read image features in the cell nearest to each joint.

    As PCT does it, without interpolation: cell ``int(x / stride + 0.5)``,
    clamped to the map.

    Args:
        feature_map (Tensor): ``(B, G, h, w)``.
        joints (Tensor): Pixels of the image ``(B, K, >=2)``, x first.
        image_size (tuple[int, int]): Width and height of the image that
            the map was computed from, in pixels.

    Returns:
        Tensor: Features ``(B, K, G)``.
    """
    height, width = feature_map.shape[-2:]
    stride_x, stride_y = image_size[0] / width, image_size[1] / height
    joints = joints.nan_to_num()  # unlabelled ones
    x = (joints[..., 0] / stride_x + 0.5).long().clamp(0, width - 1)
    y = (joints[..., 1] / stride_y + 0.5).long().clamp(0, height - 1)
    index = (y * width + x)[:, None].expand(-1, feature_map.shape[1], -1)
    return feature_map.flatten(2).gather(2, index).transpose(1, 2)
