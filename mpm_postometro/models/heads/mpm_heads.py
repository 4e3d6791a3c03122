# Copyright (c) The mpm_postometro authors. All rights reserved.
"""From the features of MPM to poses.

- Batch size: B
- Frames: T
- Joints: J
- Coordinates of a joint: d
- Channels: C
"""
from typing import NamedTuple, Optional, Sequence

import torch
from mmengine.model import BaseModule
from mmpose.registry import MODELS
from mmpose.utils.typing import OptMultiConfig
from torch import Tensor, nn

from mpm_postometro.bodies.cameras import back_project
from ..layers import (PUBLISHED_STRIDES, EncoderLayer, NormedLinear,
                      StridedTransformer, UnbiasedLayerNorm)

__all__ = [
    'MPMDecoderHead', 'MPMLiftingHead', 'MPMRefiner', 'SequencePoses',
    'TargetPoseHead'
]


class SequencePoses(NamedTuple):
    """Poses of clips, float32.

    Attributes:
        frames (Tensor, optional): (B, T, J, d), every frame.
        target (Tensor, optional): (B, J, d), where the target frame has a
            prediction of its own.
    """
    frames: Optional[Tensor] = None
    target: Optional[Tensor] = None


@MODELS.register_module()
class MPMDecoderHead(BaseModule):
    """Decoder of masked pose modelling and completion: transformer layers,
    BatchNorm and a linear layer for every frame.

    Args:
        coord_dims (int): Coordinates ``d`` of a joint, 2 or 3.
        num_joints (int): Defaults to 17.
        channels (int): Channels of the backbone. Defaults to 256.
        feedforward_channels (int): Hidden channels of the feed-forward
            networks. Defaults to 512.
        num_layers (int): 1 as published for pre-training, 2 for completion.
            Defaults to 1.
        num_heads (int): Attention heads. Defaults to 8.
        dropout (float): Dropout rate. Defaults to 0.1.
        attention_dropout (float, optional): As in :class:`MPM`.
        init_cfg (dict, optional): As in MMEngine.
    """

    predicts = ('frames', )

    def __init__(self,
                 coord_dims: int,
                 num_joints: int = 17,
                 channels: int = 256,
                 feedforward_channels: int = 512,
                 num_layers: int = 1,
                 num_heads: int = 8,
                 dropout: float = 0.1,
                 attention_dropout: Optional[float] = None,
                 init_cfg: OptMultiConfig = None) -> None:
        super().__init__(init_cfg)
        if attention_dropout is None:
            attention_dropout = dropout
        self.joint_shape = (num_joints, coord_dims)
        self.layers = nn.ModuleList(
            EncoderLayer(channels, num_heads, feedforward_channels, dropout,
                         attention_dropout, UnbiasedLayerNorm)
            for _ in range(num_layers))
        self.output = NormedLinear(channels, num_joints * coord_dims)

    def forward(self, feats: Tensor) -> SequencePoses:
        """(B, T, C) -> poses of all frames."""
        for layer in self.layers:
            feats = layer(feats)
        return SequencePoses(
            self.output(feats).unflatten(-1, self.joint_shape))


@MODELS.register_module()
class MPMLiftingHead(BaseModule):
    """Lifting: 3D poses of all frames, and that of the target frame by a
    strided transformer over the clip.

    Args:
        num_frames (int): Length of a clip. Defaults to 243.
        strides (Sequence[int], optional): Strides with the product
            ``num_frames``. Defaults to the published ones, see
            ``PUBLISHED_STRIDES``.
        num_joints (int): Defaults to 17.
        channels (int): Channels of the backbone. Defaults to 256.
        feedforward_channels (int): Hidden channels of the feed-forward
            networks. Defaults to 512.
        num_heads (int): Attention heads. Defaults to 8.
        dropout (float): Dropout rate. Defaults to 0.1.
        attention_dropout (float, optional): As in :class:`MPM`.
        init_cfg (dict, optional): As in MMEngine.
    """

    predicts = ('frames', 'target')

    def __init__(self,
                 num_frames: int = 243,
                 strides: Optional[Sequence[int]] = None,
                 num_joints: int = 17,
                 channels: int = 256,
                 feedforward_channels: int = 512,
                 num_heads: int = 8,
                 dropout: float = 0.1,
                 attention_dropout: Optional[float] = None,
                 init_cfg: OptMultiConfig = None) -> None:
        super().__init__(init_cfg)
        self.joint_shape = (num_joints, 3)
        if strides is None:
            if num_frames not in PUBLISHED_STRIDES:
                raise ValueError(
                    f'strides with the product {num_frames} are wanted: they '
                    f'are known for {sorted(PUBLISHED_STRIDES)} frames only')
            strides = PUBLISHED_STRIDES[num_frames]
        self.frame_output = NormedLinear(channels, num_joints * 3)
        self.aggregator = StridedTransformer(num_frames, strides, channels,
                                             num_heads, feedforward_channels,
                                             dropout, attention_dropout)
        self.target_output = NormedLinear(channels, num_joints * 3)

    def forward(self, feats: Tensor) -> SequencePoses:
        """(B, T, C) -> poses of all frames and of the target frame."""
        frames = self.frame_output(feats)
        target = self.target_output(self.aggregator(feats))
        return SequencePoses(
            frames.unflatten(-1, self.joint_shape),
            target.unflatten(-1, self.joint_shape))


