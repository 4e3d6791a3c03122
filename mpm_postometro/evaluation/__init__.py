# Copyright (c) The mpm_postometro authors. All rights reserved.
from . import functional
from .baselines import constant_baselines
from .metrics import (CodebookMetric, KeypointErrorMetric, MeshMetric,
                      PoseSequenceMetric)

__all__ = [
    'CodebookMetric', 'KeypointErrorMetric', 'MeshMetric',
    'PoseSequenceMetric', 'constant_baselines', 'functional'
]
