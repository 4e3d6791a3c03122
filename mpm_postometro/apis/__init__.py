# Copyright (c) The mpm_postometro authors. All rights reserved.
from .inferencer import MeshInferencer

__all__ = ['MeshInferencer']
