# Copyright (c) The mpm_postometro authors. All rights reserved.
"""From a scene to a picture and what it shows of the person."""
from typing import NamedTuple, Union

import cv2
import numpy as np
from scipy.spatial.transform import Rotation

from .appearance import Appearance, AppearanceSampler, any_colour
from .backgrounds import BackgroundPainter
from .limbs import rotation_y
from .motion import MotionPoses
from .occluders import ObjectOccluder
from .persons import Layer, Light, PersonPainter
from .poses import PoseSampler, SampledPose
from .scene import Scene
from .skinning import NumpyBody
from .textures import texture_library

__all__ = ['Rendered', 'SceneRenderer']

# The other people share this many poses: they carry no labels.
_EXTRAS = 96
_BONE_WIDTH = .09  # metres, of the shadow


class Rendered(NamedTuple):
    """A picture.

    Attributes:
        image (np.ndarray): BGR. Shape (size, size, 3), uint8.
        shown (np.ndarray): Pixels that show the person. Shape (size, size),
            bool.
        covered (np.ndarray): Pixels where something is before the person.
            Shape (size, size), bool.
        occlusion (float): Share of the person's pixels that is hidden or
            outside the picture.
    """
    image: np.ndarray
    shown: np.ndarray
    covered: np.ndarray
    occlusion: float


