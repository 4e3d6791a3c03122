# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Who stands where before which camera: everything that labels depend on."""
from dataclasses import dataclass
from typing import Tuple, Union

import numpy as np
from scipy.spatial.transform import Rotation

from .limbs import rotation_x, rotation_y, rotation_z
from .motion import MotionPoses
from .poses import PoseSampler
from .skinning import NumpyBody, SkinnedPerson

__all__ = ['Scene', 'SceneSampler', 'item_rng', 'SPLITS']

#: Splits draw from disjoint streams of random numbers.
SPLITS = ('train', 'val', 'test')
# World (y up, the person's front = +z) to a level camera (y down).
_FACING = np.diag([1., -1., -1.])


def item_rng(split: str, seed: int, index: int,
             stream: int) -> np.random.Generator:
    """The source of randomness of one stream of one item.

    Args:
        split (str): One of :data:`SPLITS`.
        seed (int): Not negative.
        index (int): Not negative.
        stream (int): 0 = what labels depend on, 1 = looks.

    Returns:
        np.random.Generator: Depends on nothing else.
    """
    key = (SPLITS.index(split), index, stream)
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))


@dataclass
class Scene:
    """Labels of one item and what the renderer needs to know.

    Attributes:
        betas, body_pose, global_orient, transl (np.ndarray): Body parameters
            in the camera frame. Shapes (S, ), (J - 1, 3), (3, ), (3, ).
        intrinsics (np.ndarray): Shape (3, 3).
        bbox (np.ndarray): Whole person, also outside the picture: xyxy in
            pixels. Shape (4, ).
        camera_rotation (np.ndarray): World (y up) to camera. Shape (3, 3).
        person (SkinnedPerson): Posed body in the camera frame.
        points (np.ndarray): Projected vertices, x and y. Shape (2, V).
        pose_name (str): Stance the pose was drawn from.
        yaw (float): Heading, degrees; 0 = towards the camera.
        occluder (str): '' (nothing), 'edge', 'object' or 'person'.
        target (float): Wanted fraction of hidden pixels.
    """
    betas: np.ndarray
    body_pose: np.ndarray
    global_orient: np.ndarray
    transl: np.ndarray
    intrinsics: np.ndarray
    bbox: np.ndarray
    camera_rotation: np.ndarray
    person: SkinnedPerson
    points: np.ndarray
    pose_name: str
    yaw: float
    occluder: str
    target: float


