# Copyright (c) The mpm_postometro authors. All rights reserved.
from .mpm_heads import (MPMDecoderHead, MPMLiftingHead, MPMRefiner,
                        SequencePoses, TargetPoseHead)
from .official_keys import (from_official_key, head_state_from_official,
                            to_official_key)
from .pct_head import PCTHead, PoseTokens
from .postometro_head import MeshPrediction, PostoMETROHead

__all__ = [
    'MPMDecoderHead', 'MPMLiftingHead', 'MPMRefiner', 'MeshPrediction',
    'PCTHead', 'PoseTokens', 'PostoMETROHead', 'SequencePoses',
    'TargetPoseHead', 'from_official_key', 'head_state_from_official',
    'to_official_key'
]
