# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Items of the built-in data set: a pure function of split, seed and index."""
import hashlib
import json
from pathlib import Path
from typing import Dict, Optional, Union

import numpy as np

from mpm_postometro.bodies.body_io import read_body
from .motion import MotionPoses
from .poses import PoseSampler
from .renderer import Rendered, SceneRenderer
from .scene import SPLITS, Scene, SceneSampler, item_rng
from .skinning import NumpyBody

__all__ = ['GENERATOR_VERSION', 'ItemGenerator']

#: Raised whenever an item would come out different than before.
GENERATOR_VERSION = 1


class ItemGenerator:
    """Makes items.

    Args:
        split (str): 'train', 'val' or 'test'; their items never coincide.
        seed (int): Another seed, other items. Not negative.
        image_size (int): Side of the square picture in pixels.
        occlusion_probability (float): Share of pictures with something that
            hides part of the person.
        max_occlusion (float): Largest wanted hidden fraction.
        frontal_probability (float): Share of people within
            ``max_frontal_yaw`` of facing the camera; the others face
            anywhere.
        max_frontal_yaw (float): Degrees.
        betas_std (float): Standard deviation of the shape coefficients.
        motion_file (str | Path, optional): Motion capture to take poses
            from (see :class:`MotionPoses`) instead of motion primitives.
        supersample (float, optional): See :class:`SceneRenderer`.
        body (dict, optional): Arguments of
            :func:`~mpm_postometro.bodies.body_io.read_body` (``path``,
            ``gender``, ``regressors``, ``mesh_levels``) and ``num_betas``.

    Raises:
        ValueError: If a setting is outside its range.
    """

    def __init__(self,
                 split: str = 'train',
                 seed: int = 0,
                 image_size: int = 256,
                 occlusion_probability: float = 0.5,
                 max_occlusion: float = 0.7,
                 frontal_probability: float = 0.85,
                 max_frontal_yaw: float = 75.,
                 betas_std: float = 1.,
                 motion_file: Union[None, str, Path] = None,
                 supersample: Optional[float] = None,
                 body: Optional[dict] = None) -> None:
        if split not in SPLITS:
            raise ValueError(f'split must be one of {SPLITS}, got {split!r}')
        if seed < 0:
            raise ValueError(f'seed must not be negative, got {seed}')
        if image_size < 16:
            raise ValueError('image_size must be at least 16 pixels, got '
                             f'{image_size}')
        for name, value in (('occlusion_probability', occlusion_probability),
                            ('max_occlusion', max_occlusion),
                            ('frontal_probability', frontal_probability)):
            if not 0 <= value <= 1:
                raise ValueError(f'{name} must be in [0, 1], got {value}')
        body = dict(body or {})
        num_betas = body.pop('num_betas', 10)
        data = read_body(body.pop('path', None), **body)
        self.split, self.seed = split, int(seed)
        self.body = NumpyBody(data, num_betas)
        self.poses = (
            PoseSampler(self.body)
            if motion_file is None else MotionPoses(motion_file))
        self.scenes = SceneSampler(
            self.body,
            self.poses,
            image_size=image_size,
            frontal_probability=frontal_probability,
            max_frontal_yaw=max_frontal_yaw,
            occlusion_probability=occlusion_probability,
            max_occlusion=max_occlusion,
            betas_std=betas_std)
        self.image_size = image_size
        self._settings = dict(
            split=split,
            seed=int(seed),
            image_size=image_size,
            occlusion_probability=float(occlusion_probability),
            max_occlusion=float(max_occlusion),
            frontal_probability=float(frontal_probability),
            max_frontal_yaw=float(max_frontal_yaw),
            betas_std=float(betas_std),
            num_betas=num_betas,
            supersample=supersample,
            version=GENERATOR_VERSION)
        self._supersample = supersample
        self._renderer = None

    @property
    def renderer(self) -> SceneRenderer:
        """SceneRenderer: Made when first wanted."""
        if self._renderer is None:
            self._renderer = SceneRenderer(self.body, self.poses,
                                           self.image_size, self._supersample)
        return self._renderer

    def fingerprint(self) -> str:
        """str: Hash of all that items depend on: settings, body, motion."""
        digest = hashlib.sha256(
            json.dumps(self._settings, sort_keys=True).encode())
        data = self.body.data
        parts = [
            data.v_template, data.shapedirs, data.weights, data.faces,
            data.posedirs, data.vertex_groups
        ]
        parts += [data.regressors[k] for k in sorted(data.regressors)]
        for array in parts:
            if array is not None:
                digest.update(np.ascontiguousarray(array).tobytes())
        if isinstance(self.poses, MotionPoses):
            digest.update(self.poses.fingerprint().encode())
        return digest.hexdigest()[:16]

    def scene(self, index: int) -> Scene:
        """The scene of an item."""
        return self.scenes.sample(item_rng(self.split, self.seed, index, 0))

    def labels(self, index: int) -> Dict[str, np.ndarray]:
        """All labels of an item, without drawing it.

        Only the picture's edge counts as an occluder here: what objects and
        other people hide is known when the picture is drawn.

        Args:
            index (int): Which item.

        Returns:
            dict: See docs/design.md, "One sample, on its way".
        """
        return self._labels(self.scene(index))

    def item(self, index: int) -> Dict[str, np.ndarray]:
        """An item: labels and ``img`` (size, size, 3) uint8 BGR."""
        scene = self.scene(index)
        labels = self._labels(scene)
        rendered = self.renderer.render(
            scene, item_rng(self.split, self.seed, index, 1))
        self._add_visibility(labels, rendered)
        labels['img'] = rendered.image
        return labels

    def _labels(self, scene: Scene) -> Dict[str, np.ndarray]:
        vertices = scene.person.vertices
        joints = self.body.regress_joints(vertices, 'j14')
        joints_2d = _project(joints, scene.intrinsics)
        keypoints = _project(
            self.body.regress_joints(vertices, 'coco17'), scene.intrinsics)
        visible = self._inside(keypoints)
        cut = 1 - self._inside(scene.points.T).mean()
        return {
            key: np.asarray(value, np.float32)[None]
            for key, value in dict(
                bbox=scene.bbox,
                bbox_score=1.,
                keypoints=keypoints,
                keypoints_visible=visible,
                keypoints_occluded=1 - visible,
                occlusion=cut,
                joints_2d=joints_2d,
                joints_2d_visible=self._inside(joints_2d),
                joints_3d=joints,
                joints_3d_visible=np.ones(len(joints)),
                global_orient=scene.global_orient,
                body_pose=scene.body_pose,
                betas=scene.betas,
                transl=scene.transl,
                intrinsics=scene.intrinsics,
                has_smpl=1.,
                has_joints_3d=1.).items()
        }

    def _inside(self, points: np.ndarray) -> np.ndarray:
        low, high = -0.5, self.image_size - 0.5
        inside = (points >= low) & (points < high)
        return (inside[:, 0] & inside[:, 1]).astype(np.float32)

    def _add_visibility(self, labels: Dict[str, np.ndarray],
                        rendered: Rendered) -> None:
        keypoints = labels['keypoints'][0]
        inside = labels['keypoints_visible'][0] > 0
        at = np.floor(keypoints[inside] + 0.5).astype(int)
        occluded = labels['keypoints_occluded'][0]
        occluded[inside] = rendered.covered[at[:, 1], at[:, 0]]
        labels['occlusion'] = np.float32([rendered.occlusion])


def _project(points: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    flat = points[:, :2] / points[:, 2:]
    return flat * intrinsics[0, 0] + intrinsics[:2, 2]
