# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Pose tokens, meshes and masked pose modelling for MMPose."""
from . import compat

compat.apply()

from . import datasets, evaluation, models, visualization  # noqa: E402,F401

__version__ = '0.1.0'