class SceneRenderer:
    """Draws scenes.

    Args:
        body (NumpyBody): The body.
        poses (PoseSampler | MotionPoses): For other people in the picture.
        image_size (int): Side of the square picture in pixels.
        supersample (float, optional): Pixels of people are drawn this many
            times finer. Default: 1.5 up to 160 pixels, 1 above.
    """

    def __init__(self,
                 body: NumpyBody,
                 poses: Union[PoseSampler, MotionPoses],
                 image_size: int = 256,
                 supersample: float = None) -> None:
        if supersample is None:
            supersample = 1.5 if image_size <= 160 else 1.
        self.size = image_size
        self.body = body
        level = 0 if body.data.levels is None else 1
        self.extra_body = body.at_level(level)
        self.painter = PersonPainter(body.faces, len(body.v_template),
                                     supersample)
        self.extra_painter = PersonPainter(self.extra_body.faces,
                                           len(self.extra_body.v_template),
                                           supersample)
        self.textures = texture_library()
        self.backgrounds = BackgroundPainter(self.textures, image_size)
        self.objects = ObjectOccluder(self.textures, image_size)
        self.appearances = AppearanceSampler(body.data.vertex_groups,
                                             body.data.group_names,
                                             self.textures)
        self._poses = poses
        self._extras = {}

    def render(self, scene: Scene, rng: np.random.Generator) -> Rendered:
        """Draw a scene.

        Args:
            scene (Scene): People and camera.
            rng (np.random.Generator): Source of randomness for the looks.

        Returns:
            Rendered: Picture and visibility.
        """
        size = self.size
        light = self._light(scene, rng)
        up = scene.camera_rotation[:, 1]
        vertices = scene.person.vertices
        foot = vertices[(vertices @ np.float32(up)).argmin()]
        foot = scene.person.joints[0] + up * (
            up @ (foot - scene.person.joints[0]))
        image = self.backgrounds.paint(rng, scene.intrinsics,
                                       scene.camera_rotation, foot)
        self._shadow(image, scene, light, foot, rng)
        if scene.pose_name == 'sitting':
            self._seat(image, scene, light, foot, rng)
        if rng.random() < .3:
            for _ in range(rng.integers(1, 3)):
                behind = rng.uniform(1.25, 2.6)
                self._extra(scene, light, behind, rng).paint(image)
        look = self.appearances.sample(rng, len(vertices))
        layer = self.painter.paint(vertices, scene.person.rest,
                                   scene.intrinsics, look, light, size, True)
        layer.paint(image)
        total = max(cv2.countNonZero(np.uint8(layer.alpha > 127)), 1)
        shown = np.zeros((size, size), bool)
        where = layer.overlap(size)
        if where is not None:
            shown[where[0]] = layer.alpha[where[1]] > 127
        covered = np.zeros((size, size), bool)
        front = self._front(scene, light, shown, total, rng)
        if front is not None:
            front.paint(image)
            inside, own = front.overlap(size)
            covered[inside] = front.alpha[own] > 127
            shown &= ~covered
        occlusion = 1 - np.count_nonzero(shown) / total
        return Rendered(
            self._develop(image, rng), shown, covered, float(occlusion))

    def _light(self, scene: Scene, rng: np.random.Generator) -> Light:
        azimuth = np.radians(rng.normal(0, 70))
        height = np.radians(rng.uniform(10, 75))
        world = np.array([
            np.sin(azimuth) * np.cos(height),
            np.sin(height),
            np.cos(azimuth) * np.cos(height)
        ])
        share, strength = rng.uniform(.3, .8), rng.uniform(.85, 1.35)
        tint = 1 + rng.uniform(-.12, .12) * np.array([-1, 0, 1])
        rotation = scene.camera_rotation
        return Light(
            np.float32(rotation @ world),
            np.float32(1.2 * share * strength * tint),
            np.float32((1 - share) * strength * (2 - tint)),
            np.float32(rotation[:, 1]))

    def _shadow(self, image, scene: Scene, light: Light, foot,
                rng: np.random.Generator) -> None:
        """Darken the floor along the light, bone by bone."""
        up = scene.camera_rotation[:, 1]
        joints = scene.person.joints
        height = (joints - foot) @ up
        # The highest lamp direction that still gives a short shadow.
        direction = light.direction + up * .35
        fall = height / (direction @ up)
        ground = joints - fall[:, None] * direction
        if (ground[:, 2] < .3).any():
            return
        points = ground @ scene.intrinsics.T
        points = np.clip(points[:, :2] / points[:, 2:], -4000, 4000)
        mask = np.zeros(image.shape[:2], np.uint8)
        width = int(scene.intrinsics[0, 0] * _BONE_WIDTH / foot[2]) + 1
        ends = np.int32(points * 16)
        for joint, parent in enumerate(self.body.parents):
            if parent >= 0:
                cv2.line(mask, ends[parent].tolist(), ends[joint].tolist(),
                         255, min(width, 255), cv2.LINE_AA, 4)
        mask = cv2.blur(mask, (width | 1, width | 1))
        dark = rng.uniform(.2, .65)
        left, top, w, h = cv2.boundingRect(mask)
        if w and h:
            area = image[top:top + h, left:left + w]
            keep = cv2.convertScaleAbs(
                mask[top:top + h, left:left + w], alpha=-dark, beta=255)
            area[:] = cv2.multiply(area, cv2.merge([keep] * 3), scale=1 / 255)

    def _seat(self, image, scene: Scene, light: Light, foot,
              rng: np.random.Generator) -> None:
        """A block or stool under someone who sits."""
        up = scene.camera_rotation[:, 1]
        axes = scene.camera_rotation @ rotation_y(scene.yaw)  # left, up, front
        pelvis = scene.person.joints[0]
        height = (pelvis - foot) @ up - .09
        if height < .1:
            return
        half, front = rng.uniform(.2, .6), rng.uniform(.08, .2)
        back, leg = rng.uniform(.2, .4), rng.random() < .4
        bottom = height - rng.uniform(.05, .12) if leg else 0.
        base = pelvis - up * (pelvis - foot).dot(up)
        corners = np.array([[x, y, z] for y in (bottom, height)
                            for x, z in ((-half, front), (half, front),
                                         (half, -back), (-half, -back))])
        colour, width = any_colour(rng), int(rng.integers(1, 4))

        def project(points):
            points = base + points @ axes.T
            if points[:, 2].min() < .2:
                return None
            points = points @ scene.intrinsics.T
            points = points[:, :2] / points[:, 2:]
            return np.int32(16 * np.clip(points, -4000, 4000))

        ends = project(corners)
        if ends is None:
            return
        if leg:
            feet = project(corners[:4] * (1, 0, 1))
            for a, b in zip(ends[:4], feet):
                cv2.line(image, a.tolist(), b.tolist(), (.4 * colour).tolist(),
                         width, cv2.LINE_AA, 4)
        sides = (((0, 1, 5, 4), 2, 1), ((1, 2, 6, 5), 0, 1),
                 ((2, 3, 7, 6), 2, -1), ((3, 0, 4, 7), 0, -1), ((4, 5, 6, 7),
                                                                1, 1))
        for face, axis, sign in sides:
            normal = sign * axes[:, axis]
            centre = base + axes @ corners[list(face)].mean(0)
            if normal @ centre < 0:
                shade = light.ambient + light.key * max(
                    normal @ light.direction, 0)
                cv2.fillConvexPoly(image, ends[list(face)],
                                   np.clip(colour * shade, 0, 255).tolist(),
                                   cv2.LINE_AA, 4)

    def _extra(self, scene: Scene, light: Light, distance: float,
               rng: np.random.Generator) -> Layer:
        """Another person, at ``distance`` times the depth of the first."""
        body = self.extra_body
        pose = self._extra_pose(int(rng.integers(_EXTRAS)))
        betas = rng.normal(0, .8, body.num_betas).astype(np.float32)
        orient = scene.camera_rotation @ rotation_y(rng.uniform(
            -180, 180)) @ pose.root
        orient = Rotation.from_matrix(orient).as_rotvec()
        person = body(betas, pose.body_pose, orient, np.zeros(3, np.float32))
        up = scene.camera_rotation[:, 1]
        floor = (scene.person.vertices @ up).min()
        middle = (scene.bbox[:2] + scene.bbox[2:]) / 2
        depth = max(distance * scene.person.joints[0, 2], 1.1)
        sideways = rng.uniform(.12, .5) * self.size
        if rng.random() < .5:
            sideways = -sideways
        place = np.array([(middle[0] + sideways - scene.intrinsics[0, 2]) /
                          scene.intrinsics[0, 0], 0, 1.]) * depth
        # Stand on the same floor.
        vertices = person.vertices - person.joints[0]
        lowest = (vertices @ up).min()
        place[1] = (floor - lowest - place[[0, 2]] @ up[[0, 2]]) / up[1]
        vertices = np.float32(vertices + place)
        near = vertices[:, 2].min()
        if near < .4:
            vertices[:, 2] += np.float32(.4) - near
        look = self.appearances.sample(rng, len(self.body.v_template))
        ids = body.vertex_ids
        weight = look.pattern_weight
        look = Appearance(look.colours[ids], look.pattern,
                          None if weight is None else weight[ids],
                          look.pattern_colour, look.pattern_scale,
                          look.puff[ids])
        return self.extra_painter.paint(vertices, person.rest,
                                        scene.intrinsics, look, light,
                                        self.size, False)

    def _extra_pose(self, number: int) -> SampledPose:
        if number not in self._extras:
            self._extras[number] = self._poses.sample(
                np.random.default_rng((_EXTRAS, number)))
        return self._extras[number]

    def _front(self, scene: Scene, light: Light, shown, total: int,
               rng: np.random.Generator) -> Layer:
        """What hides the person, or None."""
        if scene.occluder == 'object':
            return self.objects.paint(rng, shown, total, scene.target)
        if scene.occluder != 'person':
            return None
        layer = self._extra(scene, light, rng.uniform(.6, .85), rng)
        # Slide sideways to hide about as much as wanted.
        side = -1 if rng.random() < .5 else 1
        middle = (scene.bbox[0] + scene.bbox[2]) / 2
        width = layer.alpha.shape[1]
        best = None
        for way in np.linspace(0, .5 * (width + self.size), 12):
            x = int(middle + side * way - width / 2)
            moved = layer._replace(origin=(x, layer.origin[1]))
            where = moved.overlap(self.size)
            if where is None:
                break
            hidden = np.count_nonzero(shown[where[0]]
                                      & (layer.alpha[where[1]] > 127)) / total
            gap = abs(hidden - scene.target)
            if hidden < .8 and (best is None or gap < best[0]):
                best = gap, moved
        return None if best is None else best[1]

    def _develop(self, image: np.ndarray,
                 rng: np.random.Generator) -> np.ndarray:
        """Exposure, contrast, softness and noise of a camera."""
        size = self.size
        if rng.random() < .3:
            image = cv2.GaussianBlur(image, (0, 0),
                                     size / 256 * rng.uniform(.4, 1.1))
        gamma, gain = np.exp(rng.normal(0, .15)), rng.normal(1, .08)
        table = 255 * (np.linspace(0, 1, 256)**gamma) * gain
        image = cv2.LUT(image, np.uint8(np.clip(table, 0, 255)))
        noise = abs(rng.normal(0, .06))
        height, width = self.textures.grain.shape[:2]
        if size <= min(height, width):
            y = rng.integers(height - size + 1)
            x = rng.integers(width - size + 1)
            image = cv2.addWeighted(
                image, 1., self.textures.grain[y:y + size, x:x + size], noise,
                -128 * noise)
        return image
