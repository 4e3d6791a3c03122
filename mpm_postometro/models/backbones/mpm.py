# Copyright (c) The mpm_postometro authors. All rights reserved.
"""The network of MPM: one representation of 2D and 3D pose sequences."""
from typing import Optional, Sequence

import torch
import torch.nn.functional as F
from mmengine.model import BaseModule
from mmpose.registry import MODELS
from mmpose.utils.typing import OptMultiConfig
from torch import Tensor, nn

from ..layers import EncoderLayer, FrameBlock, UnbiasedLayerNorm

__all__ = ['MPM', 'visible_frames']

COORD_DIMS = {'2d': 2, '3d': 3}
# What a network without masking, or with one modality, does without.
_OF_OTHER_STAGES = ('encoders.', 'joint_tokens.', 'norm.', 'frame_token',
                    'second_position')


def visible_frames(frame_mask: Tensor) -> Tensor:
    """Indices of the frames that are not hidden.

    Args:
        frame_mask (Tensor): (B, T) bool, True = hidden. On a GPU this waits
            for the device.

    Returns:
        Tensor: (B, T - hidden) int64, ascending in each clip.

    Raises:
        ValueError: If clips have different numbers of hidden frames, or no
            visible one.
    """
    hidden = frame_mask.sum(1)
    num_hidden = int(hidden[0])
    if (hidden != num_hidden).any():
        raise ValueError('all clips of a batch should have the same number '
                         f'of hidden frames, but got {hidden.tolist()}')
    num_visible = frame_mask.shape[1] - num_hidden
    if num_visible == 0:
        raise ValueError(f'all {num_hidden} frames are hidden')
    return frame_mask.byte().argsort(dim=1, stable=True)[:, :num_visible]


