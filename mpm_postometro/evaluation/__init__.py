# Copyright (c) The mpm_postometro authors. All rights reserved.
from . import functional
from .baselines import constant_baselines
from .metrics import MeshMetric

__all__ = ['MeshMetric', 'constant_baselines', 'functional']
