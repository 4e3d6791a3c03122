# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Parameter names of the published FastMETRO and PostoMETRO networks."""
import re
from typing import Dict, Optional

from torch import Tensor

__all__ = ['from_official_key', 'head_state_from_official']

# (pattern, ours); the first that matches wins
_RULES = (
    (r'transformer_(\d+)\.(.+)',
     lambda m: f'transformers.{int(m[1]) - 1}.{m[2]}'),
    (r'dim_reduce_enc_cam\.(\w+)', r'reductions.0.camera.\1'),
    (r'dim_reduce_enc_img\.(\w+)', r'reductions.0.image.\1'),
    (r'dim_reduce_enc_pct\.(\w+)', r'reductions.0.pose.\1'),
    (r'dim_reduce_dec\.(\w+)', r'reductions.0.queries.\1'),
    (r'cam_token_embed\.(\w+)', r'camera_token.\1'),
    (r'joint_token_embed\.(\w+)', r'joint_tokens.\1'),
    (r'vertex_token_embed\.(\w+)', r'vertex_tokens.\1'),
    (r'cam_predictor\.(\w+)', r'camera_head.\1'),
    (r'xyz_regressor\.(\w+)', r'coordinate_head.\1'),
    (r'conv_1x1\.(\w+)', r'image_proj.\1'),
    (r'coarse2intermediate_upsample\.(\w+)', r'upsampler.steps.0.\1'),
    # PostoMETRO's pose modulator
    (r'start_embed\.(\w+)', r'pose_modulator.start_embed.\1'),
    (r'encoder\.(\d+)\.(.+)', r'pose_modulator.mixers.\1.\2'),
    (r'encoder_layer_norm\.(\w+)', r'pose_modulator.norm.\1'),
    (r'token_mlp\.(\w+)', r'pose_modulator.token_mlp.\1'),
    (r'token_mixer\.(.+)', r'pose_modulator.proj.\1'),
)


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
    for pattern, ours in _RULES:
        match = re.fullmatch(pattern, key)
        if match:
            return ours(match) if callable(ours) else match.expand(ours)
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
