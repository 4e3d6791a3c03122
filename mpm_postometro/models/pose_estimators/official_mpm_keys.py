# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Parameter names of the published MPM networks, and ours.

=============================================  ==============================
published                                      ours
=============================================  ==============================
``encoder2d``, ``encoder3d``                   ``backbone.encoders.{2d,3d}``
``shared_layers_spatial``                      ``backbone.residual``,
                                               ``backbone.projection``
``shared_layers_temporal``                     ``backbone.position``,
                                               ``backbone.layers``
``spatial_mask_token2d`` ...                   ``backbone.joint_tokens.2d``
``temporal_mask_token``                        ``backbone.frame_token``
``encoder_LN``                                 ``backbone.norm``
``dec_pos_embedding``                          ``backbone.second_position``
``decoder2d``, ``fcn_dec2d`` ...               ``heads.2d``
``Transformer_reduce``, ``fcn``, ``fcn_1``     ``heads.3d`` (lifting)
``post_refine`` (a file of its own)            ``refiner.gates``
=============================================  ==============================

The published attention has linear layers for queries, keys and values, ours
has one; its 1x1 convolutions are linear layers here, and the convolution of
the strided layers is a linear layer on windows. Each transformer has a last
norm that the published forward pass never uses: it is dropped on the way
here, and made again, as it was initialised, on the way back.
"""
import re
from typing import Dict, Iterator, List, NamedTuple, Tuple

import torch
from mmpose.registry import MODELS
from torch import Tensor

from ..layers import PUBLISHED_STRIDES

__all__ = [
    'MPMWeights', 'from_official_mpm_state', 'model_config',
    'to_official_mpm_state'
]

State = Dict[str, Tensor]
Shapes = Dict[str, Tuple[int, ...]]

_BATCH_NORM = ('weight', 'bias', 'running_mean', 'running_var',
               'num_batches_tracked')
_PAIR = ('weight', 'bias')


class MPMWeights(NamedTuple):
    """Published weights under our names.

    Attributes:
        kind (str): 'masked' (pre-training and completion), 'lifting' or
            'refinement'.
        state_dict (dict[str, Tensor]): For ``MPMEstimator``; of a refinement
            its refiner alone.
        dropped (list[str]): Published names that no forward pass uses.
    """
    kind: str
    state_dict: State
    dropped: List[str]


class _Entry(NamedTuple):
    """One of our tensors and the published ones that it is made of."""
    ours: str
    official: Tuple[str, ...]
    # 'same', 'conv' (a last axis of 1 there), 'window' (kernel of 3 there),
    # 'vector' (shape (1, 1, d) there)
    form: str = 'same'


def _pair(ours: str, official: str, form: str = 'same') -> Iterator[_Entry]:
    yield _Entry(f'{ours}.weight', (f'{official}.weight', ), form)
    yield _Entry(f'{ours}.bias', (f'{official}.bias', ))


def _batch_norm(ours: str, official: str) -> Iterator[_Entry]:
    for leaf in _BATCH_NORM:
        yield _Entry(f'{ours}.{leaf}', (f'{official}.{leaf}', ))


def _layer_norm(ours: str, official: str) -> Iterator[_Entry]:
    yield _Entry(f'{ours}.weight', (f'{official}.a_2', ))
    yield _Entry(f'{ours}.bias', (f'{official}.b_2', ))


def _layers(ours: str, official: str, count: int,
            strided: bool) -> Iterator[_Entry]:
    for i in range(count):
        here, there = f'{ours}.{i}', f'{official}.{i}'
        for leaf in _PAIR:
            yield _Entry(
                f'{here}.self_attn.in_proj_{leaf}',
                tuple(f'{there}.self_attn.linears.{j}.{leaf}'
                      for j in range(3)))
        yield from _pair(f'{here}.self_attn.out_proj',
                         f'{there}.self_attn.linears.3')
        yield from _pair(f'{here}.linear1', f'{there}.feed_forward.w_1',
                         'conv' if strided else 'same')
        yield from _pair(f'{here}.linear2', f'{there}.feed_forward.w_2',
                         'window' if strided else 'same')
        for j in range(2):
            yield from _layer_norm(f'{here}.norm{j + 1}',
                                   f'{there}.sublayer.{j}.norm')


def _normed_linear(ours: str, official: str) -> Iterator[_Entry]:
    yield from _batch_norm(f'{ours}.norm', f'{official}.0')
    yield from _pair(f'{ours}.linear', f'{official}.1', 'conv')


def _backbone(modalities: Tuple[str, ...], count: int) -> Iterator[_Entry]:
    for name in modalities:
        here, there = f'backbone.encoders.{name}', f'encoder{name}'
        yield from _pair(f'{here}.linear', f'{there}.fc_1', 'conv')
        yield from _batch_norm(f'{here}.norm', f'{there}.bn_1')
    for i in range(2):
        here = f'backbone.residual.{i}'
        there = 'shared_layers_spatial.layers.0.'
        yield from _pair(f'{here}.linear', f'{there}w{i + 1}', 'conv')
        yield from _batch_norm(f'{here}.norm', f'{there}batch_norm{i + 1}')
    yield from _pair('backbone.projection', 'shared_layers_spatial.fc_2',
                     'conv')
    yield _Entry('backbone.position',
                 ('shared_layers_temporal.pos_embedding', ))
    yield from _layers('backbone.layers',
                       'shared_layers_temporal.model.layers', count, False)


def _count(state: State, pattern: str) -> int:
    found = (re.match(pattern, key) for key in state)
    return 1 + max((int(m[1]) for m in found if m), default=-1)


def _entries(state: State, official: bool) -> Tuple[str, List[_Entry]]:
    """The kind and the whole map of a state dict, ours or published."""
    side = int(official)

    def has(*names: str) -> bool:
        return names[side] in state

    refiner = list(_pair('refiner.gates.0', 'post_refine.0')) + list(
        _pair('refiner.gates.3', 'post_refine.3'))
    layers = _count(state,
                    (r'backbone\.layers\.(\d+)\.',
                     r'shared_layers_temporal\.model\.layers\.(\d+)\.')[side])
    modalities = tuple(
        name for name in ('2d', '3d')
        if has(f'backbone.encoders.{name}.linear.weight',
               f'encoder{name}.fc_1.weight'))
    if has('heads.3d.frame_output.linear.weight', 'fcn_1.1.weight'):
        entries = list(_backbone(modalities, layers))
        entries += _normed_linear('heads.3d.frame_output', 'fcn_1')
        entries += _normed_linear('heads.3d.target_output', 'fcn')
        here, there = 'heads.3d.aggregator', 'Transformer_reduce.model'
        strided = _count(
            state, (here.replace('.', r'\.') + r'\.layers\.(\d+)\.',
                    there.replace('.', r'\.') + r'\.layers\.(\d+)\.')[side])
        entries += [
            _Entry(f'{here}.positions.{i}',
                   (f'{there}.pos_embedding_{i + 1}', ))
            for i in range(min(strided, 3))
        ]
        entries += _layers(f'{here}.layers', f'{there}.layers', strided, True)
        if not official and 'refiner.gates.0.weight' in state:
            entries += refiner
        return 'lifting', entries
    if has('backbone.frame_token', 'temporal_mask_token'):
        entries = list(_backbone(modalities, layers))
        entries += [
            _Entry('backbone.frame_token', ('temporal_mask_token', )),
            _Entry('backbone.second_position', ('dec_pos_embedding', ))
        ]
        entries += _layer_norm('backbone.norm', 'encoder_LN')
        for name in modalities:
            entries.append(
                _Entry(f'backbone.joint_tokens.{name}',
                       (f'spatial_mask_token{name}', ), 'vector'))
        for name in ('2d', '3d'):
            here, there = f'heads.{name}.layers', f'decoder{name}.model.layers'
            decoder = _count(state,
                             (here.replace('.', r'\.') + r'\.(\d+)\.',
                              there.replace('.', r'\.') + r'\.(\d+)\.')[side])
            if decoder:
                entries += _layers(here, there, decoder, False)
                entries += _normed_linear(f'heads.{name}.output',
                                          f'fcn_dec{name}')
        return 'masked', entries
    if has('refiner.gates.0.weight', 'post_refine.0.weight'):
        return 'refinement', refiner
    some = ', '.join(list(state)[:5])
    raise ValueError('no checkpoint of MPM: expected ' + (
        'temporal_mask_token (masked), fcn_1.1.weight (lifting) or '
        'post_refine.0.weight (refinement)' if official else
        'backbone.frame_token (masked), heads.3d.frame_output.linear.weight '
        '(lifting) or refiner.gates.0.weight (refinement)') +
                     f', but got {some}...')


def _unused_norms(kind: str, entries: List[_Entry]) -> List[str]:
    """Published names of the norms that no forward pass uses."""
    if kind == 'refinement':
        return []
    official = [name for entry in entries for name in entry.official]
    stacks = {
        name[:name.index('.model.')]
        for name in official if '.model.layers.' in name
    }
    return [
        f'{stack}.model.norm.{leaf}' for stack in sorted(stacks)
        for leaf in ('a_2', 'b_2')
    ]


def _check_names(state: State, expected: List[str], kind: str) -> None:
    unknown = sorted(set(state) - set(expected))
    missing = sorted(set(expected) - set(state))
    if unknown or missing:
        parts = []
        if missing:
            parts.append(f'missing: {", ".join(missing)}')
        if unknown:
            parts.append(f'unknown: {", ".join(unknown)}')
        raise ValueError(f'this is no {kind} network of MPM; ' +
                         '; '.join(parts))


def _strip(state: State) -> State:
    if not state or not all(
            isinstance(value, Tensor) for value in state.values()):
        raise ValueError('expected a state dict, names with tensors')
    if all(key.startswith('module.') for key in state):
        return {key[len('module.'):]: value for key, value in state.items()}
    return state


def from_official_mpm_state(state: State) -> MPMWeights:
    """Published weights under our names.

    Args:
        state (dict[str, Tensor]): A published state dict, with or without
            ``module.`` before all names.

    Returns:
        MPMWeights: See there.

    Raises:
        ValueError: If this is no network of MPM, or a name is unknown or
            missing (all are listed), or a shape does not fit.
    """
    state = _strip(state)
    kind, entries = _entries(state, official=True)
    dropped = _unused_norms(kind, entries)
    _check_names(state, [n for e in entries for n in e.official] + dropped,
                 kind)
    renamed = {}
    for entry in entries:
        tensors = [state[name] for name in entry.official]
        if len({tensor.shape for tensor in tensors}) > 1:
            raise ValueError(f'{", ".join(entry.official)} should be of one '
                             'shape')
        value = torch.cat(tensors) if len(tensors) > 1 else tensors[0]
        kernel = 3 if entry.form == 'window' else 1
        if entry.form in ('conv', 'window') and (value.dim() != 3
                                                 or value.shape[2] != kernel):
            raise ValueError(f'{entry.official[0]} should be (out, in, '
                             f'{kernel}), but is {tuple(value.shape)}')
        if entry.form == 'conv':
            value = value[..., 0]
        elif entry.form == 'window':
            value = value.transpose(1, 2).flatten(1)
        elif entry.form == 'vector':
            value = value.flatten()
        renamed[entry.ours] = value.clone()
    _check_shapes(renamed, kind)
    return MPMWeights(kind, renamed, dropped)


def to_official_mpm_state(state: State) -> Tuple[str, State, State]:
    """Our weights under the published names.

    Args:
        state (dict[str, Tensor]): State dict of an ``MPMEstimator``.

    Returns:
        tuple[str, dict[str, Tensor], dict[str, Tensor]]: The kind, the
        published state dict, and that of the refinement, which is published
        in a file of its own (empty if there is none).

    Raises:
        ValueError: If these are no weights of MPM as published.
    """
    state = _strip(state)
    kind, entries = _entries(state, official=False)
    _check_names(state, [e.ours for e in entries], kind)
    _check_shapes(state, kind)
    official, refinement = {}, {}
    for entry in entries:
        value = state[entry.ours]
        if entry.form == 'conv':
            value = value[..., None]
        elif entry.form == 'window':
            value = value.unflatten(1, (3, -1)).transpose(1, 2)
        elif entry.form == 'vector':
            value = value[None, None]
        into = refinement if (entry.ours.startswith('refiner.')
                              and kind == 'lifting') else official
        for name, part in zip(
                entry.official,
                value.chunk(len(entry.official))
                if len(entry.official) > 1 else (value, )):
            into[name] = part.clone(memory_format=torch.contiguous_format)
    for name in _unused_norms(kind, entries):
        fill = torch.ones if name.endswith('a_2') else torch.zeros
        official[name] = fill(state['backbone.position'].shape[-1])
    return kind, official, refinement


def model_config(state: State) -> dict:
    """Config of the ``MPMEstimator`` of our state dict, as far as shapes
    tell: heads are taken to be 8, as always published, and strides 3, or
    those published for the length of the clip.

    Args:
        state (dict[str, Tensor]): In our names.

    Returns:
        dict: ``backbone``, ``heads`` and ``tasks``; of a refinement
        ``refiner`` alone.
    """
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    cfg = {}
    if 'refiner.gates.0.weight' in shapes:
        hidden, both = shapes['refiner.gates.0.weight']
        cfg['refiner'] = dict(
            type='MPMRefiner', num_joints=both // 6, hidden_channels=hidden)
    if 'backbone.position' not in shapes:
        return cfg
    modalities = tuple(
        m for m in ('2d', '3d')
        if f'backbone.encoders.{m}.linear.weight' in shapes)
    _, frames, channels = shapes['backbone.position']
    hidden, width = shapes[f'backbone.encoders.{modalities[0]}.linear.weight']
    common = dict(
        num_joints=width // int(modalities[0][0]),
        channels=channels,
        feedforward_channels=shapes['backbone.layers.0.linear1.weight'][0])
    cfg['backbone'] = dict(
        type='MPM',
        num_frames=frames,
        hidden_channels=hidden,
        num_layers=_count(state, r'backbone\.layers\.(\d+)\.'),
        modalities=modalities,
        masking='backbone.frame_token' in shapes,
        **common)
    if 'heads.3d.frame_output.linear.weight' in shapes:
        strides = PUBLISHED_STRIDES.get(frames) or (3, ) * _count(
            state, r'heads\.3d\.aggregator\.layers\.(\d+)\.')
        cfg['heads'] = {
            '3d':
            dict(
                type='MPMLiftingHead',
                num_frames=frames,
                strides=strides,
                **common)
        }
        cfg['tasks'] = [dict(source='2d', target='3d')]
        return cfg
    targets = [
        m for m in ('2d', '3d') if f'heads.{m}.output.linear.weight' in shapes
    ]
    cfg['heads'] = {
        m:
        dict(
            type='MPMDecoderHead',
            coord_dims=int(m[0]),
            num_layers=_count(state, rf'heads\.{m}\.layers\.(\d+)\.'),
            **common)
        for m in targets
    }
    # Which of them, and with what weights, is the user's to say.
    cfg['tasks'] = [
        dict(source=source, target=target) for source in modalities
        for target in targets
    ]
    return cfg


def _check_shapes(state: State, kind: str) -> None:
    """Compare with the network of these sizes."""
    cfg = model_config(state)
    with torch.device('meta'):
        if kind == 'refinement':
            model = torch.nn.ModuleDict(
                dict(refiner=MODELS.build(cfg['refiner'])))
        else:
            model = MODELS.build(dict(type='MPMEstimator', **cfg))
    wrong = [
        f'{key} is {tuple(state[key].shape)} and should be '
        f'{tuple(value.shape)}' for key, value in model.state_dict().items()
        if key in state and state[key].shape != value.shape
    ]
    if wrong:
        raise ValueError('shapes do not fit together: ' + '; '.join(wrong))
