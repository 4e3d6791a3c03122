# Copyright (c) The mpm_postometro authors. All rights reserved.
from .keypoint_losses import SmoothL1KeypointLoss, smooth_l1_keypoint_loss
from .mesh_loss import MeshLoss, MeshTargets
from .mesh_losses import (edge_length_losses, faces_to_edges, joint_2d_loss,
                          joint_3d_loss, normal_loss, vertex_loss)
from .sequence_losses import SequenceMPJPELoss, sequence_mpjpe_loss

__all__ = [
    'MeshLoss', 'MeshTargets', 'SequenceMPJPELoss', 'SmoothL1KeypointLoss',
    'edge_length_losses', 'faces_to_edges', 'joint_2d_loss', 'joint_3d_loss',
    'normal_loss', 'sequence_mpjpe_loss', 'smooth_l1_keypoint_loss',
    'vertex_loss'
]
