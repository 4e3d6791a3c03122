# Copyright (c) The mpm_postometro authors. All rights reserved.
from .codebook_metric import CodebookMetric
from .keypoint_error_metric import KeypointErrorMetric
from .mesh_metric import MeshMetric
from .pose_sequence_metric import PoseSequenceMetric

__all__ = [
    'CodebookMetric', 'KeypointErrorMetric', 'MeshMetric', 'PoseSequenceMetric'
]