@MODELS.register_module()
class TargetPoseHead(BaseModule):
    """A linear layer from the feature of a clip to the pose of its target
    frame, as behind :class:`ClipTCN`.

    Args:
        channels (int): Of the feature.
        num_joints (int): Defaults to 17.
        init_cfg (dict, optional): As in MMEngine.
    """

    predicts = ('target', )

    def __init__(self,
                 channels: int,
                 num_joints: int = 17,
                 init_cfg: OptMultiConfig = None) -> None:
        super().__init__(init_cfg)
        self.joint_shape = (num_joints, 3)
        self.output = nn.Linear(channels, num_joints * 3)

    def forward(self, feats: Tensor) -> SequencePoses:
        """(B, C) -> the pose of the target frame."""
        return SequencePoses(
            target=self.output(feats).unflatten(-1, self.joint_shape))


@MODELS.register_module()
class MPMRefiner(BaseModule):
    """Optional last step of lifting: mixes the pose with a second estimate
    from the 2D joints, the predicted depths and the camera.

    A network sees both and says for each joint how to mix their x and their
    y; z stays. The second estimate needs the camera's intrinsics and the
    true depth of the root, in training and in use.

    Args:
        num_joints (int): Defaults to 17.
        hidden_channels (int): Defaults to 1024.
        dropout (float): Dropout rate. Defaults to 0.5.
        init_cfg (dict, optional): As in MMEngine.
    """

    def __init__(self,
                 num_joints: int = 17,
                 hidden_channels: int = 1024,
                 dropout: float = 0.5,
                 init_cfg: OptMultiConfig = None) -> None:
        super().__init__(init_cfg)
        self.gates = nn.Sequential(
            nn.Linear(6 * num_joints, hidden_channels), nn.ReLU(),
            nn.Dropout(dropout), nn.Linear(hidden_channels, 2 * num_joints),
            nn.Sigmoid())

    def forward(self, pose: Tensor, second: Tensor) -> Tensor:
        """Mix two estimates.

        Args:
            pose (Tensor): Lifted pose (B, J, 3), metres, root-relative.
            second (Tensor): The other estimate, see
                :meth:`second_estimate`.

        Returns:
            Tensor: (B, J, 3).
        """
        with torch.autocast(pose.device.type, enabled=False):
            both = torch.cat([pose, second], -1).float()
            gates = self.gates(both.flatten(1)).view(*pose.shape[:2], 2)
            xy = second[..., :2].lerp(pose[..., :2], gates)
            return torch.cat([xy, pose[..., 2:]], -1)

    @staticmethod
    def second_estimate(pose: Tensor, keypoints_2d: Tensor, camera: Tensor,
                        root_depth: Tensor) -> Tensor:
        """Back-project the 2D joints with the depths of a pose.

        Args:
            pose (Tensor): Lifted pose (B, J, 3), metres, root-relative.
            keypoints_2d (Tensor): (B, J, 2), in the camera's units.
            camera (Tensor): (B, 9), see :func:`back_project`.
            root_depth (Tensor): (B,), z of the root in the camera frame,
                metres.

        Returns:
            Tensor: (B, J, 3), metres, relative to joint 0.
        """
        depth = pose[..., 2] + root_depth[:, None]
        # the root's depth is known, not predicted
        depth = torch.cat([root_depth[:, None], depth[:, 1:]], 1)
        points = back_project(keypoints_2d, depth, camera)
        return points - points[:, :1]
