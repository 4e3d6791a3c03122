# Copyright (c) The mpm_postometro authors. All rights reserved.
from .guided_topdown import GuidedTopdownPoseEstimator
from .mesh_estimator import MeshEstimator
from .mpm_estimator import MPMEstimator
from .official_mesh_keys import (MeshWeights, check_mesh_fits,
                                 from_official_mesh_state,
                                 to_official_mesh_state)
from .official_pct_keys import (PCTWeights, check_fits, from_official_pct_key,
                                from_official_pct_state, to_official_pct_key,
                                to_official_pct_state)
from .sequence_data_preprocessor import SequenceDataPreprocessor
from .tokenizer_estimator import TokenizerEstimator

__all__ = [
    'GuidedTopdownPoseEstimator', 'MPMEstimator', 'MeshEstimator',
    'MeshWeights', 'PCTWeights', 'SequenceDataPreprocessor',
    'TokenizerEstimator', 'check_fits', 'check_mesh_fits',
    'from_official_mesh_state', 'from_official_pct_key',
    'from_official_pct_state', 'to_official_mesh_state', 'to_official_pct_key',
    'to_official_pct_state'
]
