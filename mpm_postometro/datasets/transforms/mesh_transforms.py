# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Transforms that change picture, 2D labels, 3D labels and camera together.

MMPose's ``TopdownAffine`` and ``RandomFlip`` touch neither 3D joints nor body
parameters. After those of this file the 3D joints, projected with
``intrinsics``, still land on the 2D joints.
"""
import math
from typing import Dict, Optional, Sequence, Tuple

import cv2
import numpy as np
import torch
from mmcv.transforms import BaseTransform
from mmcv.transforms.utils import cache_randomness
from mmengine.utils import is_seq_of
from mmpose.registry import TRANSFORMS
from mmpose.structures.bbox import (flip_bbox, get_udp_warp_matrix,
                                    get_warp_matrix)
from scipy.spatial.transform import Rotation

from mpm_postometro.bodies.rotations import mirror_axis_angle
from mpm_postometro.bodies.skeletons import SKELETONS


def _affine(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Map (..., 2) points by a 2x3 matrix, in float64; keeps the dtype."""
    moved = points.astype(np.float64) @ matrix[:, :2].T + matrix[:, 2]
    return moved.astype(points.dtype)


def _inside(points: np.ndarray, size: Tuple[int, int]) -> np.ndarray:
    """Which (..., 2) points lie on a picture of (w, h); NaN does not."""
    limit = np.asarray(size, np.float64) - 0.5
    return ((points >= -0.5) & (points < limit)).all(-1)


def hide_keypoints(results: Dict, labelled: np.ndarray,
                   hidden: np.ndarray) -> None:
    """Note that keypoints went out of sight.

    ``keypoints_occluded`` becomes 1 for them. Where ``occlusion`` is known it
    grows by the share of the keypoints, labelled and open until now, that
    are hidden now: an estimate, since the person's outline is not known.

    Args:
        results (dict): A sample; new arrays take the place of its own.
        labelled (np.ndarray): Weights of the keypoints, (1, K).
        hidden (np.ndarray): Which keypoints are hidden now, (1, K) bool;
            those without a label are passed over.
    """
    hidden = hidden & (labelled > 0)
    before = results.get('keypoints_occluded')
    if before is None:
        before = np.zeros(hidden.shape, np.float32)
    if results.get('occlusion') is not None:
        open_ = (labelled > 0) & (before == 0)
        share = (open_ & hidden).sum(1) / np.maximum(open_.sum(1), 1)
        old = np.asarray(results['occlusion'])
        results['occlusion'] = (1 - (1 - old) * (1 - share)).astype(old.dtype)
    results['keypoints_occluded'] = np.maximum(before,
                                               hidden.astype(before.dtype))


def _rotate_orient(global_orient: np.ndarray,
                   rotation: np.ndarray) -> np.ndarray:
    """Turn axis-angle orientations (N, 3) by a (3, 3) rotation."""
    # torch takes seven times as long for so few numbers
    turned = Rotation.from_matrix(rotation) * Rotation.from_rotvec(
        global_orient.astype(np.float64))
    return turned.as_rotvec().astype(global_orient.dtype)


class _RestRoot:
    """Where the root joint of the unposed body is, for given betas.

    SMPL turns the body about its root joint and not about the origin, so
    that turning a body in the camera frame also shifts ``transl`` by what
    the root joint moves. The root is linear in the betas. The body is loaded
    at the first use, in the worker that needs it.
    """

    def __init__(self, body=None) -> None:
        self.body = body
        self._mean: Optional[np.ndarray] = None

    def __call__(self, betas: np.ndarray) -> np.ndarray:
        """(N, S) -> (N, 3) metres; S may be less than the body's number."""
        if self._mean is None:
            self._measure(betas.shape[-1])
        count = min(betas.shape[-1], len(self._slope))
        return self._mean + betas[..., :count].astype(
            np.float64) @ self._slope[:count]

    @torch.no_grad()
    def _measure(self, num_betas: int) -> None:
        body = self.body
        if body is None or isinstance(body, (str, dict)):
            from mpm_postometro.bodies import load_body
            arguments = body if isinstance(body, dict) else dict(path=body)
            body = load_body(**{**arguments, 'num_betas': num_betas})
        reference = next(b for b in body.buffers() if b.is_floating_point())
        num_joints = len(body.parents)
        betas = torch.eye(num_betas + 1, num_betas)
        betas = torch.cat([betas[-1:], betas[:-1]]).to(reference)
        pose = betas.new_zeros(len(betas), num_joints - 1, 3)
        root = body(betas, pose, betas.new_zeros(len(betas), 3)).joints[:, 0]
        root = root.double().cpu().numpy()
        self._mean, self._slope = root[0], root[1:] - root[:1]
        self.body = None  # only these few numbers travel on to workers


