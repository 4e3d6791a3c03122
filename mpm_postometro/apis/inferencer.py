# Copyright (c) The mpm_postometro authors. All rights reserved.
"""From photos and person boxes to meshes.

::

    inferencer = MeshInferencer('config.py', 'weights.pth')
    output = inferencer('photo.jpg', bboxes=[[281, 45, 500, 391]])
    output.people[0].vertices  # (V, 3), metres
"""
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Optional, Sequence, Union

import numpy as np
import torch
from mmengine.config import Config
from mmpose.datasets.datasets.utils import parse_pose_metainfo

from mpm_postometro.bodies.cameras import weak_to_perspective
from mpm_postometro.bodies.skeletons import metainfo
from .images import ImageSource
from .inference_files import write_outputs
from .person_inferencer import (BoxSource, InferenceOutput, Job,
                                PersonInferencer)

__all__ = ['InferenceOutput', 'MeshInferencer', 'Person']


@dataclass
class Person:
    """One person of one picture. Arrays are numpy, float32.

    Attributes:
        image (str): The picture: its path, or ``array 0`` and so on.
        index (int): Position of the box among those of the picture.
        bbox (np.ndarray): (4, ), xyxy, pixels of the picture.
        bbox_score (float): As given, 1 if none was.
        vertices (np.ndarray): (V, 3), metres, axes of the camera (x right, y
            down, z forward), pelvis at 0.
        joints_3d (np.ndarray): (J, 3), metres, regressed from the mesh, in
            the same frame.
        keypoints (np.ndarray): (J, 2), the joints in pixels of the picture.
        keypoint_scores (np.ndarray): (J, ), as the model gives them; 1 for
            all of MeshEstimator's.
        camera (np.ndarray): (3, ), weak camera ``(s, tx, ty)`` of the crop:
            crop coordinates in [-1, 1] are ``s * (X_xy + t)``.
        crop_center (np.ndarray): (2, ), pixels of the picture.
        crop_scale (np.ndarray): (2, ), width and height of the crop in
            pixels of the picture.
        transl (np.ndarray): (3, ), metres; where the person stands for a
            pinhole camera with ``intrinsics``: project ``vertices + transl``.
        intrinsics (np.ndarray): (3, 3), pixels. The focal length is assumed,
            not measured, unless the caller gave it.
    """
    image: str
    index: int
    bbox: np.ndarray
    bbox_score: float
    vertices: np.ndarray
    joints_3d: np.ndarray
    keypoints: np.ndarray
    keypoint_scores: np.ndarray
    camera: np.ndarray
    crop_center: np.ndarray
    crop_scale: np.ndarray
    transl: np.ndarray
    intrinsics: np.ndarray

    @property
    def crop_region(self) -> np.ndarray:
        """Part of the picture that the network saw, (4, ) xyxy, pixels."""
        half = self.crop_scale / 2
        return np.concatenate(
            [self.crop_center - half, self.crop_center + half])


