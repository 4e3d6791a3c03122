# Copyright (c) The mpm_postometro authors. All rights reserved.
"""SwinV2 as PCT uses it, built from timm's blocks."""
from functools import partial
from typing import Sequence, Tuple

from mmengine.model import BaseModule
from mmpose.registry import MODELS
from mmpose.utils.typing import OptMultiConfig
from torch import Tensor, nn

__all__ = ['TimmSwinV2']


@MODELS.register_module()
class TimmSwinV2(BaseModule):
    """Backbone of the published PCT models: `Swin Transformer V2`_ with
    residual post-norm, cosine attention and a continuous position bias.

    A thin shell around timm's network, whose parameter names it keeps.
    PCT's variant differs from it in three points: layer norms have an
    epsilon of 1e-6, each stage has its own window (and window of the
    pre-training), and only the first two stages shift theirs. At the sizes
    that are accepted here timm shifts in the same blocks, and the output
    equals that of the published network. Other sizes are refused, because
    it would not.

    Published sizes, all with pictures of 256 x 256 pixels:

    ====  =========  ===========  ===============  ============
    name  embed_dim  depths       num_heads        out channels
    ====  =========  ===========  ===============  ============
    B     128        2, 2, 18, 2  4, 8, 16, 32     1024
    L     192        2, 2, 18, 2  6, 12, 24, 48    1536
    H     256        2, 2, 42, 2  8, 16, 32, 64    2048
    ====  =========  ===========  ===============  ============

    Args:
        embed_dim (int): Channels of the first stage; each further stage has
            twice as many. Defaults to 128.
        depths (Sequence[int]): Number of blocks of each stage. Defaults to
            (2, 2, 18, 2).
        num_heads (Sequence[int]): Attention heads of each stage. Defaults
            to (4, 8, 16, 32).
        img_size (int): Height and width of the input in pixels. Defaults to
            256.
        window_size (Sequence[int]): Height and width of each stage's window,
            in cells of its map. Defaults to (16, 16, 16, 8).
        pretrained_window_sizes (Sequence[int]): The same at the time of the
            pre-training, by which the position bias scales its coordinates.
            Defaults to (12, 12, 12, 6).
        drop_path_rate (float): Rate of stochastic depth in the last block;
            it rises linearly from 0 in the first. Defaults to 0.3.
        frozen_stages (int): -1 freezes nothing, 0 the patch embedding, n
            also the first n stages, and one more than there are stages (5,
            as published for the tokenizer and the classifier) also the last
            norm. What is frozen has no gradients and stays in evaluation
            mode. Defaults to -1.
        with_cp (bool): Whether to compute blocks again in the backward pass
            instead of keeping their activations, which saves memory and
            costs time. Defaults to False.
        init_cfg (dict | list[dict], optional): As in MMEngine. Without one,
            weights start as timm sets them. Defaults to None.

    Raises:
        ImportError: If timm is not installed.
        ValueError: If the sizes do not fit together.

    .. _`Swin Transformer V2`: https://arxiv.org/abs/2111.09883
    """

    def __init__(self,
                 embed_dim: int = 128,
                 depths: Sequence[int] = (2, 2, 18, 2),
                 num_heads: Sequence[int] = (4, 8, 16, 32),
                 img_size: int = 256,
                 window_size: Sequence[int] = (16, 16, 16, 8),
                 pretrained_window_sizes: Sequence[int] = (12, 12, 12, 6),
                 drop_path_rate: float = 0.3,
                 frozen_stages: int = -1,
                 with_cp: bool = False,
                 init_cfg: OptMultiConfig = None) -> None:
        super().__init__(init_cfg)
        try:
            from timm.models.swin_transformer_v2 import SwinTransformerV2
        except ImportError as error:
            raise ImportError(
                'TimmSwinV2 builds on timm, which is not installed: pip '
                'install "timm>=1.0.31"') from error
        for name, values in dict(
                num_heads=num_heads,
                window_size=window_size,
                pretrained_window_sizes=pretrained_window_sizes).items():
            if len(values) != len(depths):
                raise ValueError(f'{name} should have one value for each of '
                                 f'the {len(depths)} stages, but got {values}')
        if not -1 <= frozen_stages <= len(depths) + 1:
            raise ValueError(f'frozen_stages should be in [-1, '
                             f'{len(depths) + 1}], but got {frozen_stages}')
        _check_windows(img_size, window_size)
        self.img_size = img_size
        self.frozen_stages = frozen_stages
        self.with_cp = with_cp

        model = SwinTransformerV2(
            img_size=img_size,
            num_classes=0,
            embed_dim=embed_dim,
            depths=tuple(depths),
            num_heads=tuple(num_heads),
            window_size=tuple((size, size) for size in window_size),
            drop_path_rate=drop_path_rate,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            pretrained_window_sizes=tuple(pretrained_window_sizes))
        # Without the classifier, and with short names in checkpoints.
        self.patch_embed = model.patch_embed
        self.layers = model.layers
        self.norm = model.norm
        self._freeze()

    def forward(self, x: Tensor) -> Tuple[Tensor]:
        """Compute the last feature map.

        Args:
            x (Tensor): Normalised images ``(B, 3, img_size, img_size)``.

        Returns:
            tuple[Tensor]: The one map ``(B, C, h, w)``, with ``C`` eight
            times ``embed_dim`` and 1/32 of the image's height and width for
            four stages.

        Raises:
            ValueError: If the images are of another size.
        """
        expected = (3, self.img_size, self.img_size)
        if x.shape[1:] != expected:
            raise ValueError(f'TimmSwinV2 was built for images (B, 3, '
                             f'{self.img_size}, {self.img_size}) by img_size, '
                             f'but got {tuple(x.shape)}')
        x = self.layers(self.patch_embed(x))  # (B, h, w, C)
        return (self.norm(x).permute(0, 3, 1, 2).contiguous(), )

    def train(self, mode: bool = True) -> 'TimmSwinV2':
        """Set the mode of all but the frozen stages, which stay in eval."""
        super().train(mode)
        self._freeze()
        return self

    def _freeze(self) -> None:
        parts = (self.patch_embed, *self.layers, self.norm)
        for part in parts[:self.frozen_stages + 1]:
            part.eval().requires_grad_(False)
        for stage in self.layers:
            stage.grad_checkpointing = self.with_cp and stage.training


def _check_windows(img_size: int, window_size: Sequence[int]) -> None:
    """Refuse sizes at which timm and the published network part ways.

    timm shifts the windows in every stage that has more than one, the
    published network in the first two stages. Maps that are no multiple of
    their window are padded, in each network in its own way.
    """
    for stage, window in enumerate(window_size):
        stride = 4 * 2**stage
        cells, rest = divmod(img_size, stride)
        if stage < 2:
            fits = cells > window and cells % window == 0
            wanted = 'several whole windows'
        else:
            fits = cells == window
            wanted = 'one window'
        if rest or not fits:
            raise ValueError(
                f'stage {stage} should see {wanted} in its map, but with '
                f'img_size={img_size} the map has {img_size / stride:g} cells '
                f'a side and window_size gives {window}')
