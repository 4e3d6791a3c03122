# Copyright (c) The mpm_postometro authors. All rights reserved.
"""From a list of clips to one batch on the device."""
from typing import Dict, List, Union

import torch
from mmengine.model import BaseDataPreprocessor
from mmpose.registry import MODELS
from torch import Tensor

from ..backbones.mpm import visible_frames

__all__ = ['SequenceDataPreprocessor']


@MODELS.register_module()
class SequenceDataPreprocessor(BaseDataPreprocessor):
    """Stacks the clips of ``PackPoseSequence`` and moves them to the device.

    What needs a look at values is done here, before the transfer, so that
    nothing later waits for the device. Beside the stacked tensors there are

    - ``visible_2d``, ``visible_3d``: (B, V) int64, the frames that
      ``frame_mask_*`` does not hide, where there is such a mask;
    - ``clips_2d``, ``clips_3d``: int64, the clips that have the modality,
      where not all have.

    Masks that hide nothing are left out. Data samples stay on the host;
    nothing but the evaluation reads them.

    Args:
        non_blocking (bool): Let the host go on during the transfer, which
            needs ``pin_memory`` in the loader. Defaults to True.
    """

    def __init__(self, non_blocking: bool = True) -> None:
        super().__init__(non_blocking=non_blocking)

    def forward(self, data: dict, training: bool = False) -> dict:
        """Stack and move.

        Args:
            data (dict): ``inputs``, a dict of lists of tensors as
                ``pseudo_collate`` makes it, or of tensors that are stacked
                already (``collate_sequences``), and ``data_samples``.
            training (bool): Not used.

        Returns:
            dict: ``inputs``, a dict of tensors, and ``data_samples``.

        Raises:
            ValueError: If clips differ in shape or in the number of hidden
                frames.
        """
        inputs = self._stack(data['inputs'])
        for modality in ('2d', '3d'):
            for mask in ('joint_mask', 'frame_mask'):
                key = f'{mask}_{modality}'
                if key in inputs and not inputs[key].any():
                    del inputs[key]
            frame_mask = inputs.get(f'frame_mask_{modality}')
            if frame_mask is not None:
                try:
                    inputs[f'visible_{modality}'] = visible_frames(frame_mask)
                except ValueError as error:
                    raise ValueError(
                        f"inputs 'frame_mask_{modality}': {error}") from None
            has = inputs.get(f'has_{modality}')
            if has is not None and not has.all():
                inputs[f'clips_{modality}'] = has.flatten().nonzero()[:, 0]
        return dict(
            inputs=self.cast_data(inputs),
            data_samples=data.get('data_samples'))

    @staticmethod
    def _stack(clips: Dict[str, Union[Tensor, List[Tensor]]]) -> dict:
        inputs = {}
        for key, values in clips.items():
            if isinstance(values, Tensor):
                inputs[key] = values
                continue
            try:
                inputs[key] = torch.stack(values)
            except RuntimeError as error:
                raise ValueError(f"inputs '{key}' of the clips of a batch do "
                                 f'not stack: {error}') from None
        return inputs