class MeshInferencer(PersonInferencer):
    """Reconstructs the people in photos, given their boxes.

    Args:
        config (str | Path | Config): Of the model; its test pipeline crops
            and normalises.
        checkpoint (str | Path, optional): Weights, read without running code
            from the file. None keeps what the config initialises (for
            trials).
        device (str | torch.device, optional): By default the GPU where there
            is one.
        batch_size (int): People at once.

    Raises:
        FileNotFoundError: If config or checkpoint is missing.
        pickle.UnpicklingError: If the checkpoint is damaged or would need
            more than tensors to be read.
        ValueError: If the config is not that of a mesh estimator with a test
            pipeline, or the checkpoint belongs to another model.
    """

    def __init__(self,
                 config: Union[str, Path, Config],
                 checkpoint: Optional[Union[str, Path]] = None,
                 device: Optional[Union[str, torch.device]] = None,
                 *,
                 batch_size: int = 16) -> None:
        super().__init__(config, checkpoint, device, batch_size=batch_size)
        if not hasattr(self.model, 'body'):
            raise ValueError(
                f'{self.config.filename}: expected a config of a mesh '
                f'estimator, got {type(self.model).__name__}, which predicts '
                'no mesh')
        self.dataset_meta = parse_pose_metainfo(metainfo('coco17'))

    @property
    def faces(self) -> np.ndarray:
        """Faces of the meshes, (F, 3)."""
        return torch.as_tensor(self.model.body.faces).cpu().numpy()

    def __call__(self,
                 images: ImageSource,
                 bboxes: BoxSource = None,
                 out_dir: Optional[Union[str, Path]] = None,
                 *,
                 bbox_format: str = 'xyxy',
                 focal_length: Optional[float] = None,
                 formats: Sequence[str] = ('obj', 'glb'),
                 viewer: bool = False,
                 show_progress: bool = False) -> InferenceOutput:
        """Reconstruct people; write files where a folder is given.

        A picture or a box that cannot be used is reported in the output's
        ``errors``, and the others are done.

        Args:
            images: A path, a folder, an array (H, W, 3) uint8 BGR, or a list
                of paths and arrays.
            bboxes: Boxes of the one picture, (N, 4) or with scores (N, 5);
                for several pictures a list of such (None for the whole
                picture); or the path of a COCO file (see
                :func:`read_coco_boxes`). None takes the whole picture.
            out_dir (str | Path, optional): Gets, for each picture with
                people, ``NAME_overlay.png`` (photo, overlay, side, top),
                ``NAME.npz``, and per person ``NAME_person0.obj`` and
                ``.glb``.
            bbox_format (str): 'xyxy' or 'xywh'.
            focal_length (float, optional): Of the camera, pixels. By default
                the diagonal of the picture, a field of view of 53 degrees
                along it.
            formats (Sequence[str]): Mesh files to write: 'obj', 'glb'.
            viewer (bool): Also write ``NAME.html``, the meshes to turn.
            show_progress (bool): Show how far it is.

        Returns:
            InferenceOutput: People, errors and files.

        Raises:
            FileNotFoundError: If a folder or box file is missing.
            ValueError: If the arguments do not fit together.
        """
        output = InferenceOutput()
        jobs = self._jobs(
            images,
            bboxes,
            output,
            partial(_person, focal_length=focal_length),
            bbox_format=bbox_format,
            show_progress=show_progress)
        for job in jobs:
            if out_dir is not None:
                output.files += write_outputs(
                    Path(out_dir),
                    job.stem,
                    job.image,
                    job.people,
                    self.faces,
                    formats=formats,
                    viewer=viewer)
        return output


def _person(job: Job, index: int, sample: Any,
            focal_length: Optional[float]) -> Person:
    """Collect a prediction and place it in the whole picture."""
    pred = sample.pred_instances
    center = _numpy(sample.metainfo['input_center']).reshape(2)
    scale = np.broadcast_to(_numpy(sample.metainfo['input_scale']).ravel(),
                            2).copy()
    height, width = job.image.shape[:2]
    focal = float(np.hypot(height, width)) if focal_length is None \
        else float(focal_length)
    # Pixel centres are integers: the middle of the picture is here.
    principal = np.array([(width - 1) / 2, (height - 1) / 2], np.float32)
    intrinsics = np.array(
        [[focal, 0, principal[0]], [0, focal, principal[1]], [0, 0, 1]],
        dtype=np.float32)
    camera = _numpy(pred.camera)[0]
    transl = weak_to_perspective(
        torch.from_numpy(camera[None]), torch.from_numpy(center[None]),
        torch.from_numpy(scale[:1]), focal, torch.from_numpy(principal))
    box = _numpy(sample.gt_instances.bboxes)[0]
    return Person(
        image=job.name,
        index=index,
        bbox=box,
        bbox_score=float(_numpy(sample.gt_instances.bbox_scores)[0]),
        vertices=_numpy(pred.vertices)[0],
        joints_3d=_numpy(pred.keypoints_3d)[0],
        keypoints=_numpy(pred.keypoints)[0],
        keypoint_scores=_numpy(pred.keypoint_scores)[0],
        camera=camera,
        crop_center=center,
        crop_scale=scale,
        transl=transl[0].numpy(),
        intrinsics=intrinsics)


def _numpy(value: Any) -> np.ndarray:
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
    return np.asarray(value, dtype=np.float32)