class SceneSampler:
    """Draws scenes: pose, shape, camera, frame.

    Args:
        body (NumpyBody): The body.
        poses (PoseSampler | MotionPoses): Where poses come from.
        image_size (int): Side of the square picture in pixels.
        frontal_probability (float): Share of people that are drawn within
            ``max_frontal_yaw`` of facing the camera; the others face
            anywhere.
        max_frontal_yaw (float): Degrees.
        occlusion_probability (float): Share of pictures with something that
            hides the person.
        max_occlusion (float): Largest wanted fraction of hidden pixels.
        betas_std (float): Standard deviation of the shape coefficients.
    """

    def __init__(self,
                 body: NumpyBody,
                 poses: Union[PoseSampler, MotionPoses],
                 image_size: int = 256,
                 frontal_probability: float = 0.85,
                 max_frontal_yaw: float = 75.,
                 occlusion_probability: float = 0.5,
                 max_occlusion: float = 0.7,
                 betas_std: float = 1.) -> None:
        self.body = body
        self.poses = poses
        self.image_size = image_size
        self.frontal_probability = frontal_probability
        self.max_frontal_yaw = max_frontal_yaw
        self.occlusion_probability = occlusion_probability
        self.max_occlusion = max_occlusion
        self.betas_std = betas_std

    def sample(self, rng: np.random.Generator) -> Scene:
        """Draw a scene.

        Args:
            rng (np.random.Generator): Source of randomness.

        Returns:
            Scene: Labels and camera.
        """
        pose = self.poses.sample(rng)
        betas = np.clip(
            rng.normal(0, self.betas_std, self.body.num_betas), -2.5,
            2.5).astype(np.float32)
        yaw = self._yaw(rng)
        camera = self._camera_rotation(rng)
        orient = camera @ rotation_y(yaw) @ pose.root
        orient = Rotation.from_matrix(orient).as_rotvec().astype(np.float32)
        place = self._place(rng)
        transl = (place - self.body.rest_joints(betas)[0]).astype(np.float32)
        person = self.body(betas, pose.body_pose, orient, transl)
        # A camera inside the reach of the arms would see half a person.
        x, y, z = np.ascontiguousarray(person.vertices.T)
        nearest = z.min()
        if nearest < 0.8:
            transl[2] += np.float32(0.8) - nearest
            person = self.body(betas, pose.body_pose, orient, transl)
            x, y, z = np.ascontiguousarray(person.vertices.T)
        flat = np.stack([x / z, y / z])
        occluder, target = self._occluder(rng)
        intrinsics = self._frame(flat, occluder, target, rng)
        points = flat * intrinsics[0, 0] + intrinsics[:2, 2:]
        bbox = np.concatenate([points.min(1), points.max(1)])
        return Scene(betas, pose.body_pose, orient, transl, intrinsics, bbox,
                     camera, person, points, pose.name, yaw, occluder, target)

    def _yaw(self, rng: np.random.Generator) -> float:
        limit = self.max_frontal_yaw
        if rng.random() >= self.frontal_probability:
            return rng.uniform(-180, 180)
        yaw = rng.normal(0, 0.6 * limit)
        return yaw if abs(yaw) < limit else rng.uniform(-limit, limit)

    def _camera_rotation(self, rng: np.random.Generator) -> np.ndarray:
        pitch = min(max(rng.normal(6, 9), -15.), 38.)  # looking down
        roll = min(max(rng.normal(0, 3), -9.), 9.)
        return rotation_z(roll) @ rotation_x(pitch) @ _FACING

    def _place(self, rng: np.random.Generator) -> np.ndarray:
        """Position of the pelvis in the camera frame."""
        distance = np.exp(rng.uniform(np.log(2.2), np.log(9.)))
        sideways, down = np.tan(np.radians(rng.normal(0, (9, 5))))
        return distance * np.array([sideways, down, 1.])

    def _occluder(self, rng: np.random.Generator) -> Tuple[str, float]:
        draw, target = rng.random(3), rng.uniform(0.05, self.max_occlusion)
        if draw[0] >= self.occlusion_probability:
            return '', 0.
        kinds = ('edge', 'object', 'person')
        kind = kinds[np.searchsorted((0.25, 0.78, 1.), draw[1])]
        return kind, float(target)

    def _frame(self, flat: np.ndarray, occluder: str, target: float,
               rng: np.random.Generator) -> np.ndarray:
        """Choose the part of the image plane that becomes the picture.

        Args:
            flat (np.ndarray): Vertices divided by their depth. Shape (2, V).

        Returns:
            np.ndarray: Intrinsics, (3, 3) float32.
        """
        low, high = flat.min(1), flat.max(1)
        side = (high - low).max() * 1.25 * np.exp(rng.normal(0, 0.07))
        centre = (low + high) / 2 + rng.uniform(-0.05, 0.05, 2) * side
        edge = rng.random()
        if occluder == 'edge':
            # The edge of the picture cuts the person: most often the legs.
            axis, sign = ((1, 1), (0, -1), (0, 1), (1, -1))[np.searchsorted(
                (0.55, 0.73, 0.91, 1.), edge)]
            side *= rng.uniform(0.75, 1.)
            cut = np.quantile(sign * flat[axis], 1 - target)
            centre[axis] = sign * (cut - side / 2)
        scale = self.image_size / side
        offset = (self.image_size - 1) / 2 - scale * centre
        return np.array(
            [[scale, 0, offset[0]], [0, scale, offset[1]], [0, 0, 1]],
            np.float32)
