# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Classifier head of PCT: image features to pose tokens."""
from typing import Dict, NamedTuple, Optional, Sequence, Tuple

import torch
import torch.nn.functional as F
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData
from mmpose.models.backbones.resnet import BasicBlock
from mmpose.models.heads import BaseHead
from mmpose.registry import MODELS
from mmpose.utils.tensor_utils import to_numpy
from mmpose.utils.typing import (ConfigType, InstanceList, OptConfigType,
                                 OptMultiConfig, OptSampleList)
from torch import Tensor, nn

from mpm_postometro.compat import load_checkpoint_file
from ..layers import FCBlock, MixerLayer

__all__ = ['PCTHead', 'PoseTokens', 'load_tokenizer_weights']


class PoseTokens(NamedTuple):
    """Pose tokens that the classifier reads from an image.

    Attributes:
        tokens (Tensor): Mean codebook vector under the probabilities of the
            codes ``(B, N, D)``.
        confidence (Tensor): Largest raw logit of each token ``(B, N, 1)``.
        logits (Tensor): Logits of the codes ``(B, N, V)``.
    """
    tokens: Tensor
    confidence: Tensor
    logits: Tensor


@MODELS.register_module()
class PCTHead(BaseHead):
    """Classifier of `Human Pose as Compositional Tokens`_ (CVPR 2023, sec.
    3.2), for MMPose's ``TopdownPoseEstimator``.

    - Batch size: B
    - Number of joints: K
    - Coordinates of a joint: C
    - Number of tokens: N
    - Width of a token: D
    - Number of codes: V

    Predicts the codes of a pose; the decoder of a trained tokenizer turns
    them into joints. The tokenizer is part of the head and of its
    checkpoints, but frozen: it has no gradients and stays in evaluation
    mode. Parameter names are the published ones, the codebook's apart.

    Args:
        in_channels (int): Channels of the last feature map.
        tokenizer (dict): Config of the tokenizer, as it was trained.
        feat_size (tuple[int, int]): Width and height of the last feature
            map, 1/32 of the input image for most backbones. Defaults to
            (8, 8).
        tokenizer_checkpoint (str, optional): File with the trained
            tokenizer, read when the weights are initialised for training. A
            checkpoint of the classifier needs none. Defaults to None.
        conv_channels (int): Channels after the first convolution. Defaults
            to 256.
        conv_num_blocks (int): Number of residual blocks. Defaults to 2.
        num_mixers (int): Number of mixer layers. Defaults to 4.
        hidden_channels (int): Width of a token in the mixers. Defaults to
            64.
        token_hidden (int): Hidden width of the mixers over the tokens.
            Defaults to 64.
        channel_hidden (int): Hidden width of the mixers over the channels.
            Defaults to 256.
        dropout (float): Dropout rate in the mixers. Defaults to 0.
        loss_kpt (dict, optional): Config of the loss on the decoded joints.
            Defaults to ``SmoothL1KeypointLoss`` with weight 1.
        loss_token_weight (float): Weight of the cross entropy of the codes.
            Defaults to 1.
        score (str): What confidence counts as score, 'logit' (as
            published) or 'prob', the largest probability. Defaults to
            'logit'.
        score_per_joint (bool): By default the score of all joints is the
            mean over the tokens, as published. If True, each joint weights
            the tokens by how strongly the decoder mixes them into it.
        init_cfg (dict, optional): Defaults to None, which draws convolutions
            from a normal distribution of deviation 0.001.

    .. _`Human Pose as Compositional Tokens`: https://arxiv.org/abs/2303.11638
    """

    def __init__(self,
                 in_channels: int,
                 tokenizer: ConfigType,
                 feat_size: Tuple[int, int] = (8, 8),
                 tokenizer_checkpoint: Optional[str] = None,
                 conv_channels: int = 256,
                 conv_num_blocks: int = 2,
                 num_mixers: int = 4,
                 hidden_channels: int = 64,
                 token_hidden: int = 64,
                 channel_hidden: int = 256,
                 dropout: float = 0.,
                 loss_kpt: OptConfigType = None,
                 loss_token_weight: float = 1.,
                 score: str = 'logit',
                 score_per_joint: bool = False,
                 init_cfg: OptMultiConfig = None) -> None:
        super().__init__(init_cfg or self.default_init_cfg)
        if score not in ('logit', 'prob'):
            raise ValueError(
                f"score should be 'logit' or 'prob', but got {score!r}")
        self.in_channels = in_channels
        self.feat_size = tuple(feat_size)
        self.tokenizer_checkpoint = tokenizer_checkpoint
        self.hidden_channels = hidden_channels
        self.loss_module = MODELS.build(
            loss_kpt or dict(type='SmoothL1KeypointLoss'))
        self.loss_token_weight = loss_token_weight
        self.score = score
        self.score_per_joint = score_per_joint

        self.tokenizer = MODELS.build(tokenizer).requires_grad_(False).eval()
        num_tokens = self.tokenizer.num_tokens
        self.conv_trans = nn.Sequential(
            nn.Conv2d(in_channels, conv_channels, 1, bias=False),
            nn.BatchNorm2d(conv_channels), nn.ReLU(inplace=True))
        self.conv_head = nn.Sequential(
            nn.Sequential(*(BasicBlock(conv_channels, conv_channels)
                            for _ in range(conv_num_blocks))))
        self.mixer_trans = FCBlock(
            conv_channels * self.feat_size[0] * self.feat_size[1],
            num_tokens * hidden_channels)
        self.mixer_head = nn.Sequential(*(MixerLayer(
            num_tokens, hidden_channels, token_hidden, channel_hidden, dropout)
                                          for _ in range(num_mixers)))
        self.mixer_norm_layer = FCBlock(hidden_channels, hidden_channels)
        self.cls_pred_layer = nn.Linear(hidden_channels,
                                        self.tokenizer.num_codes)

    @property
    def default_init_cfg(self) -> list:
        """list[dict]: The published initialisation."""
        return [
            dict(type='Normal', layer='Conv2d', std=0.001),
            dict(type='Constant', layer='BatchNorm2d', val=1)
        ]

    def init_weights(self) -> None:
        """Initialise the head; read the tokenizer from its checkpoint, or
        warn that it has none."""
        super().init_weights()
        if self.tokenizer_checkpoint is not None:
            load_tokenizer_weights(self.tokenizer, self.tokenizer_checkpoint)
        elif self.cls_pred_layer.weight.requires_grad:
            # A head that is frozen as a whole is a part of an estimator that
            # reads it from a checkpoint of its own.
            MMLogger.get_current_instance().warning(
                'PCTHead: the tokenizer is frozen and has random weights, '
                'unless init_cfg, load_from or resume bring others (set '
                'model.head.tokenizer_checkpoint to the checkpoint of the '
                'tokenizer)')

    def train(self, mode: bool = True) -> 'PCTHead':
        """Set the mode of all but the tokenizer, which stays in eval, and
        frozen if somebody has thawed the whole."""
        super().train(mode)
        self.tokenizer.requires_grad_(False).eval()
        return self

    def forward(self, feats: Sequence[Tensor]) -> Tensor:
        """Classify.

        Args:
            feats (Sequence[Tensor]): Feature maps; the last ``(B, C, H, W)``
                is used.

        Returns:
            Tensor: Logits ``(B, N, V)``.

        Raises:
            ValueError: If the map is not of the size that the head was built
                for.
        """
        x = feats[-1]
        width, height = self.feat_size
        if x.shape[1:] != (self.in_channels, height, width):
            raise ValueError(
                f'{type(self).__name__} was built for feature maps (B, '
                f'{self.in_channels}, {height}, {width}) by in_channels and '
                f'feat_size (width, height), but got {tuple(x.shape)}')
        x = self.conv_head(self.conv_trans(x))
        x = x.flatten(2).transpose(1, 2).flatten(1)  # position first
        x = self.mixer_trans(x)
        x = x.view(len(x), self.tokenizer.num_tokens, self.hidden_channels)
        x = self.mixer_norm_layer(self.mixer_head(x))
        return self.cls_pred_layer(x)

    def pose_tokens(self,
                    feats: Sequence[Tensor],
                    logit_noise: float = 0.) -> PoseTokens:
        """Soft tokens, their confidence and logits, attached to the graph.

        Args:
            feats (Sequence[Tensor]): As for :meth:`forward`.
            logit_noise (float): Standard deviation of Gaussian noise on the
                logits. Defaults to 0.

        Returns:
            PoseTokens: See there. In float32 under automatic mixed precision
            too: joints are pixels, for which half precision is too coarse.
        """
        logits = self.forward(feats).float()
        if logit_noise:
            logits = logits + logit_noise * torch.randn_like(logits)
        with torch.autocast(logits.device.type, enabled=False):
            tokens = logits.softmax(-1) @ self.tokenizer.codebook
        return PoseTokens(tokens, logits.amax(-1, keepdim=True), logits)

    # ------------------------------- training -------------------------------
    def loss(self,
             feats: Sequence[Tensor],
             batch_data_samples: OptSampleList,
             train_cfg: OptConfigType = None,
             guide_feats: Optional[Tensor] = None) -> Dict[str, Tensor]:
        """Cross entropy of the codes and loss of the decoded joints.

        Args:
            feats (Sequence[Tensor]): As for :meth:`forward`.
            batch_data_samples (list[PoseDataSample]): Each with
                ``gt_instance_labels.keypoint_labels (1, K, C)``, in pixels
                of the input image, and ``keypoint_weights (1, K)``.
            train_cfg (dict, optional): Not used.
            guide_feats (Tensor, optional): Image features at the true joints
                ``(B, K, G)``, needed where the tokenizer is guided by them.
                ``GuidedTopdownPoseEstimator`` passes them.

        Returns:
            dict[str, Tensor]: ``loss_token``, ``loss_kpt`` and ``acc_token``,
            the fraction of tokens whose code is right.

        Raises:
            ValueError: If the tokenizer is guided and there are no
                ``guide_feats``.
        """
        if guide_feats is None and self.tokenizer.guide_channels > 0:
            raise ValueError(
                'the tokenizer is guided by image features (guide_ratio > 0): '
                'PCTHead.loss needs guide_feats, which TopdownPoseEstimator '
                'does not pass; use GuidedTopdownPoseEstimator, or a '
                'tokenizer with guide_ratio=0')
        pred = self.pose_tokens(feats)
        joints = self.tokenizer.decode(pred.tokens)
        labels = [d.gt_instance_labels for d in batch_data_samples]
        gt_joints = torch.cat([d.keypoint_labels for d in labels]).to(joints)
        visible = torch.cat([d.keypoint_weights for d in labels]).to(joints)

        gt_codes = self.tokenize(gt_joints, visible, guide_feats)
        loss_token = F.cross_entropy(
            pred.logits.flatten(0, 1), gt_codes.flatten())
        with torch.no_grad():
            accuracy = (pred.logits.argmax(-1) == gt_codes).float().mean()
        return dict(
            loss_token=self.loss_token_weight * loss_token,
            loss_kpt=self.loss_module(joints, gt_joints, visible),
            acc_token=accuracy)

    @torch.no_grad()
    def tokenize(self,
                 joints: Tensor,
                 visible: Optional[Tensor] = None,
                 img_feats: Optional[Tensor] = None) -> Tensor:
        """Codes ``(B, N)`` that the frozen tokenizer gives to joints;
        arguments as for ``PCTTokenizer.encode``."""
        return self.tokenizer.encode(joints, visible, img_feats).codes

    # ------------------------------ prediction ------------------------------
    def predict(self,
                feats: Sequence[Tensor],
                batch_data_samples: OptSampleList,
                test_cfg: OptConfigType = None) -> InstanceList:
        """Predict joints.

        Args:
            feats (Sequence[Tensor]): As for :meth:`forward`; with flip test a
                list of two, of the image and of its mirror image.
            batch_data_samples (list[PoseDataSample]): For flip test, with
                ``flip_indices`` and ``input_size`` in their meta
                information.
            test_cfg (dict, optional): With ``flip_test`` True, the
                coordinates and scores of both images are averaged.

        Returns:
            list[InstanceData]: For each sample ``keypoints (1, K, C)`` in
            pixels of the input image and ``keypoint_scores (1, K)``, and of
            the image as it is, without flip test, ``codes (1, N)``, their
            raw logits ``code_confidence (1, N)`` and probabilities
            ``code_probs (1, N)``; all numpy arrays.
        """
        flip_test = (test_cfg or {}).get('flip_test', False)
        pred = self.pose_tokens(feats[0] if flip_test else feats)
        joints, scores = self.joints_of(pred)
        if flip_test:
            mirrored, mirrored_scores = self.joints_of(
                self.pose_tokens(feats[1]))
            meta = batch_data_samples[0].metainfo
            order = list(meta['flip_indices'])
            mirrored = mirrored[:, order]
            mirrored[..., 0] = meta['input_size'][0] - 1 - mirrored[..., 0]
            joints = (joints + mirrored) / 2
            scores = (scores + mirrored_scores[:, order]) / 2
        probs, codes = pred.logits.softmax(-1).max(-1)
        fields = dict(
            keypoints=joints,
            keypoint_scores=scores,
            codes=codes,
            code_confidence=pred.confidence.squeeze(-1),
            code_probs=probs)
        fields = {key: to_numpy(value) for key, value in fields.items()}
        return [
            InstanceData(**{
                key: value[i:i + 1]
                for key, value in fields.items()
            }) for i in range(len(joints))
        ]

    def joints_of(self, pred: PoseTokens) -> Tuple[Tensor, Tensor]:
        """Decode tokens.

        Args:
            pred (PoseTokens): Of :meth:`pose_tokens`.

        Returns:
            tuple[Tensor, Tensor]: Joints (B, K, C) in pixels of the crop and
            their scores (B, K).
        """
        confidence = pred.confidence.squeeze(-1)  # (B, N)
        if self.score == 'prob':
            confidence = pred.logits.softmax(-1).amax(-1)
        if self.score_per_joint:
            share = self.tokenizer.decoder_token_mlp.weight.abs()  # (K, N)
            scores = confidence @ F.normalize(share, p=1, dim=-1).t()
        else:
            scores = confidence.mean(
                -1, keepdim=True).expand(-1, self.tokenizer.num_joints)
        return self.tokenizer.decode(pred.tokens), scores