@TRANSFORMS.register_module()
class MeshAffine(BaseTransform):
    """Crop the person's box, and let 2D, 3D and camera labels follow.

    Takes the place of MMPose's ``TopdownAffine`` and computes the same crop.
    Works without an image too, on the labels alone (tokenizer training). A
    picture turned by an angle is one taken with a camera turned about its
    optical axis: 3D joints, ``global_orient`` and ``transl`` turn by that
    angle, and ``intrinsics`` become ``A K Rz^-1`` with ``A`` the crop's
    affine map.

    Required Keys:

        - bbox_center
        - bbox_scale
        - bbox_rotation (optional)
        - img (optional)
        - keypoints, keypoints_visible (optional)
        - keypoints_occluded, occlusion (optional)
        - joints_2d, joints_2d_visible (optional)
        - joints_3d (optional)
        - global_orient, transl, betas (optional)
        - intrinsics (optional)

    Modified Keys:

        - img
        - img_shape
        - bbox_scale
        - keypoints_occluded, occlusion (where the data set knows them: what
          the crop's edge cuts off is hidden)
        - joints_2d, joints_2d_visible (crop pixels; see ``outside``)
        - joints_3d
        - global_orient
        - transl
        - intrinsics

    Added Keys:

        - transformed_keypoints (crop pixels; ``keypoints`` stay as they are
          for the metrics)
        - keypoint_weights (``keypoints_visible``; see ``outside``)
        - warp_mat (2x3, image pixels to crop pixels)
        - input_size
        - input_center
        - input_scale
        - ori_shape (if missing)

    Args:
        input_size (Tuple[int, int]): Size of the network input, [w, h].
        use_udp (bool): Unbiased data processing, as in ``TopdownAffine``.
        body (str | dict | BodyModel, optional): The body that ``transl``
            belongs to: a file, arguments of ``load_body``, or None for the
            built-in one. Only its root joint is used, and only where
            ``transl`` turns.
        outside (str): ``'hide'`` 2D points that fall outside the crop, or
            ``'keep'`` them visible with their true pixels, as PCT does.
            Defaults to ``'hide'``.

    Raises:
        ValueError: If ``input_size`` or ``outside`` is not of these.
    """

    def __init__(self,
                 input_size: Tuple[int, int],
                 use_udp: bool = False,
                 body=None,
                 outside: str = 'hide') -> None:
        super().__init__()
        if outside not in ('hide', 'keep'):
            raise ValueError("outside must be 'hide' or 'keep', got "
                             f'{outside!r}')
        self.outside = outside
        if not is_seq_of(input_size, int) or len(input_size) != 2:
            raise ValueError('input_size must be two integers (w, h), got '
                             f'{input_size}')
        self.input_size = tuple(input_size)
        self.use_udp = use_udp
        self._rest_root = _RestRoot(body)

    def transform(self, results: Dict) -> Dict:
        """See the class.

        Raises:
            ValueError: If there is not exactly one box, or it has no area.
        """
        size = self.input_size
        center, scale, angle = self._box(results)
        get_matrix = get_udp_warp_matrix if self.use_udp else get_warp_matrix
        warp = get_matrix(center, scale, angle, output_size=size)
        warp = np.asarray(warp, np.float64)

        if results.get('img') is not None:
            results.setdefault('ori_shape', results['img'].shape[:2])
            results['img'] = cv2.warpAffine(
                results['img'], warp, size, flags=cv2.INTER_LINEAR)
        results['img_shape'] = (size[1], size[0])
        self._move_2d(results, warp)
        self._move_3d(results, warp)
        results['warp_mat'] = warp
        results['input_size'] = size
        results['input_center'] = center
        results['input_scale'] = scale
        return results

    def _box(self, results: Dict) -> Tuple[np.ndarray, np.ndarray, float]:
        """Centre, scale at the input's aspect ratio, rotation in degrees."""
        center = np.asarray(results['bbox_center'])
        scale = np.asarray(results['bbox_scale'])
        if center.shape != (1, 2) or scale.shape != (1, 2):
            raise ValueError('MeshAffine crops one person: bbox_center and '
                             'bbox_scale must be (1, 2), got '
                             f'{center.shape} and {scale.shape}')
        if not (np.isfinite(scale).all() and np.isfinite(center).all() and
                (scale > 0).all()):
            raise ValueError('the box of '
                             f"{results.get('img_path', 'this sample')} has "
                             f'no area: bbox_center {center[0]}, bbox_scale '
                             f'{scale[0]}')
        ratio = self.input_size[0] / self.input_size[1]
        width = np.maximum(scale[:, 0], scale[:, 1] * ratio)
        scale = np.stack([width, width / ratio], -1).astype(scale.dtype)
        results['bbox_scale'] = scale
        rotation = results.get('bbox_rotation', [0.])
        return center[0], scale[0], float(rotation[0])

    def _move_2d(self, results: Dict, warp: np.ndarray) -> None:
        if results.get('keypoints') is not None:
            moved = _affine(results['keypoints'][..., :2], warp)
            visible = np.asarray(results.get('keypoints_visible'))
            if visible.shape == ():
                visible = np.ones(moved.shape[:-1], np.float32)
            if visible.ndim == 3:  # (visible, weight) after KeypointConverter
                visible = visible.prod(-1)
            results['transformed_keypoints'] = moved
            results['keypoint_weights'] = (visible *
                                           self._known(moved)).astype(
                                               np.float32)
            outside = (visible > 0) & ~_inside(moved, self.input_size)
            if results.get('keypoints_occluded') is not None and outside.any():
                hide_keypoints(results, visible, outside)
        if results.get('joints_2d') is not None:
            moved = _affine(results['joints_2d'], warp)
            results['joints_2d'] = moved
            visible = results.get('joints_2d_visible')
            if visible is None:
                visible = np.ones(moved.shape[:-1], np.float32)
            results['joints_2d_visible'] = (visible *
                                            self._known(moved)).astype(
                                                visible.dtype)

    def _known(self, points: np.ndarray) -> np.ndarray:
        """Which (..., 2) points of the crop stay labelled."""
        if self.outside == 'keep':
            return np.isfinite(points).all(-1)
        return _inside(points, self.input_size)

    def _move_3d(self, results: Dict, warp: np.ndarray) -> None:
        # from the matrix, since UDP and plain boxes turn opposite ways
        angle = math.atan2(warp[1, 0], warp[0, 0])
        c, s = math.cos(angle), math.sin(angle)
        turn = np.array([[c, -s, 0.], [s, c, 0.], [0., 0., 1.]])

        if results.get('intrinsics') is not None:
            old = results['intrinsics']
            affine = np.vstack([warp, [0., 0., 1.]])
            results['intrinsics'] = (
                affine @ old.astype(np.float64) @ turn.T).astype(old.dtype)
        if abs(angle) < 1e-12:
            return
        if results.get('joints_3d') is not None:
            joints = results['joints_3d']
            results['joints_3d'] = (joints.astype(np.float64) @ turn.T).astype(
                joints.dtype)
        if results.get('global_orient') is not None:
            results['global_orient'] = _rotate_orient(results['global_orient'],
                                                      turn)
        if results.get('transl') is not None:
            transl = results['transl']
            root = 0.
            if results.get('betas') is not None:
                root = self._rest_root(results['betas'])
            moved = (transl + root) @ turn.T - root
            results['transl'] = moved.astype(transl.dtype)

    def __repr__(self) -> str:
        return (f'{self.__class__.__name__}(input_size={self.input_size}, '
                f'use_udp={self.use_udp}, outside={self.outside!r})')


