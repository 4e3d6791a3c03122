# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Packing of samples for the mesh networks and the pose tokenizer."""
from typing import Dict, Sequence, Tuple

import numpy as np
import torch
from mmpose.datasets.transforms import PackPoseInputs
from mmpose.registry import TRANSFORMS

from mpm_postometro.bodies.skeletons import SKELETONS


@TRANSFORMS.register_module()
class PackMeshInputs(PackPoseInputs):
    """Pack image and mesh labels into ``inputs`` and ``data_samples``.

    Every sample comes out with the same labels, all float32: those that a
    data set lacks are zeros with zero weights and flags, so that samples of
    different data sets stack. See the table in docs/design.md.

    Required Keys:

        - img
        - transformed_keypoints or keypoint_labels, keypoint_weights
          (optional)
        - joints_2d, joints_2d_visible (optional)
        - joints_3d, joints_3d_visible, has_joints_3d (optional)
        - global_orient, body_pose, betas, has_smpl (optional)
        - occlusion, keypoints_occluded (optional)
        - what ``PackPoseInputs`` takes

    A flag that is missing is 1 if all its labels are there, else 0.

    Returned ``gt_instance_labels``: ``keypoint_labels``,
    ``keypoint_weights``, ``joints_2d``, ``joints_2d_weights``, ``joints_3d``,
    ``joints_3d_weights``, ``global_orient``, ``body_pose``, ``betas``,
    ``has_smpl``, ``has_joints_3d``; those of MMPose are tensors, ours are
    arrays. ``gt_instances`` has ``occlusion`` and
    ``keypoints_occluded`` beside MMPose's fields, where the data set knows
    them.

    Args:
        keypoints (str): Skeleton of ``keypoints``.
        joints (str): Skeleton of ``joints_2d`` and ``joints_3d``.
        tree (str): Skeleton of ``body_pose``, whose root is not in it.
        num_betas (int): Number of shape coefficients.
        meta_keys (Sequence[str], optional): As in ``PackPoseInputs``, whose
            default is ours, with ``warp_mat``, ``label_body``, ``gender``,
            ``sequence``, ``frame`` and ``annotation_id``, where a sample has
            them.
        pack_transformed (bool): As in ``PackPoseInputs``.
    """

    instance_mapping_table = dict(
        **PackPoseInputs.instance_mapping_table,
        occlusion='occlusion',
        keypoints_occluded='keypoints_occluded')

    label_mapping_table = dict(
        **PackPoseInputs.label_mapping_table,
        joints_2d='joints_2d',
        joints_2d_visible='joints_2d_weights',
        joints_3d='joints_3d',
        joints_3d_visible='joints_3d_weights',
        global_orient='global_orient',
        body_pose='body_pose',
        betas='betas',
        has_smpl='has_smpl',
        has_joints_3d='has_joints_3d')
    # MMPose's heads want theirs as tensors.
    _own_labels = tuple(
        key for key in label_mapping_table.values()
        if key not in PackPoseInputs.label_mapping_table.values())

    def __init__(self,
                 keypoints: str = 'coco17',
                 joints: str = 'j14',
                 tree: str = 'smpl24',
                 num_betas: int = 10,
                 meta_keys: Sequence[str] = None,
                 pack_transformed: bool = False) -> None:
        super().__init__(pack_transformed=pack_transformed)
        if meta_keys is None:
            meta_keys = (*self.meta_keys, 'warp_mat', 'label_body', 'gender',
                         'sequence', 'frame', 'annotation_id')
        self.meta_keys = meta_keys
        k = SKELETONS[keypoints].num_joints
        j = SKELETONS[joints].num_joints
        # points, their weights, shape of the points
        self._points: Tuple = (('keypoint_labels', 'keypoint_weights',
                                (1, k, 2)), ('joints_2d', 'joints_2d_visible',
                                             (1, j, 2)),
                               ('joints_3d', 'joints_3d_visible', (1, j, 3)))
        self._parameters = dict(
            global_orient=(1, 3),
            body_pose=(1, SKELETONS[tree].num_joints - 1, 3),
            betas=(1, num_betas))

    def transform(self, results: Dict) -> Dict:
        """See the class.

        Raises:
            ValueError: If a label has an unexpected shape, or a flag says
                that labels are there which are not.
        """
        # the caller keeps its own dict, and tables of codecs come on top of
        # ours in place of replacing them
        results = dict(results)
        for table in ('instance_mapping_table', 'label_mapping_table'):
            results[table] = {**getattr(self, table), **results.get(table, {})}
        if 'keypoint_labels' not in results:
            moved = results.get('transformed_keypoints')
            if moved is not None and np.ndim(moved) > 0:
                results['keypoint_labels'] = moved[..., :2]
                if results.get('keypoint_weights') is None:
                    # cropped by TopdownAffine, which makes no weights
                    results['keypoint_weights'] = results.get(
                        'keypoints_visible')
        self._fill_flag(results, 'has_joints_3d', ['joints_3d'])
        self._fill_flag(results, 'has_smpl', list(self._parameters))
        for key, weights, shape in self._points:
            known = results.get(key) is not None
            self._fill(results, key, shape)
            if known and results.get(weights) is None:
                results[weights] = np.ones(shape[:2], np.float32)
            self._fill(results, weights, shape[:2])
        for key, shape in self._parameters.items():
            self._fill(results, key, shape)
        packed = super().transform(results)
        # Every tensor is handed from a worker to the trainer by a file of its
        # own; a dozen small ones a sample took ten times as long as making
        # the sample. Arrays travel together.
        labels = packed['data_samples'].gt_instance_labels
        for key in self._own_labels:
            labels.set_field(labels.pop(key).numpy(), key)
        return packed

    @staticmethod
    def _where(results: Dict) -> str:
        return str(results.get('img_path', results.get('id', 'this sample')))

    def _fill(self, results: Dict, key: str, shape: Tuple[int, ...]) -> None:
        """Float32 of the expected shape, zeros for what is missing."""
        value = results.get(key)
        if value is None:
            results[key] = np.zeros(shape, np.float32)
            return
        value = np.asarray(value, np.float32)
        if value.shape != shape:
            raise ValueError(f"'{key}' of {self._where(results)} has shape "
                             f'{value.shape}, expected {shape}')
        results[key] = value

    def _fill_flag(self, results: Dict, key: str, labels: list) -> None:
        missing = [k for k in labels if results.get(k) is None]
        if results.get(key) is None:
            results[key] = np.full(1, not missing, np.float32)
        self._fill(results, key, (1, ))
        if missing and results[key][0] > 0:
            raise ValueError(f"'{key}' of {self._where(results)} is set, but "
                             f'{missing} are missing')