def load_tokenizer_weights(tokenizer: nn.Module, filename: str) -> None:
    """Load a tokenizer from a checkpoint of its own training, of a
    classifier, or of itself alone.

    Args:
        tokenizer (nn.Module): The tokenizer.
        filename (str): A local file; read without running code from it.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If the weights do not fit, with the names that are
            missing, not expected, or of another shape.
    """
    state = load_checkpoint_file(filename, map_location='cpu')
    state = state.get('state_dict', state)
    # The longest prefix first, that of a classifier.
    for prefix in ('head.tokenizer.', 'tokenizer.'):
        part = {
            key[len(prefix):]: value
            for key, value in state.items() if key.startswith(prefix)
        }
        if part:
            state = part
            break
    own = tokenizer.state_dict()
    problems = dict(
        missing=sorted(own.keys() - state.keys()),
        unexpected=sorted(state.keys() - own.keys()),
        shape=[
            f'{key}: {tuple(state[key].shape)} in the file, '
            f'{tuple(own[key].shape)} in the config'
            for key in sorted(own.keys() & state.keys())
            if state[key].shape != own[key].shape
        ])
    if any(problems.values()):
        raise ValueError(
            f'{filename} does not hold the tokenizer of the config: ' +
            '; '.join(f'{kind} {", ".join(names)}'
                      for kind, names in problems.items() if names))
    tokenizer.load_state_dict(state, strict=True)
