# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Weight decay for matrices alone."""
from typing import List, Optional

from mmengine.optim import DefaultOptimWrapperConstructor
from mmpose.registry import OPTIM_WRAPPER_CONSTRUCTORS
from torch import nn

__all__ = ['MatrixDecayOptimWrapperConstructor']


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class MatrixDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Weight decay for matrices and kernels, but not for biases, norms and
    other vectors, as PCT trains its tokenizer and classifier.

    MMEngine's ``norm_decay_mult`` and ``bias_decay_mult`` do the same, but
    warn of each frozen parameter, of which the classifier has hundreds.

    Args:
        optim_wrapper_cfg (dict): Config of the optimizer wrapper.
        paramwise_cfg (dict, optional): None or empty: there is nothing to
            choose.

    Raises:
        ValueError: If ``paramwise_cfg`` is something else.
    """

    def __init__(self,
                 optim_wrapper_cfg: dict,
                 paramwise_cfg: Optional[dict] = None) -> None:
        super().__init__(optim_wrapper_cfg, paramwise_cfg)
        if self.paramwise_cfg:
            raise ValueError(f'{type(self).__name__} takes no paramwise_cfg, '
                             f'but got {self.paramwise_cfg}')
        # Without any, MMEngine would not ask for groups.
        self.paramwise_cfg = dict(vectors=False)

    def add_params(self, params: List[dict], module: nn.Module,
                   **kwargs) -> None:
        """Add two groups of what is trained, with and without decay.

        Args:
            params (list[dict]): Parameter groups, extended in place.
            module (nn.Module): The whole model.
        """
        decayed, others = [], []
        for parameter in module.parameters():
            if parameter.requires_grad:
                (decayed if parameter.ndim > 1 else others).append(parameter)
        params.extend(
            [dict(params=decayed),
             dict(params=others, weight_decay=0.)])
