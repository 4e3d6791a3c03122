# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Parameter names of the published FastMETRO and PostoMETRO networks."""
from typing import Dict, Optional

from torch import Tensor

__all__ = ['from_official_key', 'head_state_from_official', 'to_official_key']

# Published module: ours.
_MODULES = {
    'transformer_1': 'transformers.0',
    'transformer_2': 'transformers.1',
    'dim_reduce_enc_cam': 'reductions.0.camera',
    'dim_reduce_enc_img': 'reductions.0.image',
    'dim_reduce_enc_pct': 'reductions.0.pose',
    'dim_reduce_dec': 'reductions.0.queries',
    'cam_token_embed': 'camera_token',
    'joint_token_embed': 'joint_tokens',
    'vertex_token_embed': 'vertex_tokens',
    'cam_predictor': 'camera_head',
    'xyz_regressor': 'coordinate_head',
    'conv_1x1': 'image_proj',
    'coarse2intermediate_upsample': 'upsampler.steps.0',
    # PostoMETRO's pose modulator
    'start_embed': 'pose_modulator.start_embed',
    'encoder': 'pose_modulator.mixers',
    'encoder_layer_norm': 'pose_modulator.norm',
    'token_mlp': 'pose_modulator.token_mlp',
    'token_mixer': 'pose_modulator.proj',
}


def from_official_key(key: str) -> Optional[str]:
    """Name in :class:`PostoMETROHead` of a published parameter.

    Args:
        key (str): Name in a FastMETRO checkpoint or the released PostoMETRO
            network, without ``module.``.

    Returns:
        str | None: Our name; None for what is not part of the head (the
        backbone, the pose branch ``pct.*``, the regressor of body
        parameters).
    """
    module, _, rest = key.partition('.')
    return f'{_MODULES[module]}.{rest}' if module in _MODULES else None


def to_official_key(key: str) -> Optional[str]:
    """Published name of a parameter of :class:`PostoMETROHead`, the inverse
    of :func:`from_official_key`; None for what the published networks have
    not."""
    for official, ours in _MODULES.items():
        if key.startswith(f'{ours}.'):
            return official + key[len(ours):]
    return None


def head_state_from_official(state: Dict[str, Tensor]) -> Dict[str, Tensor]:
    """State dict of the head from a published state dict.

    Build the head with ``learned_upsample=True`` (and, for PostoMETRO's
    network, ``official_compat=True``), then ``load_state_dict`` is strict.
    """
    renamed = {}
    for key, value in state.items():
        ours = from_official_key(key[key.startswith('module.') * 7:])
        if ours is not None:
            renamed[ours] = value
    return renamed
