# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Parameter names of the published FastMETRO and PostoMETRO networks, and
ours.

===============================  ===========================  ===============
published                        ours                         in
===============================  ===========================  ===============
``backbone.{0,1,4-7}.*``         ``backbone.*`` (ResNet)      FastMETRO, R50
``backbone.*`` (conv1, layer1)   ``backbone.*`` (ResNet)      PostoMETRO, R50
``backbone.*`` (conv1, stage2)   ``backbone.*`` (HRNet)       with an HRNet
``backbone.{incre_modules,``     ``neck.*``                   FastMETRO, H64
``downsamp_modules,``
``final_layer}.*``
``pct.{backbone,``               ``pose_branch.*``, see       PostoMETRO
``keypoint_head}.*``             :mod:`official_pct_keys`
``transformer_1.*`` etc.         ``head.*``, see              all
                                 :mod:`..heads.official_keys`
===============================  ===========================  ===============

What no prediction needs is left out, and named: the regressor of body
parameters that FastMETRO may have (``smpl_parameter_regressor.*``, which
starts from the finished mesh), the last layer of HRNet's classifier or of
its heatmaps, and the second copy of the pose branch's backbone
(``pct.extra_backbone.*``), which the authors' code gives the same weights as
the first.

The names are those of the published code. With numbers of that code the head
and the pose branch were tested at small sizes, the backbones with the
networks of torchvision and timm from which they come. No released file was
at hand. What a file has beyond that is refused by name.
"""
import re
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence, Tuple

from torch import Tensor

from mpm_postometro.bodies import load_body
from ..heads import from_official_key, to_official_key
from .official_mesh_sizes import mesh_parameter_shapes, mesh_part_configs
from .official_pct_keys import (PCTWeights, check_fits,
                                from_official_pct_state, to_official_pct_state)
from .official_pct_sizes import differences, shape_of

__all__ = [
    'MeshWeights', 'check_mesh_fits', 'from_official_mesh_state',
    'to_official_mesh_state'
]

State = Dict[str, Tensor]

# Places in FastMETRO's Sequential; 2 and 3 have no weights.
_SEQUENTIAL = {
    '0': 'conv1',
    '1': 'bn1',
    '4': 'layer1',
    '5': 'layer2',
    '6': 'layer3',
    '7': 'layer4'
}
_NECK = r'(incre_modules|downsamp_modules|final_layer)\.\d+\..+'
_UNUSED = (r'smpl_parameter_regressor\..+|'
           r'backbone\.(classifier|final_layer)\.(weight|bias)')
# A parameter of every network, there and here; one of PostoMETRO's alone.
_SIGN = ('xyz_regressor.weight', 'head.coordinate_head.weight')
_POSE_SIGN = ('token_mixer.ff.0.weight',
              'head.pose_modulator.proj.ff.0.weight')


class MeshWeights(NamedTuple):
    """Published weights under our names.

    Attributes:
        kind (str): 'fastmetro' or 'postometro'.
        state_dict (dict[str, Tensor]): For :class:`MeshEstimator`.
        parts (dict[str, dict]): Configs of its backbone, neck and head, with
            the sizes that the shapes tell.
        pose_branch (PCTWeights, optional): The pose branch alone.
        dropped (list[str]): Published names that were left out, tables of
            relative positions aside.
    """
    kind: str
    state_dict: State
    parts: Dict[str, dict]
    pose_branch: Optional[PCTWeights]
    dropped: List[str]


# --------------------------------- names ---------------------------------
def _from_official(key: str, sequential: bool) -> Optional[str]:
    """Our name of a published parameter outside the pose branch; None if
    nothing is known of it. FastMETRO's ResNet is ``sequential``."""
    module, _, name = key.partition('.')
    if module != 'backbone':
        ours = from_official_key(key)
        return None if ours is None else f'head.{ours}'
    if re.fullmatch(_NECK, name):
        return f'neck.{name}'
    if sequential:
        place, _, rest = name.partition('.')
        return f'backbone.{_SEQUENTIAL.get(place, place)}.{rest}'
    return key


