# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Linear blend skinning of one person in numpy.

The scene sampler poses one person at a time, thousands of times a minute, in
loader workers. Torch's cost per call would dominate there; this is the same
function as :meth:`BodyModel.forward` for a batch of one.
"""
from copy import copy
from typing import NamedTuple, Tuple

import numpy as np
from scipy import sparse
from scipy.spatial.transform import Rotation

from mpm_postometro.bodies.body_io import BodyData
from mpm_postometro.bodies.skeletons import joint_mapping

__all__ = ['NumpyBody', 'SkinnedPerson']


class SkinnedPerson(NamedTuple):
    """A posed body.

    Attributes:
        vertices (np.ndarray): Metres. Shape (V, 3), float32.
        joints (np.ndarray): Joints of the kinematic tree. Shape (J, 3).
        rest (np.ndarray): Vertices in the rest pose. Shape (V, 3).
    """
    vertices: np.ndarray
    joints: np.ndarray
    rest: np.ndarray


class NumpyBody:
    """Body model for one person at a time, float32.

    Args:
        data (BodyData): As :func:`mpm_postometro.bodies.body_io.read_body`
            gives it.
        num_betas (int): Shape coefficients to use.

    Attributes:
        data (BodyData): The arrays it was made of.
        faces (np.ndarray): Shape (F, 3), int64.
        vertex_ids (np.ndarray): The fine vertex behind each vertex.
    """

    def __init__(self, data: BodyData, num_betas: int = 10) -> None:
        available = data.shapedirs.shape[-1]
        if not 0 <= num_betas <= available:
            raise ValueError(f'{data.source}: has {available} shape '
                             f'coefficients, num_betas={num_betas} wanted')
        self.data = data
        self.num_betas = num_betas
        self.vertex_ids = np.arange(len(data.v_template))
        self.faces = np.ascontiguousarray(data.faces, np.int64)
        self.v_template = np.ascontiguousarray(data.v_template, np.float32)
        num_vertices = len(self.v_template)
        shapedirs = data.shapedirs[..., :num_betas]
        self._shapedirs = np.ascontiguousarray(
            shapedirs.reshape(3 * num_vertices, -1), np.float32)
        regressor = data.regressors['smpl24']
        # Rest joints are linear in the betas: no detour over the vertices.
        self.joints_template = (regressor @ data.v_template).astype(np.float32)
        self._joints_shapedirs = np.einsum('jv,vcs->jcs', regressor,
                                           shapedirs).astype(np.float32)
        self._weights = np.ascontiguousarray(data.weights.T, np.float32)
        self.parents = tuple(int(p) for p in data.parents)
        self._posedirs = None
        if data.posedirs is not None and np.any(data.posedirs):
            self._posedirs = np.ascontiguousarray(
                data.posedirs.reshape(3 * num_vertices, -1), np.float32)
        self._regressors = {}

    @property
    def num_joints(self) -> int:
        """Number of joints of the kinematic tree."""
        return len(self.parents)

    def at_level(self, level: int) -> 'NumpyBody':
        """The same body on a coarser mesh, for people far away.

        Args:
            level (int): Mesh level, 0 = this body itself.

        Returns:
            NumpyBody: Its joints are those of the fine body; it regresses
            none. ``vertex_ids`` says which fine vertices it has.
        """
        if level == 0:
            return self
        chosen = np.arange(len(self.v_template))
        for selection in self.data.levels.selections[:level]:
            chosen = chosen[selection]
        coarse = copy(self)
        coarse.vertex_ids = chosen
        coarse.faces = np.ascontiguousarray(self.data.levels.faces[level],
                                            np.int64)
        coarse.v_template = self.v_template[chosen]
        coarse._weights = self._weights[:, chosen]
        rows = (3 * chosen[:, None] + np.arange(3)).ravel()
        coarse._shapedirs = self._shapedirs[rows]
        if self._posedirs is not None:
            coarse._posedirs = self._posedirs[rows]
        return coarse

    def rest_joints(self, betas: np.ndarray) -> np.ndarray:
        """Joints of the rest pose.

        Args:
            betas (np.ndarray): Shape coefficients. Shape (S, ).

        Returns:
            np.ndarray: Shape (J, 3).
        """
        return self.joints_template + self._joints_shapedirs @ betas

    def forward_kinematics(self, rotations: np.ndarray,
                           rest: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        """World transform of each joint, the root joint at its rest place.

        Args:
            rotations (np.ndarray): Local rotations. Shape (J, 3, 3).
            rest (np.ndarray): Rest joints. Shape (J, 3).

        Returns:
            tuple: world rotations (J, 3, 3) and positions (J, 3).
        """
        world = np.empty_like(rotations)
        positions = np.empty_like(rest)
        world[0], positions[0] = rotations[0], rest[0]
        for joint, parent in enumerate(self.parents):
            if joint:
                world[joint] = world[parent] @ rotations[joint]
                positions[joint] = positions[parent] + world[parent] @ (
                    rest[joint] - rest[parent])
        return world, positions

    def __call__(self, betas: np.ndarray, body_pose: np.ndarray,
                 global_orient: np.ndarray,
                 transl: np.ndarray) -> SkinnedPerson:
        """Pose the body.

        Args:
            betas (np.ndarray): Shape (S, ).
            body_pose (np.ndarray): Axis-angle. Shape (J - 1, 3).
            global_orient (np.ndarray): Axis-angle. Shape (3, ).
            transl (np.ndarray): Metres. Shape (3, ).

        Returns:
            SkinnedPerson: Vertices, joints and rest vertices.
        """
        betas = np.asarray(betas, np.float32)
        pose = np.concatenate([np.reshape(global_orient, (1, 3)), body_pose])
        rotations = Rotation.from_rotvec(pose).as_matrix().astype(np.float32)
        rest = self.v_template + (self._shapedirs @ betas).reshape(-1, 3)
        shaped = rest
        if self._posedirs is not None:
            feature = (rotations[1:] - np.eye(3, dtype=np.float32)).ravel()
            shaped = rest + (self._posedirs @ feature).reshape(-1, 3)
        rest_joints = self.rest_joints(betas)
        world, positions = self.forward_kinematics(rotations, rest_joints)
        offsets = positions - np.einsum('jab,jb->ja', world, rest_joints)
        # Blend the (rotation | offset) matrices: (12, J) @ (J, V). Planes of
        # one coordinate each are faster than rows of three.
        transforms = np.concatenate(
            [world.transpose(2, 1, 0), offsets.T[None]])  # (4, 3, J)
        blended = transforms.reshape(12, -1) @ self._weights
        blended = blended.reshape(4, 3, -1)
        planes = blended[3] + np.asarray(transl, np.float32)[:, None]
        for column, coordinate in zip(blended, shaped.T):
            planes += column * coordinate
        return SkinnedPerson(
            np.ascontiguousarray(planes.T),
            positions + np.asarray(transl, np.float32), rest)

    def regress_joints(self, vertices: np.ndarray, name: str) -> np.ndarray:
        """Joints as fixed combinations of vertices.

        Args:
            vertices (np.ndarray): Shape (V, 3).
            name (str): 'h36m17', 'j14' or 'coco17'.

        Returns:
            np.ndarray: Shape (K, 3), float32.

        Raises:
            ValueError: If the body has no such regressor.
        """
        if name not in self._regressors:
            rows = slice(None)
            source = name
            if name == 'j14':
                source, rows = 'h36m17', joint_mapping('h36m17', 'j14')
            if source not in self.data.regressors:
                raise ValueError(
                    f"body '{self.data.name}' ({self.data.source}) has no "
                    f"joint regressor '{source}', only "
                    f'{sorted(self.data.regressors)}')
            matrix = np.asarray(self.data.regressors[source])[rows]
            self._regressors[name] = sparse.csr_matrix(
                matrix.astype(np.float32))
        return self._regressors[name] @ vertices