@TRANSFORMS.register_module()
class PackKeypointInputs(PackPoseInputs):
    """Pack keypoints as network inputs, to train the pose tokenizer (PCT).

    Needs no image: ``inputs`` is a float32 tensor (K, C + 1) of the
    keypoints' coordinates, for C = 2 the x and y of crop pixels, and of their
    visibility. Invisible keypoints have zeros there. Numbers of keypoints and
    coordinates come from the data.

    Required Keys:

        - transformed_keypoints (1, K, C)
        - keypoint_weights, or keypoints_visible (1, K)
        - what ``PackPoseInputs`` takes (optional)

    Returned ``gt_instance_labels``: ``keypoint_labels`` and
    ``keypoint_weights``, tensors. ``gt_instances`` is as in
    :class:`PackMeshInputs`.
    """

    instance_mapping_table = PackMeshInputs.instance_mapping_table

    def transform(self, results: Dict) -> Dict:
        """See the class.

        Raises:
            ValueError: If there are no keypoints, or their shape is not
                (1, K, C), or there is not one weight for each.
        """
        where = results.get('img_path', results.get('id', 'this sample'))
        if results.get('transformed_keypoints') is None:
            raise ValueError(f"{where} has no 'transformed_keypoints': "
                             'MeshAffine comes before PackKeypointInputs')
        points = np.asarray(results['transformed_keypoints'], np.float32)
        weights = results.get('keypoint_weights')
        if weights is None:
            weights = results.get('keypoints_visible')
        weights = np.asarray(weights, np.float32)
        if points.ndim != 3 or len(points) != 1 or \
                weights.shape != points.shape[:2]:
            raise ValueError(
                f'{where} should have one person\'s keypoints (1, K, C) and '
                f'their weights (1, K), but has {points.shape} and '
                f'{weights.shape}')
        # the parent wants a picture, and its tensor is replaced below
        packed = super().transform({
            **results, 'keypoint_labels': points,
            'keypoint_weights': weights,
            'img': np.zeros((1, 1, 3), np.uint8)
        })
        visible = weights[0, :, None]
        inputs = [np.where(visible > 0, points[0], 0), visible]
        packed['inputs'] = torch.from_numpy(
            np.concatenate(inputs, -1).astype(np.float32))
        return packed
