# Copyright (c) The mpm_postometro authors. All rights reserved.
"""MMPose's temporal convolutions on the clips of MPM, to compare with."""
from typing import Optional, Sequence

from mmengine.model import BaseModule
from mmpose.registry import MODELS
from mmpose.utils.typing import OptMultiConfig
from torch import Tensor

__all__ = ['ClipTCN']


@MODELS.register_module()
class ClipTCN(BaseModule):
    """VideoPose3D's network, ``TCN`` of MMPose, in the place of :class:`MPM`.

    It sees 2D poses, all of every frame, and gives one feature for a clip.
    :class:`TargetPoseHead` belongs behind it.

    Args:
        num_joints (int): Defaults to 17.
        kernel_sizes (Sequence[int]): Frames that one layer joins; their
            product is the length of a clip. Defaults to (3, 3, 3), 27 frames.
        **kwargs: See :class:`mmpose.models.backbones.TCN`.

    .. _VideoPose3D: https://arxiv.org/abs/1811.11742
    """

    modalities = ('2d', )

    def __init__(self,
                 num_joints: int = 17,
                 kernel_sizes: Sequence[int] = (3, 3, 3),
                 init_cfg: OptMultiConfig = None,
                 **kwargs) -> None:
        super().__init__(init_cfg)
        self.tcn = MODELS.build(
            dict(
                type='TCN',
                in_channels=2 * num_joints,
                num_blocks=len(kernel_sizes) - 1,
                kernel_sizes=tuple(kernel_sizes),
                use_stride_conv=True,
                **kwargs))

    def forward(self,
                poses: Tensor,
                modality: str,
                joint_mask: Optional[Tensor] = None,
                visible: Optional[Tensor] = None) -> Tensor:
        """Compute the features of clips.

        Args:
            poses (Tensor): (B, T, J, 2).
            modality (str): '2d'.
            joint_mask, visible (Tensor, optional): None; as in :class:`MPM`.

        Returns:
            Tensor: (B, C).

        Raises:
            ValueError: If something is hidden, or T is another.
        """
        if joint_mask is not None or visible is not None:
            raise ValueError('ClipTCN cannot hide joints or frames')
        feats = self.tcn(poses.flatten(2).transpose(1, 2))[-1]  # (B, C, 1)
        if feats.shape[-1] != 1:
            raise ValueError(
                f'kernel_sizes {self.tcn.kernel_sizes} do not make one frame '
                f'of {poses.shape[1]}, but {feats.shape[-1]}')
        return feats[..., 0]