@TRANSFORMS.register_module()
class RandomScaleRotation(BaseTransform):
    """Draw size and angle of the crop as SPIN and METRO do.

    Both are normal numbers that are clipped, so that a part of the crops has
    just the largest or smallest size. MMPose's ``RandomBBoxTransform`` draws
    again in place of clipping and cuts at one standard deviation. Comes
    before :class:`MeshAffine`. The defaults are the published numbers.

    Required Keys:

        - bbox_scale

    Modified Keys:

        - bbox_scale

    Added Keys:

        - bbox_rotation (degrees)

    Args:
        scale_factor (float): Standard deviation of the factor on the box,
            whose mean is 1, and the most that it differs from 1. Defaults to
            0.25.
        rotate_factor (float): Standard deviation of the angle in degrees; it
            stays within twice that. Defaults to 30.
        rotate_prob (float): Probability that a crop is turned at all.
            Defaults to 0.4.

    Raises:
        ValueError: If a number is out of its range.
    """

    def __init__(self,
                 scale_factor: float = 0.25,
                 rotate_factor: float = 30.,
                 rotate_prob: float = 0.4) -> None:
        super().__init__()
        if not 0 <= scale_factor < 1 or rotate_factor < 0 or \
                not 0 <= rotate_prob <= 1:
            raise ValueError(
                'scale_factor should be in [0, 1), rotate_factor not be '
                f'negative and rotate_prob be in [0, 1], got {scale_factor}, '
                f'{rotate_factor} and {rotate_prob}')
        self.scale_factor = scale_factor
        self.rotate_factor = rotate_factor
        self.rotate_prob = rotate_prob

    @cache_randomness
    def _draw(self) -> Tuple[float, float]:
        """Factor on the box, and angle in degrees."""
        scale = 1 + self.scale_factor * np.clip(np.random.randn(), -1, 1)
        angle = self.rotate_factor * np.clip(np.random.randn(), -2, 2)
        if np.random.rand() >= self.rotate_prob:
            angle = 0.
        return float(scale), float(angle)

    def transform(self, results: Dict) -> Dict:
        """See the class."""
        scale, angle = self._draw()
        box = np.asarray(results['bbox_scale'])
        results['bbox_scale'] = (box * scale).astype(box.dtype)
        results['bbox_rotation'] = np.array([angle], np.float32)
        return results

    def __repr__(self) -> str:
        return (f'{self.__class__.__name__}('
                f'scale_factor={self.scale_factor}, '
                f'rotate_factor={self.rotate_factor}, '
                f'rotate_prob={self.rotate_prob})')


