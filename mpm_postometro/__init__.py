# Copyright (c) The mpm_postometro authors. All rights reserved.
"""PCT and PostoMETRO for MMPose: pose tokens and 3D human meshes."""
from . import compat

compat.apply()

from . import datasets, evaluation, models, visualization  # noqa: E402,F401

__version__ = '0.1.0'