@MODELS.register_module()
class MPM(BaseModule):
    """Backbone of `MPM: A Unified 2D-3D Human Pose Representation via Masked
    Pose Modeling`_.

    Each modality has its own first layer; all behind it is shared. A
    residual block sees every frame for itself, transformer layers see the
    clip. With ``masking``, hidden joints are replaced by a learnt token
    before the first layer, and hidden frames take part neither there nor in
    the transformer: behind it a learnt token stands for them, and a second
    position embedding is added. What is hidden influences nothing. (The
    published code sends hidden frames through the per-frame layers, so that
    its BatchNorm statistics in training include them.)

    - Batch size: B
    - Frames: T; visible ones: V
    - Joints: J
    - Coordinates of a joint: d, 2 or 3
    - Channels: C

    Args:
        num_frames (int): Length ``T`` of a clip. Defaults to 243.
        num_joints (int): Defaults to 17.
        channels (int): Defaults to 256.
        hidden_channels (int): Channels of the per-frame layers. Defaults to
            512.
        feedforward_channels (int): Hidden channels of the transformer's
            feed-forward networks. Defaults to 512.
        num_layers (int): Transformer layers. Defaults to 4, as published for
            Human3.6M alone; 3 for several data sets.
        num_heads (int): Attention heads. Defaults to 8.
        dropout (float): Dropout rate of the transformer. Defaults to 0.1.
        attention_dropout (float, optional): Dropout rate of the attention
            weights; None means ``dropout``. Training on CPUs is a little
            quicker with 0.
        frame_dropout (float): Dropout rate of the per-frame layers. Defaults
            to 0.1; published for lifting is 0.2.
        modalities (Sequence[str]): '2d', '3d' or both. Defaults to both.
        masking (bool): False for lifting whole sequences: no tokens, second
            position embedding and norm. Defaults to True.
        init_cfg (dict, optional): As in MMEngine. To start from a
            pre-training: ``dict(type='Pretrained', checkpoint=...,
            prefix='backbone.')``.

    Raises:
        ValueError: If ``modalities`` names something else; on loading, if a
            checkpoint is of another length or other sizes.

    .. _`MPM: A Unified 2D-3D Human Pose Representation via Masked Pose
        Modeling`: https://arxiv.org/abs/2306.17201
    """

    def __init__(self,
                 num_frames: int = 243,
                 num_joints: int = 17,
                 channels: int = 256,
                 hidden_channels: int = 512,
                 feedforward_channels: int = 512,
                 num_layers: int = 4,
                 num_heads: int = 8,
                 dropout: float = 0.1,
                 attention_dropout: Optional[float] = None,
                 frame_dropout: float = 0.1,
                 modalities: Sequence[str] = ('2d', '3d'),
                 masking: bool = True,
                 init_cfg: OptMultiConfig = None) -> None:
        super().__init__(init_cfg)
        if not modalities or set(modalities) - set(COORD_DIMS):
            raise ValueError(f'modalities should be some of '
                             f'{tuple(COORD_DIMS)}, but got {modalities}')
        if attention_dropout is None:
            attention_dropout = dropout
        self.num_frames = num_frames
        self.num_joints = num_joints
        self.channels = channels
        self.modalities = tuple(modalities)
        self.masking = masking
        self.encoders = nn.ModuleDict({
            name:
            FrameBlock(num_joints * COORD_DIMS[name], hidden_channels,
                       frame_dropout)
            for name in modalities
        })
        self.residual = nn.Sequential(
            FrameBlock(hidden_channels, hidden_channels, frame_dropout),
            FrameBlock(hidden_channels, hidden_channels, frame_dropout))
        self.projection = nn.Linear(hidden_channels, channels)
        self.position = nn.Parameter(torch.randn(1, num_frames, channels))
        self.layers = nn.ModuleList(
            EncoderLayer(channels, num_heads, feedforward_channels, dropout,
                         attention_dropout, UnbiasedLayerNorm)
            for _ in range(num_layers))
        if masking:
            self.joint_tokens = nn.ParameterDict({
                name:
                nn.Parameter(torch.randn(COORD_DIMS[name]))
                for name in modalities
            })
            self.norm = UnbiasedLayerNorm(channels)
            self.frame_token = nn.Parameter(torch.randn(1, 1, channels))
            self.second_position = nn.Parameter(
                torch.randn(1, num_frames, channels))

    def forward(self,
                poses: Tensor,
                modality: str,
                joint_mask: Optional[Tensor] = None,
                visible: Optional[Tensor] = None) -> Tensor:
        """Compute the features of clips.

        Args:
            poses (Tensor): (B, T, J, d), see :class:`PackPoseSequence` for
                units. Hidden values may be anything, NaN too.
            modality (str): '2d' or '3d'.
            joint_mask (Tensor, optional): (B, T, J) bool, True = hidden.
            visible (Tensor, optional): (B, V) int64, the frames that are not
                hidden, ascending, see :func:`visible_frames`. None: all.

        Returns:
            Tensor: (B, T, C).

        Raises:
            ValueError: If the shape is another, or something is hidden
                without ``masking``.
        """
        batch, frames = poses.shape[:2]
        expected = (self.num_frames, self.num_joints, COORD_DIMS[modality])
        if poses.shape[1:] != expected:
            raise ValueError(f'expected {modality} poses (B, {expected[0]}, '
                             f'{expected[1]}, {expected[2]}), but got '
                             f'{tuple(poses.shape)}')
        if not self.masking and (joint_mask is not None
                                 or visible is not None):
            raise ValueError('MPM was built with masking=False, but joints '
                             'or frames are hidden')
        if self.masking and self.training:
            # Tokens without a gradient would stop distributed training.
            if joint_mask is None:
                joint_mask = poses.new_zeros(poses.shape[:3], dtype=torch.bool)
            if visible is None:
                visible = torch.arange(frames, device=poses.device)
                visible = visible.expand(batch, -1)
        position = self.position
        if visible is not None:
            poses = poses.take_along_dim(visible[..., None, None], 1)
            position = F.embedding(visible, position[0])
            if joint_mask is not None:
                joint_mask = joint_mask.take_along_dim(visible[..., None], 1)
        if joint_mask is not None:
            poses = torch.where(joint_mask[..., None],
                                self.joint_tokens[modality].to(poses), poses)
        x = self._encode_frames(poses, modality) + position  # (B, V, C)
        for layer in self.layers:
            x = layer(x)
        if not self.masking:
            return x
        x = self.norm(x)
        if visible is not None:
            x = self.frame_token.to(x).expand(batch, frames, -1).scatter(
                1, visible[..., None].expand_as(x), x)
        return x + self.second_position

    def _encode_frames(self, poses: Tensor, modality: str) -> Tensor:
        """(B, V, J, d) -> (B, V, C)."""
        rows = poses.flatten(2).flatten(0, 1)
        # Half precision would round coordinates to pixels and millimetres.
        with torch.autocast(rows.device.type, enabled=False):
            rows = self.encoders[modality](rows.to(self.position.dtype))
        rows = self.projection(rows + self.residual(rows))
        return rows.unflatten(0, poses.shape[:2])

    def _load_from_state_dict(self, state_dict, prefix, *args) -> None:
        """Refuse other sizes, which MMEngine would leave random with no more
        than a warning, and leave out what belongs to another stage."""
        found = {
            key[len(prefix):]: value.shape
            for key, value in state_dict.items() if key.startswith(prefix)
        }
        own = {key: value.shape for key, value in self.state_dict().items()}
        if 'position' in found and found['position'] != own['position']:
            raise ValueError(
                f"the checkpoint is of clips of {found['position'][1]} frames "
                f"and {found['position'][2]} channels, but MPM was built with "
                f'num_frames={self.num_frames} and channels={self.channels}')
        missing = sorted(own.keys() - found.keys())
        other = sorted(key for key in own.keys() & found.keys()
                       if own[key] != found[key])
        if found and (missing or other):
            raise ValueError(
                'the checkpoint is of another MPM: it lacks '
                f'{missing or "nothing"}, and of another shape is '
                f'{other or "nothing"}')
        for key in found.keys() - own.keys():
            if key.startswith(_OF_OTHER_STAGES):
                del state_dict[prefix + key]
        super()._load_from_state_dict(state_dict, prefix, *args)
