# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Linear blend skinning with SMPL's interface.

Loper et al., SMPL: a skinned multi-person linear model, SIGGRAPH Asia 2015,
Sec. 3. The parameters keep their names; the arrays may be SMPL's or those of
the built-in body.
"""
from typing import NamedTuple, Optional, Tuple

import numpy as np
import torch
from torch import Tensor, nn

from .body_io import BodyData
from .identity import body_identity
from .mesh_levels import MeshLevels
from .rotations import axis_angle_to_matrix
from .skeletons import SKELETONS, joint_mapping

__all__ = ['BodyModel', 'BodyOutput']

_PELVIS = SKELETONS['h36m17'].index('pelvis')


class BodyOutput(NamedTuple):
    """What a :class:`BodyModel` gives, in metres.

    Attributes:
        vertices (Tensor): (B, V, 3).
        joints (Tensor): (B, J, 3), joints of the kinematic tree.
    """

    vertices: Tensor
    joints: Tensor


class BodyModel(nn.Module):
    """Shape, pose and place of a body to vertices and joints.

    All buffers are non-persistent: a checkpoint never holds geometry.
    Results have the dtype of the module (``body.double()`` for float64),
    whatever that of the inputs and under autocast too.

    Args:
        data (BodyData): The arrays.
        num_betas (int): Shape coefficients to use.
        dtype (torch.dtype): Of the buffers.

    Attributes:
        name (str): e.g. 'open_body', 'smpl_neutral'.
        identity (str): Name and fingerprint of the geometry, the same for
            any dtype and device. See :func:`body_identity`.
        num_vertices (int): V.
        num_joints (int): J of the kinematic tree.
        num_betas (int): S.
        parents (tuple[int]): J parent indices, -1 for the root.
        faces (Tensor): (F, 3), long.
        mirror_indices (Tensor | None): (V,), long; the vertex on the other
            side. None if the body file has none.
        vertex_groups (Tensor | None): (V,), long, index in ``group_names``.
        group_names (tuple[str]): Names of clothing-like vertex groups.
    """

    def __init__(self,
                 data: BodyData,
                 num_betas: int = 10,
                 dtype: torch.dtype = torch.float32):
        super().__init__()
        available = data.shapedirs.shape[-1]
        if not 0 <= num_betas <= available:
            raise ValueError(f'{data.source}: has {available} shape '
                             f'coefficients, num_betas={num_betas} wanted')
        self.name = data.name
        self.source = data.source
        self.identity = body_identity(data)
        self.num_vertices, self.num_joints = data.weights.shape
        self.num_betas = num_betas
        self.parents: Tuple[int, ...] = tuple(int(p) for p in data.parents)
        self.group_names = tuple(data.group_names)
        self._missing = data.missing

        # Vertex arrays are kept as planes (3, V): several times faster to
        # blend than (V, 3).
        template = data.v_template.T
        shapedirs = data.shapedirs[..., :num_betas].transpose(2, 1, 0)
        regressor = data.regressors['smpl24']

        def buffer(name, array, dtype=dtype):
            tensor = None
            if array is not None:
                array = np.ascontiguousarray(array)
                tensor = torch.tensor(array, dtype=dtype)
            self.register_buffer(name, tensor, persistent=False)

        buffer('_template', template.reshape(-1))  # (3V,)
        buffer('_shapedirs', shapedirs.reshape(num_betas, -1))  # (S, 3V)
        buffer('_weights', data.weights.T)  # (J, V)
        posedirs = data.posedirs
        if posedirs is not None:  # (V, 3, 9(J-1)) -> (9(J-1), 3V)
            posedirs = posedirs.transpose(2, 1, 0)
            posedirs = posedirs.reshape(posedirs.shape[0], -1)
        buffer('_posedirs', posedirs)
        # Rest joints are linear in the betas: no detour over the vertices.
        buffer('_joint_template', regressor @ data.v_template)  # (J, 3)
        buffer('_joint_shapedirs',
               np.einsum('jv,vcs->sjc', regressor,
                         data.shapedirs[..., :num_betas]))  # (S, J, 3)
        self._regressor_names = tuple(data.regressors)
        for name, matrix in data.regressors.items():
            buffer(f'_regressor_{name}', matrix)  # (K, V)
        buffer('faces', data.faces, torch.int64)
        buffer('mirror_indices', data.mirror_indices, torch.int64)
        buffer('vertex_groups', data.vertex_groups, torch.int64)

        self._levels = None if data.levels is None else MeshLevels(
            data.levels).to(dtype)
        self._tree = self._tree_levels()

    def _tree_levels(self) -> list:
        """Joints by depth: (indices, positions of parents one level up)."""
        depth = []
        for parent in self.parents:
            depth.append(0 if parent < 0 else depth[parent] + 1)
        levels, above = [], [0]
        for d in range(1, max(depth) + 1):
            here = [j for j, dj in enumerate(depth) if dj == d]
            levels.append((here, [above.index(self.parents[j])
                                  for j in here]))  # yapf: disable
            above = here
        order = [0] + [j for here, _ in levels for j in here]
        self._tree_order = [order.index(j) for j in range(len(order))]
        return levels

    @property
    def dtype(self) -> torch.dtype:
        """torch.dtype: Of the results."""
        return self._template.dtype

    @property
    def v_template(self) -> Tensor:
        """Tensor: (V, 3), rest vertices at zero betas, a copy."""
        return self._template.view(3, -1).t().contiguous()

    @property
    def skinning_weights(self) -> Tensor:
        """Tensor: (V, J), rows sum to 1, a copy."""
        return self._weights.t().contiguous()

    @property
    def levels(self) -> MeshLevels:
        """MeshLevels: Coarse versions of the mesh.

        Raises:
            FileNotFoundError: If the body came without mesh levels.
        """
        if self._levels is None:
            raise FileNotFoundError(
                f"body '{self.name}' ({self.source}) has no mesh levels: "
                f"{self._missing.get('levels', 'none were given')}")
        return self._levels

    def _rotations(self, rotation: Tensor, joints: int, name: str) -> Tensor:
        """Any accepted form to (B, joints, 3, 3)."""
        rotation = rotation.to(self.dtype)
        shape = tuple(rotation.shape)
        if shape[1:] in ((joints * 3, ), (joints, 3)):
            return axis_angle_to_matrix(rotation.reshape(-1, joints, 3))
        if shape[1:] == (joints, 3, 3) or (joints == 1
                                           and shape[1:] == (3, 3)):
            return rotation.reshape(-1, joints, 3, 3)
        raise ValueError(
            f'{name} must be axis-angle (B, {joints}, 3) or (B, {joints * 3})'
            f', or matrices (B, {joints}, 3, 3), got {shape}')

    def forward_kinematics(self, rotations: Tensor,
                           rest_joints: Tensor) -> Tuple[Tensor, Tensor]:
        """World rotations and positions of the joints.

        Args:
            rotations (Tensor): (B, J, 3, 3), local; joint 0 in the world.
            rest_joints (Tensor): (B, J, 3), positions in the rest pose.

        Returns:
            tuple[Tensor, Tensor]: (B, J, 3, 3) and (B, J, 3); the root
            stays where it rests.
        """
        parents = [0 if p < 0 else p for p in self.parents]
        offsets = (rest_joints - rest_joints[:, parents]).unsqueeze(-1)
        rotation, position = rotations[:, :1], rest_joints[:, :1, :, None]
        all_rotations, all_positions = [rotation], [position]
        for here, above in self._tree:
            up = rotation[:, above]
            position = position[:, above] + up @ offsets[:, here]
            rotation = up @ rotations[:, here]
            all_rotations.append(rotation)
            all_positions.append(position)
        order = self._tree_order
        return (torch.cat(all_rotations,
                          1)[:, order], torch.cat(all_positions,
                                                  1)[:, order].squeeze(-1))

    def forward(self,
                betas: Tensor,
                body_pose: Tensor,
                global_orient: Tensor,
                transl: Optional[Tensor] = None) -> BodyOutput:
        """Pose the body.

        Any input may have batch size 1 and is then shared by the batch.

        Args:
            betas (Tensor): (B, S) with S up to ``num_betas``.
            body_pose (Tensor): Axis-angle (B, J-1, 3) or (B, 3(J-1)) in
                radians, or rotation matrices (B, J-1, 3, 3).
            global_orient (Tensor): Axis-angle (B, 3) or (B, 1, 3), or
                matrices (B, 3, 3) or (B, 1, 3, 3). Turns about joint 0.
            transl (Tensor, optional): (B, 3) or (B, 1, 3), metres.

        Returns:
            BodyOutput: ``vertices`` (B, V, 3) and ``joints`` (B, J, 3).

        Raises:
            ValueError: If a shape is none of these.
        """
        if betas.ndim != 2 or betas.shape[1] > self.num_betas:
            raise ValueError(f'betas must be (B, S) with S <= '
                             f'{self.num_betas}, got {tuple(betas.shape)}')
        with torch.autocast(self._template.device.type, enabled=False):
            return self._forward(betas, body_pose, global_orient, transl)

    def _forward(self, betas, body_pose, global_orient, transl) -> BodyOutput:
        betas = betas.to(self.dtype)
        pose = self._rotations(body_pose, self.num_joints - 1, 'body_pose')
        root = self._rotations(global_orient, 1, 'global_orient')
        batch = max(len(betas), len(pose), len(root))
        rotations = torch.cat(
            [root.expand(batch, -1, -1, -1),
             pose.expand(batch, -1, -1, -1)], 1)

        used = betas.shape[1]
        rest = torch.addmm(self._template, betas, self._shapedirs[:used])
        joints = self._joint_template + torch.einsum(
            'bs,sjc->bjc', betas, self._joint_shapedirs[:used])
        if self._posedirs is not None:
            eye = torch.eye(3, dtype=self.dtype, device=rest.device)
            rest = rest + (pose - eye).flatten(1) @ self._posedirs
        joints = joints.expand(batch, -1, -1)

        world, posed = self.forward_kinematics(rotations, joints)
        shift = posed - (world @ joints.unsqueeze(-1)).squeeze(-1)
        # (B, 12, J): columns of the rotation, then the translation.
        transforms = torch.cat([world.transpose(-1, -2).flatten(-2), shift],
                               -1).transpose(1, 2)
        blended = transforms @ self._weights  # (B, 12, V)
        rest = rest.view(len(rest), 3, self.num_vertices)
        planes = torch.addcmul(blended[:, 9:], blended[:, 0:3], rest[:, 0:1])
        planes = torch.addcmul(planes, blended[:, 3:6], rest[:, 1:2])
        planes = torch.addcmul(planes, blended[:, 6:9], rest[:, 2:3])
        vertices = planes.transpose(1, 2).contiguous()

        if transl is not None:
            transl = transl.to(self.dtype).reshape(-1, 1, 3)
            vertices, posed = vertices + transl, posed + transl
        return BodyOutput(vertices=vertices, joints=posed)

    def joint_regressor(self, name: str) -> Tensor:
        """The matrix behind :meth:`regress_joints`.

        Args:
            name (str): 'smpl24', 'h36m17', 'j14', 'coco17', or 'j24' for an
                SMPL body with J_regressor_extra.npy.

        Returns:
            Tensor: (K, V).

        Raises:
            FileNotFoundError: If the file that would bring it is missing;
                says which, where it was looked for, and where it can be had.
            ValueError: If no file would.
        """
        if name == 'j14':
            rows = joint_mapping('h36m17', 'j14')
            return self.joint_regressor('h36m17')[rows]
        if name not in self._regressor_names:
            text = (f"body '{self.name}' ({self.source}) has no joint "
                    f"regressor '{name}', only "
                    f'{sorted(self._regressor_names)}')
            if name in self._missing:
                raise FileNotFoundError(f'{text}: {self._missing[name]}')
            raise ValueError(text)
        return getattr(self, f'_regressor_{name}')

    def regress_joints(self, vertices: Tensor, name: str) -> Tensor:
        """Joints as fixed combinations of vertices.

        Args:
            vertices (Tensor): (..., V, 3), metres.
            name (str): 'smpl24', 'h36m17', 'j14' (the H36M regressor's rows,
                as METRO evaluates), 'coco17', or 'j24' where there.

        Returns:
            Tensor: (..., K, 3), in the dtype of the module.
        """
        return self._regress(self.joint_regressor(name), vertices)

    def _regress(self, regressor: Tensor, vertices: Tensor) -> Tensor:
        if vertices.shape[-2] != self.num_vertices:
            raise ValueError(f'expected (..., {self.num_vertices}, 3), got '
                             f'{tuple(vertices.shape)}')
        with torch.autocast(vertices.device.type, enabled=False):
            return regressor @ vertices.to(regressor.dtype)

    def pelvis(self, vertices: Tensor) -> Tensor:
        """Where meshes have their origin: the Human3.6M pelvis.

        Args:
            vertices (Tensor): (..., V, 3), metres.

        Returns:
            Tensor: (..., 1, 3), in the dtype of the module.
        """
        # a vector, not a matrix of one row: several times faster
        row = self.joint_regressor('h36m17')[_PELVIS]
        return self._regress(row, vertices).unsqueeze(-2)

    def extra_repr(self) -> str:
        """str: One line for print()."""
        return (f'{self.name}, vertices={self.num_vertices}, '
                f'joints={self.num_joints}, betas={self.num_betas}')
