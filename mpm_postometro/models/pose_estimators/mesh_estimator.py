# Copyright (c) The mpm_postometro authors. All rights reserved.
"""From image to mesh: what MMPose's runner trains and tests."""
from typing import Dict, Optional, Tuple, Union

import numpy as np
import torch
import torch.nn.functional as F
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData
from mmpose.models.pose_estimators.base import BasePoseEstimator
from mmpose.registry import MODELS
from mmpose.utils.typing import (ConfigType, OptConfigType, OptMultiConfig,
                                 OptSampleList, SampleList)
from torch import Tensor, nn

from mpm_postometro.bodies import check_same_body, load_body
from mpm_postometro.bodies.cameras import (crop_to_pixels, pixels_to_crop,
                                           weak_perspective_project)
from mpm_postometro.compat import load_checkpoint_file
from ..heads import MeshPrediction, PoseTokens
from ..losses import MeshTargets

__all__ = ['MeshEstimator']


@MODELS.register_module()
class MeshEstimator(BasePoseEstimator):
    """Mesh of a person from the crop around it (PostoMETRO, FastMETRO).

    - Batch size: B
    - Number of joints: K
    - Number of vertices: V (of the fine mesh)

    The pose branch (a trained ``TopdownPoseEstimator`` with
    :class:`PCTHead`) gives pose tokens. It is frozen: in evaluation mode
    whatever :meth:`train` says, without gradients, and with tokens and
    confidence detached. It gets the same, normalised image as the backbone of
    the mesh network. Its weights are part of checkpoints, so that one file is
    enough to predict; geometry of the body never is.

    Args:
        backbone (dict, optional): Backbone of the mesh network. None only
            where the head uses no image tokens.
        head (dict): :class:`PostoMETROHead`. It gets the body from here.
        body (dict): Arguments of :func:`load_body`. Defaults to the built-in
            body. Data sets, ``MeshAffine`` and ``MeshMetric`` need the same.
        pose_branch (dict, optional): Config of the pose branch.
        pose_branch_checkpoint (str, optional): Weights of the pose branch,
            the checkpoint of its own training. Read when weights are
            initialised, that is before training; a checkpoint of the whole
            needs no other.
        token_source (str): ``'logits'``: what the pose branch sees in the
            image. ``'ground_truth'``: the tokenizer's codes of the true
            joints (an upper bound of the paper), in testing too.
            ``'coordinates'``: no tokens, but the 2D joints that the pose
            branch predicts, in [-1, 1], and their scores (an ablation of the
            paper); the head has ``token_dim=2`` and ``num_tokens=17`` then.
        token_noise (float): Standard deviation of Gaussian noise on the
            logits of the pose branch (a test of the paper). Defaults to 0.
        ground_truth_confidence (float): Confidence of ground-truth tokens.
            Defaults to 10, as in the paper.
        loss (dict): Defaults to ``dict(type='MeshLoss')``.
        neck (dict, optional): Neck of the mesh network.
        train_cfg (dict, optional): Not used.
        test_cfg (dict, optional): Not used.
        data_preprocessor (dict, optional): As in MMPose.
        init_cfg (dict, optional): As in MMPose.
        metainfo (dict, optional): As in MMPose.

    Raises:
        ValueError: If the head wants pose tokens and there is no pose branch;
            if ``token_source`` is unknown.
    """

    TOKEN_SOURCES = ('logits', 'ground_truth', 'coordinates')

    def __init__(self,
                 backbone: OptConfigType,
                 head: ConfigType,
                 body: ConfigType = dict(path=None),
                 pose_branch: OptConfigType = None,
                 pose_branch_checkpoint: Optional[str] = None,
                 token_source: str = 'logits',
                 token_noise: float = 0.,
                 ground_truth_confidence: float = 10.,
                 loss: ConfigType = dict(type='MeshLoss'),
                 neck: OptConfigType = None,
                 train_cfg: OptConfigType = None,
                 test_cfg: OptConfigType = None,
                 data_preprocessor: OptConfigType = None,
                 init_cfg: OptMultiConfig = None,
                 metainfo: Optional[dict] = None) -> None:
        if token_source not in self.TOKEN_SOURCES:
            raise ValueError(f'token_source must be one of '
                             f'{self.TOKEN_SOURCES}, got {token_source!r}')
        if token_noise and token_source == 'ground_truth':
            raise ValueError('token_noise is of logits, which ground-truth '
                             'tokens have not')
        if not isinstance(body, nn.Module):
            body = load_body(**body)
        super().__init__(
            backbone=backbone or dict(type=nn.Identity),
            neck=neck,
            head=dict(head, body=body),
            train_cfg=train_cfg,
            test_cfg=test_cfg,
            data_preprocessor=data_preprocessor,
            init_cfg=init_cfg,
            metainfo=metainfo)
        self.body = body
        if self.head.use_image_tokens and backbone is None:
            raise ValueError('the head uses image tokens and needs a backbone')
        if self.head.use_pose_tokens and pose_branch is None:
            raise ValueError(
                'the head uses pose tokens and needs a pose_branch; for '
                'FastMETRO set use_pose_tokens=False in the head')
        self.loss_module = MODELS.build(loss)
        self.token_source = token_source
        self.token_noise = token_noise
        self.ground_truth_confidence = ground_truth_confidence
        self.pose_branch = None
        self.pose_branch_checkpoint = pose_branch_checkpoint
        if pose_branch is not None and self.head.use_pose_tokens:
            self.pose_branch = MODELS.build(pose_branch)
            self.pose_branch.requires_grad_(False)
            self.pose_branch.eval()
            guided = self.pose_branch.head.tokenizer.guide_channels > 0
            if token_source == 'ground_truth' and guided:
                raise ValueError(
                    "token_source='ground_truth' needs a tokenizer that is "
                    'not guided by image features (guide_ratio=0)')

    def init_weights(self) -> None:
        """Initialise the network; read the frozen pose branch.

        Warns of frozen parts that nothing gives weights to: they would stay
        random for the whole training.
        """
        super().init_weights()
        if self.pose_branch is not None and self.pose_branch_checkpoint:
            _load_pose_branch(self.pose_branch, self.pose_branch_checkpoint)
        self._warn_of_random_parts()

    def _warn_of_random_parts(self) -> None:
        if _is_pretrained(self):
            return
        wanted = []
        branch = self.pose_branch
        if not (branch is None or self.pose_branch_checkpoint
                or _is_pretrained(branch)):
            # true joints need the tokenizer only
            true_tokens = self.token_source == 'ground_truth'
            if not (true_tokens and branch.head.tokenizer_checkpoint):
                wanted.append('the pose branch (set '
                              'model.pose_branch_checkpoint to the checkpoint '
                              'of the classifier)')
        parameters = list(self.backbone.parameters())
        if parameters and not any(p.requires_grad for p in parameters) \
                and not _is_pretrained(self.backbone):
            wanted.append('the backbone (set model.backbone.init_cfg to '
                          "dict(type='Pretrained', checkpoint=...))")
        if wanted:
            MMLogger.get_current_instance().warning(
                f'MeshEstimator: {" and ".join(wanted)} is frozen and has '
                'random weights, unless load_from or resume bring others')

    def train(self, mode: bool = True) -> 'MeshEstimator':
        """Set the mode of all but the pose branch, which stays in eval."""
        super().train(mode)
        if getattr(self, 'pose_branch', None) is not None:
            self.pose_branch.eval()
        return self

    # ------------------------------- network --------------------------------
    @torch.no_grad()
    def extract_pose_tokens(
            self,
            inputs: Tensor,
            data_samples: OptSampleList = None) -> Optional[PoseTokens]:
        """Tokens of the frozen pose branch, detached.

        Args:
            inputs (Tensor): Normalised images (B, 3, H, W).
            data_samples (list[PoseDataSample], optional): Needed for tokens
                from the ground truth, with ``keypoint_labels (1, K, 2)`` in
                pixels of the crop and ``keypoint_weights (1, K)``.

        Returns:
            PoseTokens | None: None where the head takes no pose tokens. The
            logits of ground-truth tokens are None.

        Raises:
            ValueError: If tokens come from the ground truth and a sample has
                no labelled keypoint.
        """
        if self.pose_branch is None:
            return None
        head = self.pose_branch.head
        if self.token_source != 'ground_truth':
            feats = self.pose_branch.extract_feat(inputs)
            tokens = head.pose_tokens(feats, self.token_noise)
            if self.token_source == 'logits':
                return tokens
            joints, scores = head.joints_of(tokens)
            size = inputs.shape[-1], inputs.shape[-2]
            return PoseTokens(
                pixels_to_crop(joints, size), scores[..., None], None)
        if data_samples is None:
            raise ValueError("token_source='ground_truth' needs data samples "
                             'with keypoint labels')
        weights = _stack(data_samples, 'keypoint_weights', inputs)
        for sample, labelled in zip(data_samples, (weights > 0).any(1)):
            if not labelled:
                raise ValueError(
                    "token_source='ground_truth' needs keypoints, and sample "
                    f"{sample.metainfo.get('id', '')} "
                    f"({sample.metainfo.get('img_path', 'no path')}) has none "
                    'of positive weight')
        codes = head.tokenize(
            _stack(data_samples, 'keypoint_labels', inputs), weights)
        tokens = F.embedding(codes, head.tokenizer.codebook)
        confidence = torch.full_like(tokens[..., :1],
                                     self.ground_truth_confidence)
        return PoseTokens(tokens, confidence, None)

    def _forward(self,
                 inputs: Tensor,
                 data_samples: OptSampleList = None) -> MeshPrediction:
        """The network without post-processing.

        Args:
            inputs (Tensor): Normalised images (B, 3, H, W).
            data_samples (list[PoseDataSample], optional): See
                :meth:`extract_pose_tokens`.

        Returns:
            MeshPrediction: See there.
        """
        pose_tokens = self.extract_pose_tokens(inputs, data_samples)
        feats = None
        if self.head.use_image_tokens:
            feats = self.extract_feat(inputs)
        return self.head(feats, pose_tokens)

    # ------------------------------- training -------------------------------
    def loss(self, inputs: Tensor,
             data_samples: SampleList) -> Dict[str, Tensor]:
        """Losses of a batch.

        Args:
            inputs (Tensor): Normalised images (B, 3, H, W).
            data_samples (list[PoseDataSample]): With the labels that
                :class:`PackMeshInputs` makes.

        Returns:
            dict[str, Tensor]: See :class:`MeshLoss`.
        """
        prediction = self._forward(inputs, data_samples)
        targets = self.targets(inputs, data_samples)
        # sums over thousands of vertices are not for half precision
        with torch.autocast(inputs.device.type, enabled=False):
            return self.loss_module(prediction, targets, self.body)

    @torch.no_grad()
    def targets(self, inputs: Tensor, data_samples: SampleList) -> MeshTargets:
        """True meshes and joints, computed on the device of the batch.

        Args:
            inputs (Tensor): Images (B, 3, H, W), for their size and device.
            data_samples (list[PoseDataSample]): As for :meth:`loss`.

        Returns:
            MeshTargets: See there.

        Raises:
            ValueError: If the labels belong to another body.
        """
        for sample in data_samples:
            check_same_body(self.body.identity,
                            sample.metainfo.get('label_body'), 'MeshEstimator',
                            'labels have')
        labels = {
            key: _stack(data_samples, key, inputs)
            for key in ('betas', 'body_pose', 'global_orient', 'joints_2d',
                        'joints_2d_weights', 'joints_3d', 'joints_3d_weights',
                        'has_smpl', 'has_joints_3d')
        }
        fine = self.body(labels['betas'], labels['body_pose'],
                         labels['global_orient']).vertices
        fine = fine - self.body.pelvis(fine)
        needed = self.loss_module.levels_needed
        vertices = tuple(
            self.body.levels.downsample(fine, level=level) if need else None
            for level, need in zip(reversed(range(len(needed))), needed))
        size = inputs.shape[-1], inputs.shape[-2]
        return MeshTargets(
            vertices,
            joints_2d=pixels_to_crop(labels['joints_2d'], size),
            **{
                key: labels[key]
                for key in ('joints_3d', 'joints_3d_weights',
                            'joints_2d_weights', 'has_smpl', 'has_joints_3d')
            })

    # ------------------------------ prediction ------------------------------
    def predict(self, inputs: Tensor, data_samples: SampleList) -> SampleList:
        """Predict meshes.

        Args:
            inputs (Tensor): Normalised images (B, 3, H, W).
            data_samples (list[PoseDataSample]): With ``warp_mat`` (2, 3), or
                ``input_center`` and ``input_scale``, in their meta
                information: where the crop lies in the image.

        Returns:
            list[PoseDataSample]: The samples, with ``pred_instances``:
            ``keypoints_3d (1, K, 3)`` (regressed from the mesh), ``vertices
            (1, V, 3)``, both in metres with the pelvis at the origin, and
            ``camera (1, 3)``, tensors on the device of the batch;
            ``keypoints (1, K, 2)`` in pixels of the original image and
            ``keypoint_scores (1, K)``, numpy arrays. Their meta information
            gets ``pred_body``, the identity of the body.
        """
        prediction = self._forward(inputs, data_samples)
        vertices = prediction.vertices[-1]
        vertices = vertices - self.body.pelvis(vertices)
        joints = self.body.regress_joints(vertices, 'j14')
        crop = weak_perspective_project(joints, prediction.camera)
        size = inputs.shape[-1], inputs.shape[-2]
        pixels = crop_to_pixels(crop, size).detach().cpu().numpy()

        for i, sample in enumerate(data_samples):
            instances = InstanceData(
                keypoints_3d=joints[i:i + 1],
                vertices=vertices[i:i + 1],
                camera=prediction.camera[i:i + 1],
                keypoints=_crop_to_image(pixels[i:i + 1], sample.metainfo,
                                         size),
                # the network gives no measure of certainty
                keypoint_scores=np.ones((1, joints.shape[1]), np.float32))
            instances.keypoints_visible = instances.keypoint_scores
            given = sample.get('gt_instances', {})
            for key in ('bboxes', 'bbox_scores'):
                if key in given:
                    instances.set_field(given.get(key), key)
            sample.pred_instances = instances
            sample.set_metainfo(dict(pred_body=self.body.identity))
        return data_samples