@TRANSFORMS.register_module()
class MeshFlip(BaseTransform):
    """Mirror picture, 2D and 3D labels and body parameters, left to right.

    Mirroring the picture mirrors the camera frame (x becomes -x) and swaps
    left and right; betas stay, since the body's shapes are symmetric. Comes
    before :class:`MeshAffine`. Labels without a picture whose size is not
    known either (annotations of COCO, to train the tokenizer) are mirrored
    about the middle of the box, which makes the same crop.

    Required Keys:

        - img or img_shape, or bbox_center
        - bbox, bbox_center, bbox_rotation (optional)
        - keypoints, keypoints_visible, keypoints_occluded, flip_indices
          (optional)
        - joints_2d, joints_2d_visible, joints_3d, joints_3d_visible
          (optional)
        - global_orient, body_pose, transl, intrinsics (optional)

    Modified Keys: all of these that are there, but img_shape and
    flip_indices.

    Added Keys:

        - flip
        - flip_direction

    Args:
        prob (float): Probability of a flip. PostoMETRO trains without, so
            the default is 0.
        joints (str): Skeleton of ``joints_2d`` and ``joints_3d``.
        tree (str): Skeleton of ``body_pose``, whose root is not in it.
    """

    def __init__(self,
                 prob: float = 0.,
                 joints: str = 'j14',
                 tree: str = 'smpl24') -> None:
        super().__init__()
        if not 0 <= prob <= 1:
            raise ValueError(f'prob must be in [0, 1], got {prob}')
        self.prob = prob
        self.joint_flips = list(SKELETONS[joints].flip_indices)
        self.pose_flips = [i - 1 for i in SKELETONS[tree].flip_indices[1:]]

    @cache_randomness
    def _draw(self) -> bool:
        return bool(np.random.rand() < self.prob)

    def transform(self, results: Dict) -> Dict:
        """See the class.

        Raises:
            ValueError: If the sample is already cropped.
        """
        if 'warp_mat' in results:
            raise ValueError('MeshFlip must come before MeshAffine')
        results['flip'] = self._draw()
        results['flip_direction'] = 'horizontal' if results['flip'] else None
        if not results['flip']:
            return results
        if results.get('img') is not None:
            h, w = results['img'].shape[:2]
            results['img'] = cv2.flip(results['img'], 1)
        elif results.get('img_shape') is not None:
            h, w = results['img_shape'][:2]
        else:
            h = w = self._width_about_box(results)
        self._flip_2d(results, w, h)
        self._flip_3d(results, w)
        return results

    @staticmethod
    def _width_about_box(results: Dict) -> float:
        """Width of a picture in whose middle the box lies."""
        if results.get('bbox_center') is None or \
                results.get('intrinsics') is not None:
            raise ValueError(
                'MeshFlip mirrors about the middle of the picture, and '
                f"{results.get('img_path', 'this sample')} has neither 'img' "
                "nor 'img_shape'; with 'bbox_center' and without "
                "'intrinsics' it needs none of them")
        return 2 * float(results['bbox_center'][0, 0]) + 1

    def _flip_2d(self, results: Dict, w: float, h: float) -> None:
        if results.get('bbox') is not None:
            results['bbox'] = flip_bbox(results['bbox'], (w, h), 'xyxy')
        if results.get('bbox_center') is not None:
            results['bbox_center'] = flip_bbox(results['bbox_center'], (w, h),
                                               'center')
        if results.get('bbox_rotation') is not None:
            results['bbox_rotation'] = -np.asarray(results['bbox_rotation'])
        if results.get('keypoints') is not None:
            _permute(results, results['flip_indices'], 'keypoints',
                     'keypoints_visible', 'keypoints_occluded')
            results['keypoints'][..., 0] = w - 1 - results['keypoints'][..., 0]
        if results.get('joints_2d') is not None:
            _permute(results, self.joint_flips, 'joints_2d',
                     'joints_2d_visible')
            results['joints_2d'][..., 0] = w - 1 - results['joints_2d'][..., 0]

    def _flip_3d(self, results: Dict, w: float) -> None:
        if results.get('joints_3d') is not None:
            _permute(results, self.joint_flips, 'joints_3d',
                     'joints_3d_visible')
            results['joints_3d'][..., 0] *= -1
        if results.get('transl') is not None:
            results['transl'] = results['transl'] * np.array(
                [-1, 1, 1], results['transl'].dtype)
        if results.get('global_orient') is not None:
            results['global_orient'] = mirror_axis_angle(
                torch.from_numpy(results['global_orient'])).numpy()
        if results.get('body_pose') is not None:
            results['body_pose'] = mirror_axis_angle(
                torch.from_numpy(results['body_pose']),
                self.pose_flips).numpy()
        if results.get('intrinsics') is not None:
            old = results['intrinsics']
            picture = np.array([[-1., 0., w - 1.], [0., 1., 0.], [0., 0., 1.]])
            space = np.diag([-1., 1., 1.])
            results['intrinsics'] = (
                picture @ old.astype(np.float64) @ space).astype(old.dtype)

    def __repr__(self) -> str:
        return f'{self.__class__.__name__}(prob={self.prob})'


def _permute(results: Dict, order: Sequence[int], *keys: str) -> None:
    """Reorder axis 1 of each key that is there, into new arrays."""
    for key in keys:
        if results.get(key) is not None:
            results[key] = results[key][:, list(order)]
