# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Poses of motion capture, seen by virtual cameras."""
from copy import deepcopy
from typing import Callable, Dict, List, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from mmengine.dataset import BaseDataset, force_full_init
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.registry import DATASETS

from mpm_postometro.bodies.cameras import perspective_project
from mpm_postometro.bodies.skeletons import SKELETONS
from mpm_postometro.bodies.skeletons import metainfo as skeleton_metainfo
from .mocap_file import read_mocap
from .virtual_camera import look_from

__all__ = ['MocapKeypointDataset']

_SKELETON = SKELETONS['h36m17']
# What a virtual camera is drawn from: people filmed with a hand-held or a
# wall-mounted camera, at the focal lengths of phones and of Human3.6M.
_ELEVATION = (-10., 30.)  # degrees above the horizon of the pelvis
_DISTANCE = (3., 8.)  # metres to the pelvis
_FOCAL_LENGTH = (0.9, 1.6)  # sides of the picture
# Joints lie inside the body: the box is wider by this part of its longer
# side on each side.
_MARGIN = 0.1


@DATASETS.register_module()
class MocapKeypointDataset(BaseDataset):
    """Keypoints without pictures, from motion capture, to train pose
    tokenizers.

    Each frame is seen by a camera of its own, drawn from nothing but the
    seed and the number of the frame: it looks at the pelvis from any side,
    from 10 degrees below to 30 above, 3 to 8 m away. Any number of workers
    sees the same data.

    An item has ``keypoints`` (1, 17, C), ``keypoints_visible`` (1, 17),
    ``id``, ``img_id``, ``img_path`` (clip and frame; there is no such file)
    and the meta information of MMPose's data sets. In 2D keypoints are
    pixels of the virtual picture, visible inside it; ``bbox`` (1, 4),
    ``bbox_score`` and ``img_shape`` come with them. In 3D they are metres in
    the camera's frame (x right, y down, z forward), the pelvis at 0, and
    ``transformed_keypoints`` are the same.

    Args:
        ann_file (str): The ``.npz`` file, see :func:`read_mocap`.
        stride (int): Takes each ``stride``-th frame of a clip. Defaults to
            1.
        coord_dims (int): 2 or 3. Defaults to 2.
        seed (int): Another seed, other cameras. Defaults to 0.
        image_size (int): Side of the square virtual picture in pixels.
            Defaults to 1000.
        metainfo, pipeline, test_mode, indices, serialize_data, lazy_init,
            max_refetch: As in :class:`mmengine.dataset.BaseDataset`.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a setting is outside its range, or the file lacks a
            key, has one of another shape, or frames that are not finite.
    """

    METAINFO: dict = skeleton_metainfo(_SKELETON)

    def __init__(self,
                 ann_file: str,
                 stride: int = 1,
                 coord_dims: int = 2,
                 seed: int = 0,
                 image_size: int = 1000,
                 metainfo: Optional[dict] = None,
                 pipeline: Sequence[Union[dict, Callable]] = (),
                 test_mode: bool = False,
                 indices: Union[None, int, Sequence[int]] = None,
                 serialize_data: bool = True,
                 lazy_init: bool = False,
                 max_refetch: int = 1000) -> None:
        if stride < 1:
            raise ValueError(f'stride must be at least 1, got {stride}')
        if coord_dims not in (2, 3):
            raise ValueError(f'coord_dims must be 2 or 3, got {coord_dims}')
        self.stride = stride
        self.coord_dims = coord_dims
        self.seed = seed
        self.image_size = image_size
        super().__init__(
            ann_file=ann_file,
            metainfo=metainfo,
            indices=indices,
            serialize_data=serialize_data,
            pipeline=list(pipeline),
            test_mode=test_mode,
            lazy_init=lazy_init,
            max_refetch=max_refetch)

    @classmethod
    def _load_metainfo(cls, metainfo: Optional[dict] = None) -> dict:
        return parse_pose_metainfo(
            deepcopy(cls.METAINFO if metainfo is None else metainfo))

    def load_data_list(self) -> List[dict]:
        """Read the file; one small dict for each frame that is taken."""
        arrays = read_mocap(self.ann_file)
        self._joints = arrays['joints_3d']
        return [
            dict(frame=int(frame),
                 clip=str(name)) for start, length, name in zip(
                     arrays['clip_start'], arrays['clip_length'],
                     arrays['clip_name'])
            for frame in range(start, start + length, self.stride)
        ]

    @force_full_init
    def get_data_info(self, idx: int) -> dict:
        """Look at a frame.

        Args:
            idx (int): Position in the data set.

        Returns:
            dict: See the class.
        """
        info = super().get_data_info(idx)
        frame, clip = info.pop('frame'), info.pop('clip')
        joints, camera = self._view(frame)
        if self.coord_dims == 3:
            info['keypoints'] = joints[None]
            info['transformed_keypoints'] = joints[None]  # there is no crop
            info['keypoints_visible'] = np.ones((1, len(joints)), np.float32)
        else:
            info.update(self._project(joints, camera))
        info.update(
            id=frame,
            img_id=frame,
            category_id=1,
            iscrowd=0,
            img_path=f'{clip}/{frame:08d}',
            flip_indices=list(_SKELETON.flip_indices),
            dataset_name=self._metainfo['dataset_name'])
        return info

    def _view(self, frame: int) -> Tuple[np.ndarray, np.ndarray]:
        """Joints (17, 3) about the pelvis in the camera's frame; the distance
        of the camera from it in metres and its focal length in pixels."""
        rng = np.random.default_rng((self.seed, frame))
        azimuth = rng.uniform(0, 2 * np.pi)
        elevation = np.radians(rng.uniform(*_ELEVATION))
        camera = np.array([
            rng.uniform(*_DISTANCE),
            rng.uniform(*_FOCAL_LENGTH) * self.image_size
        ])
        joints = self._joints[frame] - self._joints[frame, :1]
        joints = joints @ look_from(azimuth, elevation).T
        return joints.astype(np.float32), camera

    def _project(self, joints: np.ndarray,
                 camera: np.ndarray) -> Dict[str, np.ndarray]:
        """Keypoints, their visibility and the box, in pixels."""
        distance, focal_length = camera
        size = self.image_size
        middle = (size - 1) / 2
        intrinsics = torch.tensor([[focal_length, 0., middle],
                                   [0., focal_length, middle], [0., 0., 1.]])
        points = torch.from_numpy(joints) + torch.tensor([0., 0., distance])
        keypoints = perspective_project(points, intrinsics).numpy()
        inside = ((keypoints >= -0.5) & (keypoints < size - 0.5)).all(-1)
        low, high = keypoints.min(0), keypoints.max(0)
        margin = _MARGIN * (high - low).max()
        bbox = np.concatenate([low - margin, high + margin])
        return dict(
            keypoints=keypoints[None].astype(np.float32),
            keypoints_visible=inside[None].astype(np.float32),
            bbox=bbox[None].astype(np.float32),
            bbox_score=np.ones(1, np.float32),
            img_shape=(size, size),
            ori_shape=(size, size))