def _stack(data_samples: SampleList, key: str, like: Tensor) -> Tensor:
    """(B, ...) of a label whose samples are (1, ...), float32."""
    labels = []
    for sample in data_samples:
        if key not in sample.gt_instance_labels:
            raise KeyError(
                f"sample {sample.metainfo.get('id', '')} lacks the label "
                f"'{key}'; pack samples with PackMeshInputs")
        labels.append(torch.as_tensor(sample.gt_instance_labels[key]))
    return torch.cat(labels).to(like.device, torch.float32)


def _is_pretrained(module: nn.Module) -> bool:
    """Whether the init_cfg of a module reads a checkpoint."""
    configs = getattr(module, 'init_cfg', None) or []
    if isinstance(configs, dict):
        configs = [configs]
    return any(config.get('type') == 'Pretrained' for config in configs)


def _crop_to_image(points: np.ndarray, metainfo: dict,
                   size: Tuple[int, int]) -> np.ndarray:
    """Pixels of the crop (1, K, 2) -> pixels of the original image."""
    if 'warp_mat' in metainfo:
        warp = np.asarray(metainfo['warp_mat'], np.float64)
        moved = (points - warp[:, 2]) @ np.linalg.inv(warp[:, :2]).T
    elif 'input_center' in metainfo:
        center = np.asarray(metainfo['input_center'])
        scale = np.asarray(metainfo['input_scale'])
        moved = (points / size - 0.5) * scale + center
    else:
        raise KeyError("a sample has neither 'warp_mat' nor 'input_center' in "
                       'its meta information: where the crop lies in the '
                       'image is not known')
    return moved.astype(np.float32)


def _load_pose_branch(branch: nn.Module, filename: str) -> None:
    """Strictly load the checkpoint of a classifier's own training, which may
    have had a backbone for its labels that predictions do without."""
    state = load_checkpoint_file(filename, map_location='cpu')
    state = state.get('state_dict', state)
    own = branch.state_dict()
    if not hasattr(branch, 'guide_backbone'):
        state = {
            key: value
            for key, value in state.items()
            if not key.startswith('guide_backbone.')
        }
    problems: Dict[str, Union[list, set]] = dict(
        missing=own.keys() - state.keys(),
        unexpected=state.keys() - own.keys(),
        shape={
            key
            for key in own.keys() & state.keys()
            if own[key].shape != state[key].shape
        })
    if any(problems.values()):
        raise ValueError(
            f'{filename} does not hold the pose branch of the config: ' +
            '; '.join(f'{kind} {", ".join(sorted(keys))}'
                      for kind, keys in problems.items() if keys))
    branch.load_state_dict(state)
