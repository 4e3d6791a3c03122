# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Trains a pose tokenizer."""
from typing import Dict, List, Tuple, Union

import numpy as np
import torch
from mmengine.model import BaseModel
from mmengine.structures import InstanceData
from mmpose.registry import MODELS
from mmpose.utils.tensor_utils import to_numpy
from mmpose.utils.typing import (ConfigType, OptConfigType, OptMultiConfig,
                                 OptSampleList, SampleList)
from torch import Tensor

from ..tokenizers import TokenizerOutput, sample_joint_features

__all__ = ['TokenizerEstimator']


@MODELS.register_module()
class TokenizerEstimator(BaseModel):
    """First stage of PCT: a tokenizer that reconstructs poses.

    The loss is ``loss_joint + latent_weight * latent_loss`` (sec. 3.1 of
    `Human Pose as Compositional Tokens`_, CVPR 2023). The weights of the
    tokenizer are under ``tokenizer.`` in a checkpoint, where ``PCTHead``
    looks for them.

    - Batch size: B
    - Number of joints: K
    - Coordinates of a joint: C

    Args:
        tokenizer (dict): Config of the tokenizer.
        guide_backbone (dict, optional): Frozen image backbone, for a
            tokenizer that is guided by image features (``guide_ratio`` above
            0). Defaults to None.
        loss_joint (dict, optional): Config of the loss on the joints.
            Defaults to ``SmoothL1KeypointLoss`` with weight 1.
        latent_weight (float): Weight of the distance between the encoder's
            output and its codes. Defaults to 15.
        data_preprocessor (dict, optional): Defaults to None, which only
            moves data to the device; images need ``PoseDataPreprocessor``.
        init_cfg (dict, optional): As in MMEngine. Defaults to None.

    .. _`Human Pose as Compositional Tokens`: https://arxiv.org/abs/2303.11638
    """

    def __init__(self,
                 tokenizer: ConfigType,
                 guide_backbone: OptConfigType = None,
                 loss_joint: OptConfigType = None,
                 latent_weight: float = 15.,
                 data_preprocessor: OptConfigType = None,
                 init_cfg: OptMultiConfig = None) -> None:
        super().__init__(data_preprocessor, init_cfg)
        self.tokenizer = MODELS.build(tokenizer)
        self.loss_joint = MODELS.build(
            loss_joint or dict(type='SmoothL1KeypointLoss'))
        self.latent_weight = latent_weight
        self.guide_backbone = None
        if guide_backbone is not None:
            self.guide_backbone = MODELS.build(guide_backbone)
            self.guide_backbone.requires_grad_(False).eval()
        guided = self.tokenizer.guide_channels > 0
        if guided != (self.guide_backbone is not None):
            raise ValueError(
                'a tokenizer with guide_ratio > 0 needs guide_backbone, and '
                'only such a tokenizer uses it')

    def train(self, mode: bool = True) -> 'TokenizerEstimator':
        """Set the mode of all but the image backbone, which stays in
        eval."""
        super().train(mode)
        if self.guide_backbone is not None:
            self.guide_backbone.eval()
        return self

    def forward(
        self,
        inputs: Union[Tensor, List[Tensor]],
        data_samples: OptSampleList = None,
        mode: str = 'tensor'
    ) -> Union[TokenizerOutput, Dict[str, Tensor], SampleList]:
        """Reconstruct poses.

        Args:
            inputs (Tensor | list[Tensor]): Joints and their visibility ``(B,
                K, C + 1)``, in pixels of the network's input image. With a
                ``guide_backbone`` the images ``(B, 3, H, W)``; the joints
                are then read from ``gt_instance_labels`` of the data
                samples, ``keypoint_labels (1, K, C)`` and
                ``keypoint_weights (1, K)``.
            data_samples (list[PoseDataSample], optional): Needed to predict,
                and with images.
            mode (str): 'tensor', 'loss' or 'predict'.

        Returns:
            TokenizerOutput | dict[str, Tensor] | list[PoseDataSample]: See
            :meth:`loss` and :meth:`predict`.
        """
        if isinstance(inputs, (list, tuple)):
            inputs = torch.stack(list(inputs))
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        if mode == 'predict':
            return self.predict(inputs, data_samples)
        if mode == 'tensor':
            return self.tokenizer(*self._read(inputs, data_samples))
        raise RuntimeError(f'Invalid mode "{mode}". Only supports loss, '
                           'predict and tensor mode.')

    def loss(self,
             inputs: Tensor,
             data_samples: OptSampleList = None) -> Dict[str, Tensor]:
        """Losses, and beside them the health of the codebook.

        Arguments as for :meth:`forward`.

        Returns:
            dict[str, Tensor]: ``loss_joint`` and ``loss_latent``;
            ``codebook_usage`` (fraction of the codes that the batch chose)
            and ``codebook_perplexity`` only inform.
        """
        joints, visible, img_feats = self._read(inputs, data_samples)
        output = self.tokenizer(joints, visible, img_feats)
        losses = dict(
            loss_joint=self.loss_joint(output.joints, joints, visible),
            loss_latent=self.latent_weight * output.latent_loss)
        if output.usage is not None:
            losses.update(
                codebook_usage=output.usage,
                codebook_perplexity=output.perplexity)
        return losses

    def predict(self, inputs: Tensor, data_samples: SampleList) -> SampleList:
        """Reconstruct poses, for evaluation.

        Arguments as for :meth:`forward`.

        Returns:
            list[PoseDataSample]: With ``pred_instances`` of ``keypoints (1,
            K, C)``, ``keypoint_scores (1, K)``, all 1, and ``codes (1, N)``,
            as numpy arrays. Keypoints are in pixels of the original image,
            as MMPose's ``gt_instances`` are, where a sample has
            ``input_center``, ``input_scale`` and ``input_size`` in its meta
            information, and else in pixels of the network's input.
        """
        output = self.tokenizer(*self._read(inputs, data_samples))
        joints, codes = to_numpy(output.joints), to_numpy(output.codes)
        for keypoints, code, sample in zip(joints, codes, data_samples):
            meta = sample.metainfo
            if 'input_center' in meta:
                keypoints[:, :2] = (
                    keypoints[:, :2] / meta['input_size'] * meta['input_scale']
                    + meta['input_center'] - 0.5 * meta['input_scale'])
            pred = InstanceData(
                keypoints=keypoints[None],
                keypoint_scores=np.ones((1, len(keypoints)), np.float32),
                codes=code[None])
            gt = sample.get('gt_instances', {})
            for name in ('bboxes', 'bbox_scores'):  # COCO's metric asks
                if name in gt:
                    pred.set_field(gt[name], name)
            sample.pred_instances = pred
        return data_samples

    def _read(
        self, inputs: Tensor, data_samples: OptSampleList
    ) -> Tuple[Tensor, Tensor, Union[Tensor, None]]:
        """Joints ``(B, K, C)``, visibility ``(B, K)``, image features."""
        if self.guide_backbone is None:
            dims = self.tokenizer.coord_dims
            if inputs.ndim != 3 or inputs.shape[-1] != dims + 1:
                raise ValueError(
                    f'expected inputs (B, {self.tokenizer.num_joints}, '
                    f'{dims + 1}), coordinates and visibility, but got '
                    f'{tuple(inputs.shape)}')
            return inputs[..., :dims], inputs[..., dims], None
        labels = [d.gt_instance_labels for d in data_samples]
        joints = torch.cat([d.keypoint_labels for d in labels])
        visible = torch.cat([d.keypoint_weights for d in labels])
        with torch.no_grad():
            feature_map = self.guide_backbone(inputs)[-1]
        height, width = inputs.shape[-2:]
        return joints, visible, sample_joint_features(feature_map, joints,
                                                      (width, height))