def _to_official(key: str, sequential: bool) -> str:
    """The inverse of :func:`_from_official`; what has no published name
    keeps ours."""
    module, _, name = key.partition('.')
    if module == 'neck':
        return f'backbone.{name}'
    if module == 'head':
        return to_official_key(name) or key
    if module == 'backbone' and sequential:
        for place, ours in _SEQUENTIAL.items():
            if name.startswith(f'{ours}.'):
                return f'backbone.{place}{name[len(ours):]}'
    return key


# ------------------------------ whole states ------------------------------
def from_official_mesh_state(state: State,
                             head_only: bool = False) -> MeshWeights:
    """Published weights under our names, checked against our networks.

    Args:
        state (dict[str, Tensor]): A published state dict, with or without
            ``module.`` before all names.
        head_only (bool): Leave out backbone and pose branch, whatever they
            are. Defaults to False.

    Returns:
        MeshWeights: See there.

    Raises:
        ValueError: If these are no such weights, or a name is unknown or
            missing, or a shape does not fit the others.
    """
    if not state or not all(
            isinstance(value, Tensor) for value in state.values()):
        raise ValueError('expected a state dict, names with tensors')
    if all(key.startswith('module.') for key in state):
        state = {key[len('module.'):]: value for key, value in state.items()}
    kind = _detect(state, 0)
    sequential = 'backbone.7.0.conv1.weight' in state
    renamed: State = {}
    branch: State = {}
    dropped, unknown = [], []
    for key, value in state.items():
        if re.fullmatch(_UNUSED, key) or (head_only and key.startswith(
            ('backbone.', 'pct.'))):
            dropped.append(key)
        elif key.startswith('pct.'):
            branch[key[len('pct.'):]] = value
        else:
            ours = _from_official(key, sequential)
            if ours is None or ours in renamed:  # under two published names
                unknown.append(key)
            else:
                renamed[ours] = value
    parts = _check(renamed, kind, head_only,
                   lambda key: _to_official(key, sequential), unknown)
    pose_branch = None
    if kind == 'postometro' and not head_only:
        pose_branch = _pct(from_official_pct_state, branch, 'pose_branch')
        dropped += [f'pct.{key}' for key in pose_branch.dropped]
        renamed.update({
            f'pose_branch.{key}': value
            for key, value in pose_branch.state_dict.items()
        })
    elif branch:
        raise ValueError('unknown: ' + ', '.join(f'pct.{k}' for k in branch))
    return MeshWeights(kind, renamed, parts, pose_branch, dropped)


def to_official_mesh_state(
    state: State,
    head_only: bool = False,
    window_size: Sequence[int] = (16, 16, 16, 8),
    pretrained_window_sizes: Sequence[int] = (12, 12, 12, 6)
) -> Tuple[str, State]:
    """Our weights under the published names.

    Args:
        state (dict[str, Tensor]): State dict of a :class:`MeshEstimator`.
            Whether its head gives the pose tokens twice
            (``official_compat``), as the authors' does, no weight tells: see
            :func:`check_mesh_fits`.
        head_only (bool): Leave out backbone and pose branch. Defaults to
            False.
        window_size (Sequence[int]): Of the pose branch's ``TimmSwinV2``, the
            published ones by default.
        pretrained_window_sizes (Sequence[int]): Likewise.

    Returns:
        tuple[str, dict[str, Tensor]]: 'fastmetro' or 'postometro', and the
        published state dict.

    Raises:
        ValueError: If these are no weights of a network as published.
    """
    kind = _detect(state, 1)
    branch, own = {}, {}
    for key, value in state.items():
        module, _, name = key.partition('.')
        if module == 'pose_branch':
            branch[name] = value
        elif module == 'head' or not head_only:
            own[key] = value
    parts = _check(own, kind, head_only, str)
    sequential = kind == 'fastmetro' and parts.get('backbone',
                                                   {}).get('type') == 'ResNet'
    official = {_to_official(key, sequential): v for key, v in own.items()}
    if kind == 'postometro' and not head_only:
        _, branch = _pct(to_official_pct_state, branch, window_size,
                         pretrained_window_sizes, 'pose_branch')
        guided = 'keypoint_head.tokenizer.start_img_embed.weight' in branch
        for key, value in branch.items():
            official[f'pct.{key}'] = value
            if guided and key.startswith('backbone.'):
                official[f'pct.extra_{key}'] = value.clone()
    return kind, official


