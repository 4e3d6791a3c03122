# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Renderer and scene sampler of the built-in data set (numpy)."""
from .motion import MotionPoses
from .poses import PoseSampler, SampledPose
from .renderer import Rendered, SceneRenderer
from .scene import SPLITS, Scene, SceneSampler, item_rng
from .skinning import NumpyBody, SkinnedPerson

__all__ = [
    'MotionPoses', 'NumpyBody', 'PoseSampler', 'Rendered', 'SPLITS',
    'SampledPose', 'Scene', 'SceneRenderer', 'SceneSampler', 'SkinnedPerson',
    'item_rng'
]
