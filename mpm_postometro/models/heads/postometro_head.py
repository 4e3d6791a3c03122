# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Mesh transformer of PostoMETRO, and of FastMETRO where it gets no pose
tokens."""
from typing import NamedTuple, Optional, Sequence, Tuple, Union

import torch
from mmengine.model import BaseModule
from mmpose.registry import MODELS
from torch import Tensor, nn

from mpm_postometro.bodies import load_body
from ..layers import (EncoderDecoder, Linear, MeshAttention, MeshUpsampler,
                      MixerLayer, PoseModulator, linear, sine_position_code)

__all__ = ['MeshPrediction', 'PostoMETROHead']

_LEAST_SCALE = 1e-3


class MeshPrediction(NamedTuple):
    """What the mesh transformer says about a batch, float32, in metres.

    Attributes:
        camera (Tensor): (B, 3), weak-perspective ``(s, tx, ty)``: crop
            coordinates in [-1, 1] are ``s * (X_xy + t)``.
        joints_3d (Tensor): (B, K, 3), joints from the joint tokens.
        vertices (tuple[Tensor, ...]): Mesh levels from coarse to fine, each
            (B, V, 3).
    """
    camera: Tensor
    joints_3d: Tensor
    vertices: Tuple[Tensor, ...]


@MODELS.register_module()
class PostoMETROHead(BaseModule):
    """Camera, joints and mesh from image and pose tokens (PostoMETRO sec. 3).

    Each transformer encodes a camera token, image tokens and pose tokens,
    and decodes joint and vertex tokens from image and pose tokens, with
    attention between adjacent vertices only. Linear layers narrow all tokens
    from one transformer to the next. Coarse vertices are then upsampled. With
    ``use_pose_tokens=False`` this is FastMETRO.

    Defaults are the published L model with the choices of the paper where
    paper and released code differ, except for the order of the modulator
    (see :class:`PoseModulator`).

    Args:
        in_channels (int): Channels of the last feature map.
        body (dict | nn.Module, optional): Arguments of :func:`load_body`, or
            a loaded body. Only its mesh levels are used, and none of it gets
            into a checkpoint. Defaults to None, the built-in body.
        num_joints (int): Number ``K`` of joint tokens. Defaults to 14.
        token_dim (int): Width of a pose token. Defaults to 512.
        num_tokens (int): Number ``N`` of pose tokens. Defaults to 34.
        hidden_dims (Sequence[int]): Token width of each transformer.
        feedforward_dims (Sequence[int]): Hidden width of the feed-forward
            networks of each transformer.
        num_layers (int): Layers of each encoder and each decoder: 1, 2 and 3
            are the S, M and L models. Defaults to 3.
        num_heads (int | Sequence[int]): Attention heads (of each
            transformer). Defaults to 8. Heads narrower than 16 channels are
            slow on CPUs.
        dropout (float): Dropout rate. Defaults to 0.1.
        attention_dropout (float, optional): Dropout rate of attention
            weights; None means ``dropout``. Zero lets torch use its fused
            kernel on CPUs.
        use_image_tokens (bool): Look at the feature map. Defaults to True.
        use_pose_tokens (bool): Look at pose tokens. Defaults to True.
        image_modulator (dict, optional): Mixer layers behind the 1x1
            convolution of the feature map, with keys ``feat_size`` (height,
            width) and, optionally, ``num_blocks`` (4) and
            ``token_hidden_dim`` (64). None: convolution only.
        pose_modulator (dict, optional): Further arguments of
            :class:`PoseModulator`.
        learned_upsample (bool): Learn the step from the coarse to the
            intermediate mesh, as the released networks do, in place of the
            fixed matrix. Defaults to False.
        official_compat (bool): As the authors' released network: the second
            transformer gets the pose tokens twice, once narrowed together
            with the image tokens. Defaults to False.
        pose_position_code (bool): Add a learned vector to each pose token
            behind the modulator. Defaults to False, as released.
        projection (str): What the camera that the network gives means:
            ``'metro'``, crop coordinates ``s (X + t)``, or ``'paper'``, ``s X
            + t``, which is converted, so that all who use cameras see
            METRO's form.
        patch_size (int, optional): See :class:`MeshAttention`; a matter of
            speed only.
        with_cp (bool): Gradient checkpointing of the transformer layers.
        template_init (bool): Predict coarse vertices and joints as offsets
            from the rest mesh of the body seen from the front, which spares
            a short training the discovery of the human shape. Defaults to
            False.
        output_init_std (float, optional): Standard deviation of the initial
            weights of camera and coordinate layers. None leaves torch's
            default, with which first predictions are off by metres.
        camera_init_scale (float, optional): Initial bias of the camera's
            scale (about 0.9 for a person that fills the crop). None leaves
            torch's default.
        init_cfg (dict, optional): See :class:`BaseModule`.
    """

    def __init__(self,
                 in_channels: int,
                 body: Optional[Union[dict, nn.Module]] = None,
                 num_joints: int = 14,
                 token_dim: int = 512,
                 num_tokens: int = 34,
                 hidden_dims: Sequence[int] = (512, 128),
                 feedforward_dims: Sequence[int] = (2048, 512),
                 num_layers: int = 3,
                 num_heads: Union[int, Sequence[int]] = 8,
                 dropout: float = 0.1,
                 attention_dropout: Optional[float] = None,
                 use_image_tokens: bool = True,
                 use_pose_tokens: bool = True,
                 image_modulator: Optional[dict] = None,
                 pose_modulator: Optional[dict] = None,
                 learned_upsample: bool = False,
                 official_compat: bool = False,
                 pose_position_code: bool = False,
                 projection: str = 'metro',
                 patch_size: Optional[int] = 32,
                 with_cp: bool = False,
                 template_init: bool = False,
                 output_init_std: Optional[float] = None,
                 camera_init_scale: Optional[float] = None,
                 init_cfg: Optional[dict] = None) -> None:
        super().__init__(init_cfg)
        if not (use_image_tokens or use_pose_tokens):
            raise ValueError('PostoMETROHead needs image tokens, pose tokens '
                             'or both')
        if official_compat and not (use_image_tokens and use_pose_tokens):
            raise ValueError('official_compat needs image and pose tokens')
        if projection not in ('metro', 'paper'):
            raise ValueError("projection must be 'metro' or 'paper', got "
                             f'{projection!r}')
        if isinstance(num_heads, int):
            num_heads = [num_heads] * len(hidden_dims)
        if not len(hidden_dims) == len(feedforward_dims) == len(num_heads):
            raise ValueError(
                'hidden_dims, feedforward_dims and num_heads must name the '
                f'same number of transformers, got {hidden_dims}, '
                f'{feedforward_dims} and {num_heads}')
        if not isinstance(body, nn.Module):
            body = load_body(**(body or {}))
        levels = body.levels
        coarsest = len(levels.sizes) - 1
        self.num_joints = num_joints
        self.num_tokens = num_tokens
        self.token_dim = token_dim
        self.hidden_dims = tuple(hidden_dims)
        self.use_image_tokens = use_image_tokens
        self.use_pose_tokens = use_pose_tokens
        self.official_compat = official_compat
        self.projection = projection

        dim = hidden_dims[0]
        self.camera_token = nn.Embedding(1, dim)
        self.joint_tokens = nn.Embedding(num_joints, dim)
        self.vertex_tokens = nn.Embedding(levels.sizes[coarsest], dim)
        if use_image_tokens:
            self.image_proj = nn.Conv2d(in_channels, dim, 1)
            self.image_mixers = None
            if image_modulator is not None:
                self.image_mixers = _image_mixers(dim, **image_modulator)
        if use_pose_tokens:
            self.pose_modulator = PoseModulator(token_dim, num_tokens, dim,
                                                **(pose_modulator or {}))
        self.pose_codes = None
        if use_pose_tokens and pose_position_code:
            self.pose_codes = nn.Embedding(num_tokens, dim)
        self.transformers = nn.ModuleList(
            EncoderDecoder(
                d,
                heads,
                feedforward_dim,
                num_layers,
                dropout,
                attention_dropout,
                with_cp=with_cp,
                constant_queries=i == 0)
            for i, (d, feedforward_dim, heads) in enumerate(
                zip(hidden_dims, feedforward_dims, num_heads)))
        kinds = ['camera', 'queries']
        kinds += ['image'] * use_image_tokens + ['pose'] * use_pose_tokens
        self.reductions = nn.ModuleList(
            nn.ModuleDict({kind: Linear(wide, narrow)
                           for kind in kinds})
            for wide, narrow in zip(hidden_dims[:-1], hidden_dims[1:]))
        self.camera_head = nn.Linear(hidden_dims[-1], 3)
        self.coordinate_head = nn.Linear(hidden_dims[-1], 3)
        self._init_outputs(output_init_std, camera_init_scale)

        self.mesh_attention = MeshAttention(
            levels.adjacency(coarsest), num_joints, patch_size)
        self.upsampler = MeshUpsampler(
            [levels.upsample_matrix(i, i - 1) for i in range(coarsest, 0, -1)],
            learned_upsample)
        self.register_buffer(
            'template',
            frontal_template(body, num_joints) if template_init else None,
            persistent=False)

    def _init_outputs(self, std: Optional[float],
                      camera_scale: Optional[float]) -> None:
        if std is not None:
            for layer in (self.camera_head, self.coordinate_head):
                nn.init.normal_(layer.weight, std=std)
                nn.init.zeros_(layer.bias)
        if camera_scale is not None:
            with torch.no_grad():
                self.camera_head.bias[0] = camera_scale

    def forward(
            self,
            feats: Union[Tensor, Sequence[Tensor], None],
            pose_tokens: Optional[Sequence[Tensor]] = None) -> MeshPrediction:
        """Predict camera, joints and meshes.

        Args:
            feats (Tensor | Sequence[Tensor]): Feature maps of the backbone,
                of which the last, (B, in_channels, H, W), is used. May be
                None without image tokens.
            pose_tokens (PoseTokens | Sequence[Tensor], optional): Tokens (B,
                N, token_dim) and their confidence (B, N, 1), then anything.

        Returns:
            MeshPrediction: See there.

        Raises:
            ValueError: If pose tokens are missing or of another shape than
                the head was built for.
        """
        context, num_images, code_size = self._context(feats, pose_tokens)
        camera = self.camera_token.weight[None]
        queries = torch.cat(
            [self.joint_tokens.weight, self.vertex_tokens.weight])[None]
        for i, transformer in enumerate(self.transformers):
            if i > 0:
                camera, context, queries = self._reduce(
                    self.reductions[i - 1], camera, context, queries,
                    num_images)
            code = None
            if code_size is not None:
                code = sine_position_code(*code_size, self.hidden_dims[i],
                                          context.device)
                code = code.flatten(1).T[None]  # (1, HW, D)
            camera, context, queries = transformer(camera, context, queries,
                                                   code, self.mesh_attention)
        # half precision would round coordinates to millimetres
        with torch.autocast(queries.device.type, enabled=False):
            dtype = self.camera_head.weight.dtype
            camera = self.camera_head(camera[:, 0].to(dtype))
            points = self.coordinate_head(queries.to(dtype))
        if self.projection == 'paper':
            # s X + t = s (X + t / s), for people of any size at all
            scale, shift = camera.split((1, 2), -1)
            safe = scale.where(scale.abs() > _LEAST_SCALE, _LEAST_SCALE)
            camera = torch.cat([scale, shift / safe], -1)
        if self.template is not None:
            points = points + self.template
        joints, coarse = points.tensor_split((self.num_joints, ), 1)
        return MeshPrediction(camera, joints, self.upsampler(coarse))

    def _context(self, feats, pose_tokens):
        """Image and pose tokens (B, S, D), how many of them are image tokens,
        and the size of the feature map."""
        context, num_images, code_size = [], 0, None
        if self.use_image_tokens:
            if isinstance(feats, (list, tuple)):
                feats = feats[-1]
            code_size = feats.shape[-2:]
            images = linear(
                feats.flatten(2).transpose(1, 2),
                self.image_proj.weight.flatten(1), self.image_proj.bias)
            if self.image_mixers is not None:
                images = self.image_mixers(images)
            num_images = images.shape[1]
            context.append(images)
        if self.use_pose_tokens:
            if pose_tokens is None:
                raise ValueError('PostoMETROHead was built to use pose tokens '
                                 'and got none')
            tokens, confidence = pose_tokens[:2]
            expected = (self.num_tokens, self.token_dim)
            if tokens.shape[1:] != expected:
                raise ValueError(
                    'pose tokens must be (B, num_tokens, token_dim) = (B, '
                    f'{expected[0]}, {expected[1]}), got '
                    f'{tuple(tokens.shape)}')
            tokens = self.pose_modulator(tokens, confidence)
            if self.pose_codes is not None:
                tokens = tokens + self.pose_codes.weight
            context.append(tokens)
        return torch.cat(context, 1), num_images, code_size

    def _reduce(self, layers: nn.ModuleDict, camera: Tensor, context: Tensor,
                queries: Tensor, num_images: int):
        """Narrow all tokens for the next transformer."""
        pose = context[:, num_images:]
        if self.official_compat:
            # In later reductions `pose` would hold both copies; the released
            # network has one reduction.
            parts = [layers['image'](context), layers['pose'](pose)]
        else:
            parts = []
            if self.use_image_tokens:
                parts.append(layers['image'](context[:, :num_images]))
            if self.use_pose_tokens:
                parts.append(layers['pose'](pose))
        return (layers['camera'](camera), torch.cat(parts, 1),
                layers['queries'](queries))


def _image_mixers(dim: int,
                  feat_size: Tuple[int, int],
                  num_blocks: int = 4,
                  token_hidden_dim: int = 64) -> nn.Sequential:
    """Mixer layers over the positions of the feature map."""
    num_positions = feat_size[0] * feat_size[1]
    return nn.Sequential(*[
        MixerLayer(num_positions, dim, token_hidden_dim, dim)
        for _ in range(num_blocks)
    ])


@torch.no_grad()
def frontal_template(body: nn.Module, num_joints: int) -> Tensor:
    """Joints and coarse vertices of the mean shape in rest pose, upright and
    facing the camera.

    Args:
        body (nn.Module): The body.
        num_joints (int): Must be the size of the J14 set.

    Returns:
        Tensor: (1, K + V_coarse, 3), metres, pelvis at the origin.

    Raises:
        ValueError: If the head has other joints than J14.
    """
    like = body.v_template
    global_orient = like.new_tensor([[torch.pi, 0., 0.]])
    vertices = body(
        like.new_zeros(1, body.num_betas),
        like.new_zeros(1,
                       len(body.parents) - 1, 3), global_orient).vertices
    vertices = vertices - body.pelvis(vertices)
    joints = body.regress_joints(vertices, 'j14')
    if joints.shape[1] != num_joints:
        raise ValueError('template_init knows the J14 joints only, but the '
                         f'head has {num_joints} joint tokens')
    level = len(body.levels.sizes) - 1
    coarse = body.levels.downsample(vertices, level=level)
    return torch.cat([joints, coarse], 1).float().cpu()
