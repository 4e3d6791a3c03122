# Copyright (c) The mpm_postometro authors. All rights reserved.
from .inferencer import MeshInferencer
from .pose_tokens import PoseTokenInferencer

__all__ = ['MeshInferencer', 'PoseTokenInferencer']
