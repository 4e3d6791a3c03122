# Copyright (c) The mpm_postometro authors. All rights reserved.
from .mesh_metric import MeshMetric

__all__ = ['MeshMetric']
