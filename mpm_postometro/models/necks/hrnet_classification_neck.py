# Copyright (c) The mpm_postometro authors. All rights reserved.
"""One coarse map from the maps of HRNet, as its classifier makes it."""
from typing import Sequence, Tuple

from mmengine.model import BaseModule
from mmpose.models.backbones.resnet import Bottleneck
from mmpose.registry import MODELS
from torch import Tensor, nn

__all__ = ['HRNetClassificationNeck']


@MODELS.register_module()
class HRNetClassificationNeck(BaseModule):
    """What HRNet's image classifier does before it averages (appendix of
    `HRNet`_, TPAMI 2020).

    From fine to coarse: a bottleneck block widens each map, a convolution of
    stride 2 brings the sum so far down to it, and they are added. A 1x1
    convolution makes the last map. METRO and FastMETRO take this map of
    HRNet-W64, whose four branches MMPose's HRNet gives; names of parameters
    are those of the published network.

    - Batch size: B
    - Channels of the result: C

    Args:
        in_channels (Sequence[int]): Channels of the maps, fine to coarse.
        channels (Sequence[int]): Channels of the widened maps.
        out_channels (int): ``C``.
        init_cfg (dict, optional): See :class:`BaseModule`.

    .. _`HRNet`: https://arxiv.org/abs/1908.07919
    """

    def __init__(self,
                 in_channels: Sequence[int],
                 channels: Sequence[int] = (128, 256, 512, 1024),
                 out_channels: int = 2048,
                 init_cfg: dict = None) -> None:
        super().__init__(init_cfg)
        self.incre_modules = nn.ModuleList(
            nn.Sequential(_widen(narrow, wide))
            for narrow, wide in zip(in_channels, channels))
        self.downsamp_modules = nn.ModuleList(
            _conv(fine, coarse, 3, stride=2, padding=1)
            for fine, coarse in zip(channels[:-1], channels[1:]))
        self.final_layer = _conv(channels[-1], out_channels, 1)

    def forward(self, feats: Sequence[Tensor]) -> Tuple[Tensor]:
        """Merge.

        Args:
            feats (Sequence[Tensor]): Maps (B, in_channels[i], H/2^i, W/2^i).

        Returns:
            tuple[Tensor]: One map (B, C, H', W') of the size of the last.
        """
        x = self.incre_modules[0](feats[0])
        for feat, widen, down in zip(feats[1:], self.incre_modules[1:],
                                     self.downsamp_modules):
            x = widen(feat) + down(x)
        return (self.final_layer(x), )


def _widen(narrow: int, wide: int) -> Bottleneck:
    shortcut = None
    if narrow != wide:
        shortcut = nn.Sequential(
            nn.Conv2d(narrow, wide, 1, bias=False), nn.BatchNorm2d(wide))
    return Bottleneck(narrow, wide, downsample=shortcut)


def _conv(channels: int, out_channels: int, kernel_size: int,
          **kwargs) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out_channels, kernel_size, **kwargs),
        nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True))
