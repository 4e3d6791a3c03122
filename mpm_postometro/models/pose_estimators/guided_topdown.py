# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Trains the classifier of a tokenizer that is guided by the image."""
from typing import Dict

import torch
from mmengine.logging import MMLogger
from mmpose.models.pose_estimators import TopdownPoseEstimator
from mmpose.registry import MODELS
from mmpose.utils.typing import ConfigType, SampleList
from torch import Tensor

from mpm_postometro.compat import load_checkpoint_file
from ..tokenizers import sample_joint_features

__all__ = ['GuidedTopdownPoseEstimator']

PREFIX = 'guide_backbone.'


@MODELS.register_module()
class GuidedTopdownPoseEstimator(TopdownPoseEstimator):
    """Second stage of PCT for a tokenizer with image guidance.

    Such a tokenizer sees, beside the true joints, features of the image at
    these joints (sec. 3.1 of `Human Pose as Compositional Tokens`_, CVPR
    2023). They come from a frozen backbone of their own, which makes the
    labels of the training and takes no part in the prediction. It has to be
    the backbone that the tokenizer was trained with: its weights are read
    from the head's ``tokenizer_checkpoint``, where they lie beside those of
    the tokenizer, and else from the ``init_cfg`` of ``guide_backbone``.

    - Batch size: B
    - Number of joints: K
    - Channels of the image features: G

    Args:
        guide_backbone (dict): Config of the frozen image backbone, as in
            ``TokenizerEstimator``.
        **kwargs: As in ``TopdownPoseEstimator``; the head is a
            ``PCTHead`` whose tokenizer has ``guide_ratio`` above 0.

    Raises:
        ValueError: If the head has no tokenizer that is guided.

    .. _`Human Pose as Compositional Tokens`: https://arxiv.org/abs/2303.11638
    """

    def __init__(self, guide_backbone: ConfigType, **kwargs) -> None:
        super().__init__(**kwargs)
        tokenizer = getattr(self.head, 'tokenizer', None)
        if tokenizer is None or tokenizer.guide_channels == 0:
            raise ValueError(
                'GuidedTopdownPoseEstimator needs a PCTHead whose tokenizer '
                'has guide_ratio and guide_channels above 0; for others there '
                'is TopdownPoseEstimator')
        self.guide_backbone = MODELS.build(guide_backbone)
        self.guide_backbone.requires_grad_(False).eval()

    def init_weights(self) -> None:
        """Initialise the network; read the frozen image backbone.

        Raises:
            ValueError: If the head has a ``tokenizer_checkpoint`` without
                the image backbone and ``init_cfg`` does not bring it either,
                or if the weights do not fit.
        """
        super().init_weights()
        filename = self.head.tokenizer_checkpoint
        # Whose weights they are is no question where they come with the
        # tokenizer, so that these go before an init_cfg.
        if filename is not None and self._load_guide_backbone(filename):
            return
        init_cfg = getattr(self.guide_backbone, 'init_cfg', None) or {}
        if isinstance(init_cfg, dict):
            init_cfg = [init_cfg]
        if any(cfg.get('type') == 'Pretrained' for cfg in init_cfg):
            return
        if filename is not None:
            raise ValueError(
                f'{filename} holds a tokenizer, but no {PREFIX}* beside it: '
                'give the checkpoint of its own training with guidance, or '
                'set model.guide_backbone.init_cfg to the backbone that the '
                'tokenizer was trained with')
        MMLogger.get_current_instance().warning(
            'GuidedTopdownPoseEstimator: guide_backbone is frozen and has '
            'random weights, unless load_from or resume bring others (set '
            'model.head.tokenizer_checkpoint to the checkpoint of the '
            'tokenizer)')

    def _load_guide_backbone(self, filename: str) -> bool:
        """Strictly read the weights; False if the file has none."""
        state = load_checkpoint_file(filename, map_location='cpu')
        state = {
            key[len(PREFIX):]: value
            for key, value in state.get('state_dict', state).items()
            if key.startswith(PREFIX)
        }
        if not state:
            return False
        try:
            self.guide_backbone.load_state_dict(state)
        except RuntimeError as error:
            raise ValueError(f'{PREFIX}* in {filename} does not fit '
                             f'model.guide_backbone: {error}') from error
        return True

    def train(self, mode: bool = True) -> 'GuidedTopdownPoseEstimator':
        """Set the mode of all but the image backbone, which stays in
        eval."""
        super().train(mode)
        self.guide_backbone.eval()
        return self

    @torch.no_grad()
    def extract_guide_feats(self, inputs: Tensor,
                            data_samples: SampleList) -> Tensor:
        """Image features at the true joints.

        Args:
            inputs (Tensor): Normalised images ``(B, 3, H, W)``.
            data_samples (list[PoseDataSample]): With ``keypoint_labels (1,
                K, 2)``, in pixels of these images.

        Returns:
            Tensor: Features ``(B, K, G)``, in full precision.
        """
        joints = torch.cat(
            [d.gt_instance_labels.keypoint_labels for d in data_samples])
        height, width = inputs.shape[-2:]
        return sample_joint_features(
            self.guide_backbone(inputs)[-1], joints.to(inputs.device),
            (width, height)).float()

    def loss(self, inputs: Tensor,
             data_samples: SampleList) -> Dict[str, Tensor]:
        """Losses of a batch.

        Args:
            inputs (Tensor): Normalised images ``(B, 3, H, W)``.
            data_samples (list[PoseDataSample]): As for
                :meth:`extract_guide_feats`, and with ``keypoint_weights (1,
                K)``.

        Returns:
            dict[str, Tensor]: See :meth:`PCTHead.loss`.
        """
        return self.head.loss(
            self.extract_feat(inputs),
            data_samples,
            train_cfg=self.train_cfg,
            guide_feats=self.extract_guide_feats(inputs, data_samples))
