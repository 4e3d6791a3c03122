# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Packing of clips for the lifting networks, and their batches."""
from typing import Any, Dict, List, Sequence

import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmengine.registry import FUNCTIONS
from mmengine.structures import InstanceData
from mmpose.registry import TRANSFORMS
from mmpose.structures import PoseDataSample

__all__ = ['PackPoseSequence', 'collate_sequences']

_FLOATS = ('keypoints_2d', 'keypoints_3d', 'camera', 'root_3d')
_MASKS = ('joint_mask_2d', 'joint_mask_3d', 'frame_mask_2d', 'frame_mask_3d')


@TRANSFORMS.register_module()
class PackPoseSequence(BaseTransform):
    """Pack a clip into ``inputs`` and ``data_samples``.

    ``inputs`` has tensors: ``keypoints_2d`` (T, J, 2), ``keypoints_3d``
    (T, J, 3), ``root_3d`` (T, 3) and ``camera`` (9,), float32; ``has_2d``,
    ``has_3d``, and ``joint_mask_2d``, ``joint_mask_3d`` (T, J) and
    ``frame_mask_2d``, ``frame_mask_3d`` (T,), bool, True = hidden.
    What is not known is 0 and, without a masking transform, nothing hidden.

    ``data_samples`` is a PoseDataSample with the meta information below;
    its ``gt_instances`` have ``keypoints_3d`` (1, J, 3) of the target frame,
    ``keypoints_3d_visible`` (1, J), 0 where the clip has no 3D, and
    ``root_3d`` (1, 3).

    Required Keys:

        - keypoints_2d (T, J, 2) as NormalizeScreen makes it, has_2d
        - keypoints_3d (T, J, 3) and root_3d (T, 3) as RootRelative makes
          them, has_3d
        - target_index
        - camera (9, ), the masks (optional)

    Args:
        meta_keys (Sequence[str]): Meta information, where the clip has it.

    Raises:
        ValueError: If pixels or absolute 3D joints come in.
    """

    def __init__(
        self,
        meta_keys: Sequence[str] = ('id', 'subject', 'action', 'camera_name',
                                    'sequence', 'frame_indices',
                                    'target_index', 'flip_indices', 'flip',
                                    'image_size', 'dataset_name', 'mask_name')
    ) -> None:
        self.meta_keys = tuple(meta_keys)

    def transform(self, results: Dict) -> Dict:
        """See the class."""
        if results['has_2d'] and not results.get('screen_normalized'):
            raise ValueError('PackPoseSequence wants NormalizeScreen before '
                             'it')
        if 'root_3d' not in results:
            raise ValueError('PackPoseSequence wants RootRelative before it')
        num_frames, num_joints = results['keypoints_2d'].shape[:2]
        inputs = {}
        for key in _FLOATS:
            value = results.get(key)
            value = np.zeros(9) if value is None else value  # no camera
            inputs[key] = torch.from_numpy(np.array(value, np.float32))
        for key in ('has_2d', 'has_3d'):
            inputs[key] = torch.tensor(bool(results[key]))
        for key in _MASKS:
            value = results.get(key)
            if value is None:
                shape = (num_frames, num_joints)
                value = np.zeros(shape if 'joint' in key else shape[0], bool)
            inputs[key] = torch.from_numpy(np.array(value, bool))

        target = results['target_index']
        gt_instances = InstanceData()
        gt_instances.keypoints_3d = inputs['keypoints_3d'][None,
                                                           target].numpy()
        gt_instances.root_3d = inputs['root_3d'][None, target].numpy()
        gt_instances.keypoints_3d_visible = np.full(
            (1, num_joints), results['has_3d'], np.float32)
        sample = PoseDataSample(gt_instances=gt_instances)
        sample.set_metainfo(
            {k: results[k]
             for k in self.meta_keys if k in results})
        return dict(inputs=inputs, data_samples=sample)

    def __repr__(self) -> str:
        return f'{type(self).__name__}(meta_keys={self.meta_keys})'


@FUNCTIONS.register_module()
def collate_sequences(batch: List[Dict[str, Any]]) -> Dict[str, Any]:
    """Stack the inputs of packed clips where they are loaded.

    A worker hands each tensor to the trainer by a file of its own: a dozen
    for a batch are quick, a dozen for each clip are not.

    Args:
        batch (list[dict]): From :class:`PackPoseSequence`.

    Returns:
        dict: ``inputs``, a dict of tensors with the batch axis in front, and
        ``data_samples``, a list.
    """
    keys = batch[0]['inputs']
    return dict(
        inputs={
            key: torch.stack([clip['inputs'][key] for clip in batch])
            for key in keys
        },
        data_samples=[clip['data_samples'] for clip in batch])
