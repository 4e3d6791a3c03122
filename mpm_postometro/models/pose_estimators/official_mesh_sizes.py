# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Sizes of the published mesh networks, read from the shapes of their
weights."""
from types import SimpleNamespace
from typing import Dict, Sequence

import torch
from mmpose.registry import MODELS
from scipy import sparse

from .official_pct_sizes import (Shapes, count_layers, mixers_cfg,
                                 parameter_shapes, shape_of)

__all__ = ['mesh_parameter_shapes', 'mesh_part_configs']

# By the blocks of each stage, and whether they have three convolutions.
_RESNET_DEPTHS = {
    ((2, 2, 2, 2), False): 18,
    ((3, 4, 6, 3), False): 34,
    ((3, 4, 6, 3), True): 50,
    ((3, 4, 23, 3), True): 101,
    ((3, 8, 36, 3), True): 152
}


def mesh_part_configs(shapes: Shapes) -> Dict[str, dict]:
    """Configs of backbone, neck and head of an estimator, those of which
    there are parameters.

    Args:
        shapes (dict[str, tuple]): Shapes of its parameters, in our names.

    Returns:
        dict[str, dict]: By attribute of the estimator: ``backbone``,
        ``neck``, ``head``. How many heads attention has does not show.

    Raises:
        KeyError: If a parameter from which a size is read is missing or has
            another number of dimensions; its name.
    """
    parts = {}
    if any(key.startswith('backbone.stage4.') for key in shapes):
        parts['backbone'] = _hrnet_cfg(shapes)
    elif any(key.startswith('backbone.') for key in shapes):
        parts['backbone'] = _resnet_cfg(shapes)
    if any(key.startswith('neck.') for key in shapes):
        parts['neck'] = _neck_cfg(shapes)
    parts['head'] = _head_cfg(shapes)
    return parts


def mesh_parameter_shapes(parts: Dict[str, dict],
                          sizes: Sequence[int]) -> Shapes:
    """Names and shapes of all parameters and buffers of backbone, neck and
    head, which are built without taking memory.

    Args:
        parts (dict[str, dict]): Their configs.
        sizes (Sequence[int]): Vertices of the body's mesh levels, fine to
            coarse.

    Returns:
        dict[str, tuple]: Shapes by our names.
    """
    parts = dict(parts)
    levels = SimpleNamespace(
        sizes=sizes,
        adjacency=lambda level: torch.eye(
            sizes[level], dtype=torch.bool, device='cpu'),
        upsample_matrix=lambda coarse, fine: sparse.csr_matrix(
            (sizes[fine], sizes[coarse])))
    body = torch.nn.Module()
    body.levels = levels
    # None of these has weights, but they would ask more of the body.
    head = dict(
        parts.pop('head'), num_heads=1, patch_size=None, template_init=False)
    shapes = parameter_shapes(parts)
    with torch.device('meta'):
        module = MODELS.build(dict(head, body=body))
        for key, value in module.state_dict().items():
            shapes[f'head.{key}'] = tuple(value.shape)
    return shapes


def _resnet_cfg(shapes: Shapes) -> dict:
    blocks = tuple(
        count_layers(shapes, f'backbone.layer{stage}.')
        for stage in range(1, 5))
    deep = 'backbone.layer1.0.conv3.weight' in shapes
    cfg = dict(type='ResNet', depth=_RESNET_DEPTHS.get((blocks, deep), 50))
    stem = shape_of(shapes, 'backbone.conv1.weight', 4)[0]
    base = shape_of(shapes, 'backbone.layer1.0.conv1.weight', 4)[0]
    if (stem, base) != (64, 64):
        cfg.update(stem_channels=stem, base_channels=base)
    return cfg


def _hrnet_cfg(shapes: Shapes) -> dict:
    first = shape_of(shapes, 'backbone.layer1.0.conv1.weight', 4)[0]
    extra = dict(
        stage1=dict(
            num_modules=1,
            num_branches=1,
            block='BOTTLENECK',
            num_blocks=(count_layers(shapes, 'backbone.layer1.'), ),
            num_channels=(first, )))
    for stage in (2, 3, 4):
        name = f'backbone.stage{stage}.'
        branches = [f'{name}0.branches.{i}.' for i in range(stage)]
        extra[f'stage{stage}'] = dict(
            num_modules=count_layers(shapes, name),
            num_branches=stage,
            block='BASIC',
            num_blocks=tuple(
                count_layers(shapes, branch) for branch in branches),
            num_channels=tuple(
                shape_of(shapes, f'{branch}0.conv1.weight', 4)[0]
                for branch in branches))
    extra['stage4'].update(multiscale_output=True)
    return dict(type='HRNet', extra=extra)


def _neck_cfg(shapes: Shapes) -> dict:
    blocks = [
        f'neck.incre_modules.{i}.0.'
        for i in range(count_layers(shapes, 'neck.incre_modules.'))
    ]
    return dict(
        type='HRNetClassificationNeck',
        in_channels=tuple(
            shape_of(shapes, f'{block}conv1.weight', 4)[1]
            for block in blocks),
        channels=tuple(
            shape_of(shapes, f'{block}conv3.weight', 4)[0]
            for block in blocks),
        out_channels=shape_of(shapes, 'neck.final_layer.0.weight', 4)[0])


def _head_cfg(shapes: Shapes) -> dict:
    narrow, wide = shape_of(shapes, 'head.reductions.0.camera.weight')
    cfg = dict(
        type='PostoMETROHead',
        in_channels=shape_of(shapes, 'head.image_proj.weight', 4)[1],
        num_joints=shape_of(shapes, 'head.joint_tokens.weight')[0],
        hidden_dims=(wide, narrow),
        feedforward_dims=tuple(
            shape_of(shapes,
                     f'head.transformers.{i}.encoder.layers.0.linear1.weight')
            [0] for i in range(2)),
        num_layers=count_layers(shapes, 'head.transformers.0.encoder.layers.'),
        use_pose_tokens=any(
            key.startswith('head.pose_modulator.') for key in shapes),
        learned_upsample=True)
    if cfg['use_pose_tokens']:
        hidden, token_dim = shape_of(shapes,
                                     'head.pose_modulator.start_embed.weight')
        mixers = mixers_cfg(shapes, 'head.pose_modulator.mixers')
        cfg.update(
            official_compat=True,
            token_dim=token_dim,
            num_tokens=shape_of(shapes,
                                'head.pose_modulator.token_mlp.weight')[0],
            pose_modulator=dict(
                order='code',
                num_blocks=mixers['num_blocks'],
                hidden_dim=hidden,
                token_hidden_dim=mixers['token_hidden'],
                channel_hidden_dim=mixers['channel_hidden']))
    return cfg
