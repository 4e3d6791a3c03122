# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Sizes of the published PCT networks, read from the shapes of their
weights."""
import math
import re
from typing import Callable, Dict, Sequence, Tuple

import torch
from mmpose.registry import MODELS

__all__ = [
    'count_layers', 'differences', 'mixers_cfg', 'parameter_shapes',
    'part_configs', 'shape_of'
]

Shapes = Dict[str, Tuple[int, ...]]


def part_configs(shapes: Shapes, kind: str) -> Dict[str, dict]:
    """Configs of the parts of an estimator.

    Args:
        shapes (dict[str, tuple]): Shapes of its parameters, in our names.
        kind (str): 'classifier', 'tokenizer', 'heatmap', 'backbone' or
            'pose_branch', which is a classifier without the backbone that
            only guides its training.

    Returns:
        dict[str, dict]: By attribute of the estimator: ``backbone``,
        ``head``, ``tokenizer``, ``guide_backbone``.

    Raises:
        KeyError: If a parameter from which a size is read is missing or has
            another number of dimensions; its name.
    """
    parts, tokenizer = {}, {}
    if kind != 'tokenizer':
        parts['backbone'] = _swin_cfg(shapes, 'backbone')
    if kind == 'heatmap':
        parts['head'] = _heatmap_head_cfg(shapes)
    if kind in ('classifier', 'pose_branch'):
        parts['head'] = _pct_head_cfg(shapes)
        tokenizer = parts['head']['tokenizer']
    if kind == 'tokenizer':
        parts['tokenizer'] = tokenizer = _tokenizer_cfg(shapes, 'tokenizer')
    if 'guide_ratio' in tokenizer and kind != 'pose_branch':
        parts['guide_backbone'] = _swin_cfg(shapes, 'guide_backbone')
    return parts


def parameter_shapes(parts: Dict[str, dict]) -> Shapes:
    """Names and shapes of all parameters and buffers of some modules, which
    are built without taking memory."""
    shapes = {}
    with torch.device('meta'):
        for name, cfg in parts.items():
            for key, value in MODELS.build(cfg).state_dict().items():
                shapes[f'{name}.{key}'] = tuple(value.shape)
    return shapes


def differences(
    found: Shapes,
    expected: Shapes,
    name: Callable[[str], str] = str,
    unknown: Sequence[str] = ()) -> str:
    """What is missing, unknown or of another shape.

    Args:
        found (dict[str, tuple]): What a file has.
        expected (dict[str, tuple]): What a network has.
        name (callable): Name to show of a parameter. Defaults to its own.
        unknown (Sequence[str]): Further names that nothing is known of.

    Returns:
        str: One line; '' if there are no differences.
    """
    wrong = dict(
        missing=[name(key) for key in expected if key not in found],
        unknown=[*unknown, *(name(k) for k in found if k not in expected)],
        shape=[
            f'{name(key)} {found[key]}, expected {shape}'
            for key, shape in expected.items()
            if found.get(key, shape) != shape
        ])
    return '; '.join(f'{what}: {", ".join(sorted(keys))}'
                     for what, keys in wrong.items() if keys)


def shape_of(shapes: Shapes, key: str, dims: int = 2) -> Tuple[int, ...]:
    """Shape of a parameter; a KeyError with its name if it is missing or has
    another number of dimensions."""
    if len(shapes.get(key, ())) != dims:
        raise KeyError(key)
    return shapes[key]


def count_layers(shapes: Shapes, prefix: str) -> int:
    """Number of layers whose names are a prefix and a number."""
    matches = (re.match(rf'{re.escape(prefix)}\d+\.', key) for key in shapes)
    return len({match[0] for match in matches if match})


def _swin_cfg(shapes: Shapes, name: str) -> dict:
    stages = [f'{name}.layers.{stage}.blocks.' for stage in range(4)]
    return dict(
        type='TimmSwinV2',
        embed_dim=shape_of(shapes, f'{name}.patch_embed.proj.weight', 4)[0],
        depths=tuple(count_layers(shapes, s) for s in stages),
        num_heads=tuple(
            shape_of(shapes, f'{stage}0.attn.logit_scale', 3)[0]
            for stage in stages))


def mixers_cfg(shapes: Shapes, name: str) -> dict:
    """Sizes of the mixer layers ``name.0``, ``name.1``, ..."""
    token_hidden, _ = shape_of(shapes, f'{name}.0.MLP_token.ff.0.weight')
    channel_hidden, channels = shape_of(shapes,
                                        f'{name}.0.MLP_channel.ff.0.weight')
    return dict(
        num_blocks=count_layers(shapes, f'{name}.'),
        channels=channels,
        token_hidden=token_hidden,
        channel_hidden=channel_hidden)


def _tokenizer_cfg(shapes: Shapes, name: str) -> dict:
    num_tokens, num_joints = shape_of(shapes, f'{name}.token_mlp.weight')
    num_codes, token_dim = shape_of(shapes, f'{name}.quantizer.codebook')
    cfg = dict(
        type='PCTTokenizer',
        num_joints=num_joints,
        num_tokens=num_tokens,
        num_codes=num_codes,
        token_dim=token_dim,
        coord_dims=shape_of(shapes, f'{name}.recover_embed.weight')[0],
        encoder=mixers_cfg(shapes, f'{name}.encoder'),
        decoder=mixers_cfg(shapes, f'{name}.decoder'))
    if f'{name}.start_img_embed.weight' in shapes:
        width, channels = shape_of(shapes, f'{name}.start_img_embed.weight')
        cfg.update(
            guide_ratio=width / cfg['encoder']['channels'],
            guide_channels=channels)
    return cfg


def _pct_head_cfg(shapes: Shapes) -> dict:
    channels, in_channels = shape_of(shapes, 'head.conv_trans.0.weight', 4)[:2]
    mixers = mixers_cfg(shapes, 'head.mixer_head')
    cells = shape_of(shapes, 'head.mixer_trans.ff.0.weight')[1] // channels
    side = math.isqrt(cells)
    return dict(
        type='PCTHead',
        in_channels=in_channels,
        # Published ones are square.
        feat_size=(side, side) if side * side == cells else (cells, 1),
        conv_channels=channels,
        conv_num_blocks=count_layers(shapes, 'head.conv_head.0.'),
        num_mixers=mixers['num_blocks'],
        hidden_channels=mixers['channels'],
        token_hidden=mixers['token_hidden'],
        channel_hidden=mixers['channel_hidden'],
        tokenizer=_tokenizer_cfg(shapes, 'head.tokenizer'))


def _heatmap_head_cfg(shapes: Shapes) -> dict:
    layers = [
        shape_of(shapes, f'head.deconv_layers.{3 * i}.weight', 4)
        for i in range(count_layers(shapes, 'head.deconv_layers.') // 2)
    ]
    joints, channels, kernel, _ = shape_of(shapes, 'head.final_layer.weight',
                                           4)
    return dict(
        type='HeatmapHead',
        in_channels=layers[0][0] if layers else channels,
        out_channels=joints,
        deconv_out_channels=tuple(shape[1] for shape in layers),
        deconv_kernel_sizes=tuple(shape[2] for shape in layers),
        final_layer=dict(kernel_size=kernel, padding=kernel // 2))
