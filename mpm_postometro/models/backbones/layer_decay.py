# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Learning rates that fall from the head down to the first blocks."""
import re
from typing import Dict, List, Optional

from mmengine.optim import DefaultOptimWrapperConstructor
from mmpose.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

from .swin_v2 import TimmSwinV2

__all__ = ['SwinLayerDecayOptimWrapperConstructor']


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class SwinLayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Layer-wise learning rates for a model with a Swin backbone.

    As in PCT's heatmap training: layer 0 is the patch embedding, then every
    block and every down-sampling is a layer, in the order of the data, and
    the last layer is all the rest, the last norm and the head. The learning
    rate of layer ``i`` is that of the optimizer times
    ``layer_decay_rate ** (last - i)``.

    Weight decay leaves out biases, norms and other vectors, and the logit
    scale and the position bias of SwinV2's attention.

    Named in a config as::

        optim_wrapper = dict(
            optimizer=dict(type='AdamW', lr=5e-4, weight_decay=0.05),
            constructor='SwinLayerDecayOptimWrapperConstructor',
            paramwise_cfg=dict(layer_decay_rate=0.9))

    Args:
        optim_wrapper_cfg (dict): Config of the optimizer wrapper; the
            optimizer's has ``lr`` and ``weight_decay``.
        paramwise_cfg (dict): ``layer_decay_rate``, in (0, 1], alone.

    Raises:
        ValueError: If ``paramwise_cfg`` is something else, or the model has
            no ``TimmSwinV2`` as ``backbone``.
    """

    def __init__(self,
                 optim_wrapper_cfg: dict,
                 paramwise_cfg: Optional[dict] = None) -> None:
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        rate = self.paramwise_cfg.get('layer_decay_rate')
        if len(self.paramwise_cfg) != 1 or rate is None or not 0 < rate <= 1:
            raise ValueError(
                'paramwise_cfg should be dict(layer_decay_rate=...) with a '
                f'rate in (0, 1], but got {self.paramwise_cfg}')
        for name in ('lr', 'weight_decay'):
            if self.optimizer_cfg.get(name) is None:
                raise ValueError(f'the optimizer should be given {name}')

    def add_params(self, params: List[dict], module: nn.Module,
                   **kwargs) -> None:
        """Add one group for each layer, with and without weight decay.

        Args:
            params (list[dict]): Parameter groups, extended in place.
            module (nn.Module): The whole model.
        """
        backbone = getattr(module, 'backbone', None)
        if not isinstance(backbone, TimmSwinV2):
            raise ValueError(
                f'{type(self).__name__} needs a model with a TimmSwinV2 as '
                f'backbone, but got {type(module).__name__}')
        depths = [len(stage.blocks) for stage in backbone.layers]
        last = _last_layer(depths)
        rate = self.paramwise_cfg['layer_decay_rate']
        groups: Dict[tuple, dict] = {}
        for name, parameter in module.named_parameters():
            if not parameter.requires_grad:
                continue
            layer = _layer_id(name, depths)
            decayed = _is_decayed(name, parameter)
            group = groups.setdefault(
                (layer, decayed),
                dict(
                    params=[],
                    param_names=[],
                    lr=self.base_lr * rate**(last - layer),
                    weight_decay=decayed * self.base_wd))
            group['params'].append(parameter)
            group['param_names'].append(name)
        params.extend(groups[key] for key in sorted(groups))


def _layer_id(name: str, depths: List[int]) -> int:
    """Layer of a parameter, by its name in the model."""
    if name.startswith('backbone.patch_embed.'):
        return 0
    match = re.match(r'backbone\.layers\.(\d+)\.(?:blocks\.(\d+)|downsample)',
                     name)
    if match is None:
        return _last_layer(depths)
    # timm has the down-sampling at the start of its stage.
    before = sum(depth + 1 for depth in depths[:int(match[1])])
    return before if match[2] is None else before + int(match[2]) + 1


def _last_layer(depths: List[int]) -> int:
    """The embedding is layer 0; stages are parted by down-samplings."""
    return sum(depths) + len(depths)


def _is_decayed(name: str, parameter: nn.Parameter) -> bool:
    return (parameter.ndim > 1 and not name.endswith('.bias')
            and 'logit_scale' not in name and 'cpb_mlp' not in name)