def check_mesh_fits(weights: MeshWeights, model: dict) -> None:
    """Check that weights load strictly into the model of a config, and that
    it is the published network with them.

    Args:
        weights (MeshWeights): The weights. Of the head alone, only the head
            is looked at.
        model (dict): Config of a :class:`MeshEstimator`.

    Raises:
        ValueError: If it is not, with what differs.
    """
    parts = {
        name: model[name]
        for name in ('backbone', 'neck', 'head') if model.get(name)
    }
    if 'backbone' not in weights.parts:
        parts = {'head': parts['head']}
    types = {name: cfg['type'] for name, cfg in parts.items()}
    expected = {name: cfg['type'] for name, cfg in weights.parts.items()}
    if types != expected:
        raise ValueError(f'the weights are of {expected}, but the config has '
                         f'{types}')
    # What no shape tells.
    wanted = dict(template_init=False)
    if weights.kind == 'postometro':
        wanted.update(official_compat=True)
    wrong = [
        f'head.{key} must be {value}' for key, value in wanted.items()
        if parts['head'].get(key, False) != value
    ]
    if model.get('token_source', 'logits') != 'logits':
        wrong.append("token_source must be 'logits'")
    if parts.get('backbone', {}).get('style', 'pytorch') != 'pytorch':
        wrong.append("backbone.style must be 'pytorch'")
    if wrong:
        raise ValueError('the config is not the published network: ' +
                         ', '.join(wrong))
    sizes = load_body(**(model.get('body') or {})).levels.sizes
    own = _shapes_of({
        key: value
        for key, value in weights.state_dict.items()
        if not key.startswith('pose_branch.')
    })
    problems = differences(own, mesh_parameter_shapes(parts, sizes))
    if problems:
        raise ValueError(f'the weights do not fit the config: {problems}')
    if weights.pose_branch is not None:
        if not model.get('pose_branch'):
            raise ValueError('the config has no pose_branch')
        check_fits(weights.pose_branch, model['pose_branch'])


def _detect(state: State, side: int) -> str:
    """Kind by published names (side 0) or by ours (side 1)."""
    if _SIGN[side] not in state:
        if _SIGN[1 - side] in state:
            raise ValueError(
                f'{_SIGN[1 - side]} is a name of this project, not one of '
                'the published files' if side == 0 else
                f'{_SIGN[1 - side]} is a name of the published files already')
        some = ', '.join(list(state)[:5])
        raise ValueError('no checkpoint of FastMETRO or PostoMETRO: expected '
                         f'{_SIGN[side]}, but got {some}...')
    return 'postometro' if _POSE_SIGN[side] in state else 'fastmetro'


def _pct(convert: Callable, *args):
    """Convert the pose branch; errors say that it is about that."""
    try:
        return convert(*args)
    except ValueError as error:
        raise ValueError(f'pose branch: {error}') from None


def _shapes_of(state: State) -> Dict[str, Tuple[int, ...]]:
    return {key: tuple(value.shape) for key, value in state.items()}


def _check(
    state: State,
    kind: str,
    head_only: bool,
    name: Callable[[str], str],
    unknown: Sequence[str] = ()) -> Dict[str, dict]:
    """Compare a state dict in our names with the networks of its sizes.

    Errors are in the names of the file. Returns the configs of the parts.
    """
    shapes = _shapes_of(state)
    if not head_only and not any(
            key.startswith(('backbone.layer4.', 'backbone.stage4.'))
            for key in shapes):
        raise ValueError(
            'the backbone is neither a ResNet nor an HRNet, or missing; the '
            'head can be converted alone (--head-only)')
    try:
        parts = mesh_part_configs(shapes)
        # Of the fine mesh no weight knows; any size will do.
        coarse = shape_of(shapes, 'head.vertex_tokens.weight')[0]
        middle = shape_of(shapes, 'head.upsampler.steps.0.weight')[0]
        sizes = (middle, middle, coarse)
    except KeyError as error:
        problems = f'missing or of another shape: {name(error.args[0])}'
    else:
        problems = differences(shapes, mesh_parameter_shapes(parts, sizes),
                               name, unknown)
    if problems:
        raise ValueError(f'this is no {kind} as published: {problems}')
    return parts
