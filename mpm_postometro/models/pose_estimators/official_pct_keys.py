# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Parameter names of the published PCT checkpoints, and ours.

=============================  ==============================  ============
published                      ours                            in
=============================  ==============================  ============
``backbone.*`` (SwinV2)        ``backbone.*`` (TimmSwinV2)     all but the
                                                               tokenizer
``extra_backbone.*``           ``guide_backbone.*``            where guided
``keypoint_head.tokenizer.*``  ``tokenizer.*``                 tokenizer
``keypoint_head.*``            ``head.*`` (PCTHead)            classifier
``keypoint_head.*``            ``head.*`` (HeatmapHead)        heatmap
=============================  ==============================  ============

Within them the codebook moves under ``quantizer.``, and SwinV2 takes the
names of timm. Its tables of relative positions depend on the windows alone:
they are dropped on the way here, after a look at what windows they are of,
and made again on the way back.

The names of the tokenizer, the classifier and SwinV2 are those of the
published code, with which this map was tested at small sizes; those of the
heatmap's head are MMPose's, the same in 0.x and 1.x. No released file was at
hand. PCT says of its SimMIM files that they lack the tables and the last
norm, so a backbone alone may lack them; of Microsoft's own files it is taken
on trust that they have the names of their code. What a file has beyond that
is refused by name, and nothing is guessed.
"""
import math
import re
from typing import Dict, Iterable, List, NamedTuple, Optional, Sequence, Tuple

import torch
from torch import Tensor

from .official_pct_sizes import differences, parameter_shapes, part_configs

__all__ = [
    'KINDS', 'PCTWeights', 'check_fits', 'from_official_pct_key',
    'from_official_pct_state', 'relative_position_tables',
    'to_official_pct_key', 'to_official_pct_state'
]

State = Dict[str, Tensor]

# What the checkpoints of each kind hold, by published prefix.
KINDS = {
    'classifier': ('backbone.', 'extra_backbone.', 'keypoint_head.'),
    'tokenizer': ('extra_backbone.', 'keypoint_head.tokenizer.'),
    'heatmap': ('backbone.', 'keypoint_head.'),
    'backbone': ('backbone.', ),
}
# PostoMETRO's network holds a classifier, of which it needs no more.
_HOLDINGS = dict(KINDS, pose_branch=('backbone.', 'keypoint_head.'))
# A parameter that tells the kind, there and here; the first that is found.
_SIGNS = {
    'classifier':
    ('keypoint_head.cls_pred_layer.weight', 'head.cls_pred_layer.weight'),
    'tokenizer':
    ('keypoint_head.tokenizer.token_mlp.weight', 'tokenizer.token_mlp.weight'),
    'heatmap': ('keypoint_head.final_layer.weight', 'head.final_layer.weight'),
    'backbone': ('backbone.patch_embed.proj.weight', ) * 2,
}
_PREFIXES = {
    'backbone.': 'backbone.',
    'extra_backbone.': 'guide_backbone.',
    'keypoint_head.': 'head.'
}
_CODEBOOK = ('codebook', 'ema_w', 'ema_cluster_size')
_TABLES = ('relative_coords_table', 'relative_position_index')
# Beside the backbone in files of SwinV2's own training: its classifier, the
# decoder of masked patches and the token that stood for them.
_PRETRAINING = r'head\..+|decoder\..+|(encoder\.)?mask_token'


class PCTWeights(NamedTuple):
    """Published weights under our names.

    Attributes:
        kind (str): A key of :data:`KINDS`, or 'pose_branch'.
        state_dict (dict[str, Tensor]): For the estimator of that kind.
        parts (dict[str, dict]): Configs of its parts, with the sizes that
            the shapes tell.
        windows (dict[str, tuple]): Of each backbone the window of each stage
            and that of the pre-training, as the file's tables have them;
            empty where it has none.
        dropped (list[str]): Published names that were left out, the tables
            of relative positions aside.
    """
    kind: str
    state_dict: State
    parts: Dict[str, dict]
    windows: Dict[str, Tuple[Tuple[int, ...], Tuple[int, ...]]]
    dropped: List[str]


# --------------------------------- names ---------------------------------
def from_official_pct_key(key: str) -> Optional[str]:
    """Our name of a published parameter.

    Args:
        key (str): With its prefix, ``backbone.``, ``extra_backbone.`` or
            ``keypoint_head.``, without ``module.``.

    Returns:
        str | None: Our name in a classifier or heatmap estimator (in the
        estimator of the tokenizer without ``head.``); None for a table that
        follows from the windows.

    Raises:
        ValueError: If the prefix is none of these.
    """
    for official, ours in _PREFIXES.items():
        if not key.startswith(official):
            continue
        name = key[len(official):]
        if official == 'keypoint_head.':
            parent, _, leaf = name.rpartition('.')
            if parent == 'tokenizer' and leaf in _CODEBOOK:
                name = f'tokenizer.quantizer.{leaf}'
            return ours + name
        if re.fullmatch(
                r'layers\.\d+\.blocks\.\d+\.(attn_mask|attn\.(' +
                '|'.join(_TABLES) + '))', name):
            return None
        # timm has the down-sampling at the start of the next stage.
        name = re.sub(r'^layers\.(\d+)\.downsample\.',
                      lambda m: f'layers.{int(m[1]) + 1}.downsample.', name)
        name = name.replace('.attn.rpe_mlp.', '.attn.cpb_mlp.')
        return ours + re.sub(r'^norm3\.', 'norm.', name)
    raise ValueError(f'{key}: expected a name that starts with one of '
                     f'{", ".join(_PREFIXES)}')


def to_official_pct_key(key: str) -> str:
    """Published name of one of our parameters, the inverse of
    :func:`from_official_pct_key`."""
    if key.startswith('tokenizer.'):
        key = f'head.{key}'
    for official, ours in _PREFIXES.items():
        if not key.startswith(ours):
            continue
        name = key[len(ours):]
        if official == 'keypoint_head.':
            return official + name.replace('tokenizer.quantizer.',
                                           'tokenizer.')
        name = re.sub(r'^layers\.([1-9]\d*)\.downsample\.',
                      lambda m: f'layers.{int(m[1]) - 1}.downsample.', name)
        name = name.replace('.attn.cpb_mlp.', '.attn.rpe_mlp.')
        return official + re.sub(r'^norm\.', 'norm3.', name)
    raise ValueError(f'{key}: expected a name that starts with one of '
                     f'{", ".join(_PREFIXES.values())}, tokenizer.')


# ------------------------------ whole states ------------------------------
def from_official_pct_state(state: State,
                            kind: Optional[str] = None) -> PCTWeights:
    """Published weights under our names, checked against our networks.

    The tokenizer's own file may carry a ``backbone.``, which that stage does
    not use: it is dropped. So are the classifier and decoder in files of
    SwinV2's pre-training, which in turn need not have its last norm: that
    starts as the identity. With ``kind`` given, a part can be taken out of a
    larger file, and the others are dropped.

    Args:
        state (dict[str, Tensor]): A published state dict, with or without
            ``module.`` before all names.
        kind (str, optional): A key of :data:`KINDS`, or 'pose_branch' for
            what of a classifier predicts. Defaults to None, which is read
            from the names.

    Returns:
        PCTWeights: See there.

    Raises:
        ValueError: If the kind cannot be told, or a name is unknown or
            missing, or a shape does not fit the others.
    """
    if not state or not all(
            isinstance(value, Tensor) for value in state.values()):
        raise ValueError('expected a state dict, names with tensors')
    if all(key.startswith('module.') for key in state):
        state = {key[len('module.'):]: value for key, value in state.items()}
    state, dropped = _split_pretraining(state)
    found = kind or _detect(state, 0)
    wanted = _HOLDINGS[found]
    removable = ('backbone.', ) if found == 'tokenizer' else ()
    if kind is not None:
        removable = tuple(_PREFIXES)
    kept, unknown = {}, []
    for key, value in state.items():
        if key.startswith(wanted):
            kept[key] = value
        elif key.startswith(removable):
            dropped.append(key)
        else:
            unknown.append(key)

    renamed, tables = {}, {}
    for key, value in kept.items():
        ours = from_official_pct_key(key)
        if ours is None:
            tables[key] = value
            continue
        if found == 'tokenizer' and ours.startswith('head.'):
            ours = ours[len('head.'):]
        if ours in renamed:  # under two of the published names
            unknown.append(key)
        renamed[ours] = value
    # A table without its block is of no known network either.
    blocks = {key.split('.attn.')[0] for key in kept if '.attn.qkv.' in key}
    unknown += [key for key in tables if key.split('.attn')[0] not in blocks]
    parts = _check(renamed, found, official=True, unknown=unknown)
    windows = {}
    for official in ('backbone.', 'extra_backbone.'):
        found_windows = _read_windows(tables, official)
        if found_windows is not None:
            windows[_PREFIXES[official][:-1]] = found_windows
    return PCTWeights(found, renamed, parts, windows, dropped)


def to_official_pct_state(
    state: State,
    window_size: Sequence[int] = (16, 16, 16, 8),
    pretrained_window_sizes: Sequence[int] = (12, 12, 12, 6),
    kind: Optional[str] = None,
) -> Tuple[str, State]:
    """Our weights under the published names, with the tables of SwinV2.

    Args:
        state (dict[str, Tensor]): State dict of one of our estimators.
        window_size (Sequence[int]): As in ``TimmSwinV2``, the published ones
            by default.
        pretrained_window_sizes (Sequence[int]): Likewise.
        kind (str, optional): As in :func:`from_official_pct_state`.

    Returns:
        tuple[str, dict[str, Tensor]]: The kind and the published state dict.

    Raises:
        ValueError: If these are no weights of PCT as published.
    """
    kind = kind or _detect(state, 1)
    parts = _check(state, kind, official=False)
    official = {}
    for key, value in state.items():
        official[to_official_pct_key(key)] = value
    for name in ('backbone', 'guide_backbone'):
        prefix = to_official_pct_key(f'{name}.')
        for stage, depth in enumerate(parts.get(name, {}).get('depths', ())):
            tables = relative_position_tables(window_size[stage],
                                              pretrained_window_sizes[stage])
            for block in range(depth):
                for leaf, table in zip(_TABLES, tables):
                    key = f'layers.{stage}.blocks.{block}.attn.{leaf}'
                    official[prefix + key] = table.clone()
    return kind, official


def check_fits(weights: PCTWeights, model: dict) -> None:
    """Check that weights load strictly into the model of a config.

    Args:
        weights (PCTWeights): The weights.
        model (dict): Config of an estimator.

    Raises:
        ValueError: If they do not, with the parts or the names and shapes
            that differ, or if the windows of SwinV2 do, which no shape
            tells.
    """
    names = ('backbone', 'neck', 'head', 'guide_backbone', 'tokenizer')
    if weights.kind == 'backbone':
        names = ('backbone', )
    parts = {name: model[name] for name in names if model.get(name)}
    types = {name: cfg['type'] for name, cfg in parts.items()}
    expected = {name: cfg['type'] for name, cfg in weights.parts.items()}
    if types != expected:
        raise ValueError(f'the weights are of {expected}, but the config has '
                         f'{types}')
    tokenizer = parts.get('tokenizer') or parts.get('head', {}).get(
        'tokenizer', {})
    if tokenizer.get('coord_scale') is not None:
        raise ValueError('published tokenizers take pixels as they are, but '
                         'that of the config has coord_scale')
    own = _shapes_of(weights.state_dict)
    problems = differences(own, _expected(parts, own, weights.kind))
    if problems:
        raise ValueError(f'the weights do not fit the config: {problems}')
    for name, (windows, pretrained) in weights.windows.items():
        cfg = parts[name]
        expected = tuple(cfg.get('pretrained_window_sizes', (12, 12, 12, 6)))
        if pretrained != expected:
            raise ValueError(
                f'{name}.pretrained_window_sizes is {expected} in the config, '
                f'but the weights were trained with {pretrained}')
        expected = tuple(cfg.get('window_size', (16, 16, 16, 8)))
        # What was only pre-trained may go on with other windows.
        if windows != expected and weights.kind != 'backbone':
            raise ValueError(
                f'{name}.window_size is {expected} in the config, but the '
                f'weights were trained with {windows}')


def _split_pretraining(state: State) -> Tuple[State, List[str]]:
    """Give a file of SwinV2's own training the prefix ``backbone.``; returns
    the names that are left out, too."""
    weight = 'patch_embed.proj.weight'
    if weight in state:
        prefix = ''
    elif f'encoder.{weight}' in state:
        prefix = 'encoder.'
    else:
        return state, []
    kept, dropped = {}, []
    for key, value in state.items():
        if re.fullmatch(_PRETRAINING, key):
            dropped.append(key)
        elif key.startswith(prefix):
            kept['backbone.' + key[len(prefix):]] = value
        else:
            kept[key] = value
    return kept, dropped


def _detect(state: State, side: int) -> str:
    """Kind by published names (side 0) or by ours (side 1)."""
    for kind, signs in _SIGNS.items():
        if signs[0] != signs[1] and signs[1 - side] in state:
            raise ValueError(
                f'{signs[1 - side]} is a name of this project, not one of '
                'the published files' if side == 0 else
                f'{signs[1 - side]} is a name of the published files already')
        if signs[side] in state:
            return kind
    some = ', '.join(list(state)[:5])
    raise ValueError('no checkpoint of PCT: expected one of ' +
                     ', '.join(f'{signs[side]} ({kind})'
                               for kind, signs in _SIGNS.items()) +
                     f', but got {some}...')


def _shapes_of(state: State) -> Dict[str, Tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in state.items()}


def _expected(parts: Dict[str, dict], found: Iterable[str],
              kind: str) -> Dict[str, Tuple[int, ...]]:
    """Names and shapes that a file of this kind has to have."""
    shapes = parameter_shapes(parts)
    norm = 'backbone.norm.'
    if kind == 'backbone' and not any(key.startswith(norm) for key in found):
        shapes = {k: v for k, v in shapes.items() if not k.startswith(norm)}
    return shapes


def _check(state: State,
           kind: str,
           official: bool,
           unknown: Sequence[str] = ()) -> Dict[str, dict]:
    """Compare a state dict in our names with the networks of its sizes.

    Errors are in the names of the file. Returns the configs of the parts.
    """
    name = to_official_pct_key if official else str
    shapes = _shapes_of(state)
    try:
        parts = part_configs(shapes, kind)
    except KeyError as error:
        problems = f'missing or of another shape: {name(error.args[0])}'
    else:
        problems = differences(shapes, _expected(parts, shapes, kind), name,
                               unknown)
    if problems:
        raise ValueError(f'this is no {kind} of PCT: {problems}')
    return parts


# ------------------------- tables of SwinV2 windows -------------------------
def relative_position_tables(window: int,
                             pretrained: int) -> Tuple[Tensor, Tensor]:
    """What the published SwinV2 keeps of the positions in a window.

    Args:
        window (int): Height and width of the window, in cells.
        pretrained (int): The same at the time of the pre-training.

    Returns:
        tuple[Tensor, Tensor]: ``relative_coords_table (1, 2w-1, 2w-1, 2)``,
        the scaled logarithms of row and column offsets, and
        ``relative_position_index (w*w, w*w)``, int64.
    """
    offsets = torch.arange(1 - window, window, dtype=torch.float32)
    coords = torch.stack(torch.meshgrid(offsets, offsets, indexing='ij'), -1)
    coords = coords / (pretrained - 1) * 8
    coords = coords.sign() * torch.log2(coords.abs() + 1.) / math.log2(8)
    cells = torch.arange(window)
    cells = torch.stack(torch.meshgrid(cells, cells, indexing='ij'), -1)
    cells = cells.view(-1, 2)
    offsets = cells[:, None] - cells[None] + window - 1
    index = offsets[..., 0] * (2 * window - 1) + offsets[..., 1]
    return coords[None], index


def _read_windows(
        tables: State,
        prefix: str) -> Optional[Tuple[Tuple[int, ...], Tuple[int, ...]]]:
    """Window of each stage and of the pre-training, from the tables of a
    backbone; None if it has none.

    Raises:
        ValueError: If the tables are of another kind.
    """
    coords = {
        key: value
        for key, value in tables.items()
        if key.startswith(prefix) and key.endswith(_TABLES[0])
    }
    found: Dict[int, Tuple[int, int]] = {}
    for key, table in coords.items():
        stage = int(key[len(prefix):].split('.')[1])
        window = (table.shape[1] + 1) // 2 if table.ndim == 4 else 0
        # The largest offset is log2(8 (w - 1) / (p - 1) + 1) / 3.
        largest = float(table.max()) if window > 1 else 0.
        pretrained = 0
        if 0 < largest < 10:
            pretrained = round(8 * (window - 1) / (2**(3 * largest) - 1)) + 1
        expected = table.new_zeros(())
        if pretrained > 1:
            expected, _ = relative_position_tables(window, pretrained)
        if (table.shape != expected.shape
                or not torch.allclose(table.float(), expected, atol=1e-5)
                or found.setdefault(
                    stage, (window, pretrained)) != (window, pretrained)):
            raise ValueError(
                f'{key} is not the table of scaled log offsets that PCT\'s '
                'SwinV2 has, one for each stage')
    if not found:
        return None
    windows, pretrained = zip(*(found[stage] for stage in sorted(found)))
    return windows, pretrained
