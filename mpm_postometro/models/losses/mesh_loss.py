# Copyright (c) The mpm_postometro authors. All rights reserved.
"""The training loss of FastMETRO and PostoMETRO, put together."""
from typing import Dict, NamedTuple, Optional, Sequence, Tuple

import torch
from mmengine.dist import all_reduce, get_world_size
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
        joints_2d_weights (Tensor): (B, K). A person has 2D joints where one
            of these is above 0.
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

    @property
    def has_joints_2d(self) -> Tensor:
        """Tensor: (B,), 1 where some 2D joint is real."""
        return (self.joints_2d_weights > 0).any(1).float()


@MODELS.register_module()
class MeshLoss(nn.Module):
    """Vertices, 3D joints and projected joints (PostoMETRO sec. 3.3).

    Joints count twice: those of the joint tokens and those regressed from the
    fine mesh. Meshes are compared with their pelvis (of the fine mesh, H36M
    regressor) at the origin, joints with the middle of their hips there; both
    joint sets are projected by the same camera.

    Losses of vertices, surfaces and 3D joints are means over the persons that
    have the label, those of 2D joints over everybody, as published, or over
    the labelled (``joints_2d_over``); nobody has one, and it is a zero that
    is still part of the graph. Several processes share the counts of these
    persons, so that the mean of their gradients is the gradient of one
    process with the persons of all of them, also where one has no label of a
    kind. The published code averages in each process alone: a process without
    labels then takes as much off the step as one with many adds.

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
        joints_2d_over (str): ``'all'``: persons without 2D labels count as
            zeros in the mean of the 2D losses, as published. ``'labelled'``:
            the mean is over persons with some 2D joint of weight above 0.
            The same where everybody has one.
        average_over (str): ``'all_ranks'``: means over the persons of all
            processes, as above. ``'rank'``: of each process alone, as
            published. The same in one process.

    Raises:
        ValueError: If no level has a share in ``vertex_levels``, or
            ``joints_2d_over`` or ``average_over`` is neither.
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
                 reduction: str = 'mean',
                 joints_2d_over: str = 'all',
                 average_over: str = 'all_ranks') -> None:
        super().__init__()
        if joints_2d_over not in ('all', 'labelled'):
            raise ValueError("joints_2d_over must be 'all' or 'labelled', got "
                             f'{joints_2d_over!r}')
        if average_over not in ('all_ranks', 'rank'):
            raise ValueError("average_over must be 'all_ranks' or 'rank', got "
                             f'{average_over!r}')
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
        self.joints_2d_over = joints_2d_over
        self.average_over = average_over
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
        in_2d = targets.has_joints_2d
        if self.joints_2d_over == 'all':
            in_2d = torch.ones_like(in_2d)

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
                in_2d,
                reduction=self.reduction)
        losses.update(self._surface_losses(meshes, targets, body))
        if self.average_over == 'all_ranks' and get_world_size() > 1:
            of_meshes, of_joints_3d, of_joints_2d = _shares(
                targets.has_smpl, targets.has_joints_3d, in_2d)
            for name in losses:
                losses[name] = losses[name] * (
                    of_joints_3d if name.endswith('_3d') else
                    of_joints_2d if name.endswith('_2d') else of_meshes)
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


def _shares(*valid: Tensor) -> Tensor:
    """By how much means over this process's persons are to be multiplied, so
    that their mean over processes is the mean over all persons.

    Every process must come here in every step.

    Args:
        valid (Tensor): (B,) or (B, 1) each, 1 where a person counts in a mean.

    Returns:
        Tensor: A factor for each mean.
    """
    counts = torch.stack([flags.float().sum() for flags in valid])
    means = counts.clone()
    all_reduce(means, op='mean')
    # where nobody has a label the losses are zeros, whatever they are
    # multiplied by
    return counts.clamp(min=1) / means.clamp(min=1 / get_world_size())
