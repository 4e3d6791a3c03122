# Copyright (c) The mpm_postometro authors. All rights reserved.
from . import functional
from .baselines import constant_baselines
from .metrics import CodebookMetric, KeypointErrorMetric, MeshMetric

__all__ = [
    'CodebookMetric', 'KeypointErrorMetric', 'MeshMetric',
    'constant_baselines', 'functional'
]
