# Copyright (c) The mpm_postometro authors. All rights reserved.
"""The training loss of FastMETRO and PostoMETRO, put together."""
from typing import Dict, NamedTuple, Optional, Sequence, Tuple

import torch
from mmpose.registry import MODELS
from torch import Tensor, nn

from mpm_postometro.bodies.cameras import weak_perspective_project
from mpm_postometro.bodies.skeletons import J14_HIPS
from .mesh_losses import (edge_length_losses, joint_2d_loss, joint_3d_loss,
                          normal_loss, vertex_loss)

__all__ = ['MeshLoss', 'MeshTargets']


class MeshTargets(NamedTuple):
    """True meshes and joints of a batch.

    Attributes:
        vertices (tuple[Tensor, ...]): Mesh levels from coarse to fine, each
            (B, V, 3), metres, pelvis of the fine mesh at the origin. Levels
            that no loss looks at may be None.
        joints_3d (Tensor): (B, K, 3), metres, any origin.
        joints_3d_weights (Tensor): (B, K).
        joints_2d (Tensor): (B, K, 2), crop coordinates in [-1, 1].
        joints_2d_weights (Tensor): (B, K).
        has_smpl (Tensor): (B,), 1 where the vertices are real.
        has_joints_3d (Tensor): (B,), 1 where the 3D joints are real.
    """
    vertices: Tuple[Optional[Tensor], ...]
    joints_3d: Tensor
    joints_3d_weights: Tensor
    joints_2d: Tensor
    joints_2d_weights: Tensor
    has_smpl: Tensor
    has_joints_3d: Tensor


@MODELS.register_module()
class MeshLoss(nn.Module):
    """Vertices, 3D joints and projected joints (PostoMETRO sec. 3.3).

    Joints count twice: those of the joint tokens and those regressed from the
    fine mesh. Meshes are compared with their pelvis (of the fine mesh, H36M
    regressor) at the origin, joints with the middle of their hips there; both
    joint sets are projected by the same camera.

    Defaults are PostoMETRO's. FastMETRO's are ``vertices=100,
    vertex_levels=(.25, .5, .25), edges=500, edge_lengths=.01, normals=10``.

    Args:
        vertices (float): Weight of the vertices. Defaults to 1000.
        joints_3d (float): Weight of the 3D joints. Defaults to 1000.
        joints_2d (float): Weight of the 2D joints. Defaults to 100.
        vertex_levels (Sequence[float]): Share of each mesh level, from coarse
            to fine. Defaults to the fine mesh only.
        edges (float): Weight of the difference of edge lengths, on the mesh
            one level below the fine one. Defaults to 0.
        edge_lengths (float): Weight of the predicted edge lengths themselves,
            same mesh. Defaults to 0.
        normals (float): Weight of edges against true normals, same mesh.
            Defaults to 0.
        root (Sequence[int]): Joints whose mean is the origin of a joint set.
        reduction (str): ``'mean'`` as the code of FastMETRO, ``'sum_xyz'``
            as PostoMETRO's paper writes it.

    Raises:
        ValueError: If no level has a share in ``vertex_levels``.
    """

    def __init__(self,
                 vertices: float = 1000.,
                 joints_3d: float = 1000.,
                 joints_2d: float = 100.,
                 vertex_levels: Sequence[float] = (0., 0., 1.),
                 edges: float = 0.,
                 edge_lengths: float = 0.,
                 normals: float = 0.,
                 root: Sequence[int] = J14_HIPS,
                 reduction: str = 'mean') -> None:
        super().__init__()
        if not any(vertex_levels):
            raise ValueError('vertex_levels must give weight to some level; '
                             'vertices=0 switches the vertex loss off')
        self.vertices = vertices
        self.joints_3d = joints_3d
        self.joints_2d = joints_2d
        self.vertex_levels = tuple(vertex_levels)
        self.edges = edges
        self.edge_lengths = edge_lengths
        self.normals = normals
        self.root = tuple(root)
        self.reduction = reduction
        self._edge_cache = None

    @property
    def levels_needed(self) -> Tuple[bool, ...]:
        """tuple[bool]: Which target levels are looked at, coarse to fine."""
        needed = [share != 0 for share in self.vertex_levels]
        if self.edges or self.edge_lengths or self.normals:
            needed[-2] = True
        return tuple(needed)

    def forward(self, prediction, targets: MeshTargets,
                body: nn.Module) -> Dict[str, Tensor]:
        """Compute the weighted losses.

        Args:
            prediction (MeshPrediction): Of the head.
            targets (MeshTargets): See there.
            body (BodyModel): For joint regressors and mesh faces.

        Returns:
            dict[str, Tensor]: Scalars: ``loss_vertices``,
            ``loss_joints_3d``, ``loss_joints_2d`` (joint tokens),
            ``loss_mesh_joints_3d``, ``loss_mesh_joints_2d`` (regressed), and
            those of edges and normals where they have weight.
        """
        fine = prediction.vertices[-1]
        pelvis = body.pelvis(fine)
        meshes = [level - pelvis for level in prediction.vertices]
        mesh_joints = body.regress_joints(meshes[-1], 'j14')
        root = list(self.root)
        joints = prediction.joints_3d
        joints = joints - joints[:, root].mean(1, keepdim=True)

        losses = dict(loss_vertices=self.vertices *
                      self._vertex_loss(meshes, targets))
        for name, points in (('joints', joints), ('mesh_joints', mesh_joints)):
            losses[f'loss_{name}_3d'] = self.joints_3d * joint_3d_loss(
                points,
                targets.joints_3d,
                targets.joints_3d_weights,
                targets.has_joints_3d,
                root=self.root,
                reduction=self.reduction)
            losses[f'loss_{name}_2d'] = self.joints_2d * joint_2d_loss(
                weak_perspective_project(points, prediction.camera),
                targets.joints_2d,
                targets.joints_2d_weights,
                reduction=self.reduction)
        losses.update(self._surface_losses(meshes, targets, body))
        return losses

    def _vertex_loss(self, meshes, targets: MeshTargets) -> Tensor:
        return sum(share *
                   vertex_loss(mesh, target, targets.has_smpl, self.reduction)
                   for share, mesh, target in zip(self.vertex_levels, meshes,
                                                  targets.vertices) if share)

    def _surface_losses(self, meshes, targets: MeshTargets,
                        body: nn.Module) -> Dict[str, Tensor]:
        losses = {}
        if self.edges or self.edge_lengths:
            differ, own = edge_length_losses(meshes[-2], targets.vertices[-2],
                                             self._mesh_edges(body),
                                             targets.has_smpl)
            losses['loss_edges'] = self.edges * differ
            losses['loss_edge_lengths'] = self.edge_lengths * own
        if self.normals:
            losses['loss_normals'] = self.normals * normal_loss(
                meshes[-2], targets.vertices[-2], body.levels.faces(1),
                targets.has_smpl)
        return losses

    def _mesh_edges(self, body: nn.Module) -> Tensor:
        """(E, 2) edges one level below the fine mesh, each once."""
        adjacency = body.levels.adjacency(1)
        if (self._edge_cache is None
                or self._edge_cache.device != adjacency.device):
            self._edge_cache = torch.triu(adjacency, 1).nonzero()
        return self._edge_cache
