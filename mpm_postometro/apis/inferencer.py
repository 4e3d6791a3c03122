# Copyright (c) The mpm_postometro authors. All rights reserved.
"""From photos and person boxes to meshes.

::

    inferencer = MeshInferencer('config.py', 'weights.pth')
    output = inferencer('photo.jpg', bboxes=[[281, 45, 500, 391]])
    output.people[0].vertices  # (V, 3), metres
"""
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import init_default_scope
from mmpose.datasets.datasets.utils import parse_pose_metainfo

from mpm_postometro.bodies.cameras import weak_to_perspective
from mpm_postometro.bodies.skeletons import metainfo
from .boxes import Boxes, BoxFile, check_box, parse_boxes, read_coco_boxes
from .images import ImageError, ImageSource, find_images, read_image
from .inference_files import write_outputs
from .model_loading import find_test_pipeline, load_model
from .progress import ProgressLine, format_seconds

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


@dataclass
class InferenceOutput:
    """What a call gives.

    Attributes:
        people (list[Person]): In the order of pictures and boxes.
        errors (list[str]): What could not be done; each names the picture
            and, where it was the box, the box.
        files (list[Path]): What was written.
        num_images (int): Pictures that were read.
    """
    people: List[Person] = field(default_factory=list)
    errors: List[str] = field(default_factory=list)
    files: List[Path] = field(default_factory=list)
    num_images: int = 0


@dataclass
class _Job:
    """A picture on its way: done when no crop of it waits any more."""
    name: str
    stem: str
    image: np.ndarray
    people: List[Person] = field(default_factory=list)
    waiting: int = 0


class MeshInferencer:
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
        if batch_size < 1:
            raise ValueError(f'batch_size must be positive, got {batch_size}')
        if not isinstance(config, Config):
            if not Path(config).is_file():
                raise FileNotFoundError(f'{config}: no such config')
            config = Config.fromfile(config)
        if device is None:
            device = 'cuda' if torch.cuda.is_available() else 'cpu'
        self.device = torch.device(device)
        self.batch_size = batch_size
        init_default_scope(config.get('default_scope', 'mmpose'))
        self.pipeline = Compose(find_test_pipeline(config))
        self.model = load_model(config, checkpoint).to(self.device).eval()
        if not hasattr(self.model, 'body'):
            raise ValueError(
                f'{config.filename}: expected a config of a mesh estimator, '
                f'got {type(self.model).__name__}, which predicts no mesh')
        # What transforms may ask for; heads flip by it in flip tests.
        self.dataset_meta = parse_pose_metainfo(metainfo('coco17'))

    @property
    def faces(self) -> np.ndarray:
        """Faces of the meshes, (F, 3)."""
        return torch.as_tensor(self.model.body.faces).cpu().numpy()

    def __call__(self,
                 images: ImageSource,
                 bboxes: Optional[Union[Sequence, np.ndarray, BoxFile, str,
                                        Path]] = None,
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
        sources = find_images(images)
        boxes = _match_boxes(bboxes, sources, images, bbox_format)
        output = InferenceOutput()
        progress = ProgressLine() if show_progress else None
        start = time.monotonic()
        done = 0
        for job in self._run(sources, boxes, output, focal_length):
            if job is not None and job.people:
                output.people += job.people
                if out_dir is not None:
                    output.files += write_outputs(
                        Path(out_dir),
                        job.stem,
                        job.image,
                        job.people,
                        self.faces,
                        formats=formats,
                        viewer=viewer)
            done += 1
            if progress is not None:
                spent = time.monotonic() - start
                left = spent / done * (len(sources) - done)
                progress.update(
                    'inference', done / len(sources),
                    f'{done}/{len(sources)} images, '
                    f'{format_seconds(left)} left')
        if progress is not None:
            spent = format_seconds(time.monotonic() - start)
            progress.say(f'inference done: {done} images in {spent}')
        return output

    def _run(self, sources, boxes, output,
             focal_length) -> Iterator[Optional[_Job]]:
        """Yield each picture once its people are done; None if it failed."""
        jobs: deque = deque()
        crops: List[Tuple[_Job, int, Dict]] = []
        stems = _unique_stems(sources)
        for (name, source), stem, wanted in zip(sources, stems, boxes):
            try:
                job = _Job(name, stem, read_image(source))
                wanted = _whole_or_file(wanted, name, job.image)
            except (ImageError, ValueError) as error:
                text = str(error)
                output.errors.append(
                    text if text.startswith(name) else f'{name}: {text}')
                yield None
                continue
            output.num_images += 1
            jobs.append(job)
            height, width = job.image.shape[:2]
            for index, xyxy in enumerate(wanted.xyxy):
                fault = check_box(xyxy, width, height)
                if fault:
                    output.errors.append(f'{name}: box {index} {fault}')
                    continue
                job.waiting += 1
                crops.append((job, index,
                              self._crop(job, index, xyxy,
                                         wanted.scores[index])))
                if len(crops) == self.batch_size:
                    self._predict(crops, focal_length)
                    crops = []
            while jobs and not jobs[0].waiting:
                yield jobs.popleft()
        if crops:
            self._predict(crops, focal_length)
        yield from jobs

    def _crop(self, job: _Job, index: int, xyxy: np.ndarray,
              score: float) -> Dict:
        """What the test pipeline makes of one person."""
        return self.pipeline(
            dict(
                img=job.image.copy(),
                img_path=job.name,
                img_id=job.name,
                id=index,
                category_id=1,
                img_shape=job.image.shape[:2],
                ori_shape=job.image.shape[:2],
                bbox=np.asarray(xyxy, dtype=np.float32)[None],
                bbox_score=np.array([score], dtype=np.float32),
                **self.dataset_meta))

    @torch.no_grad()
    def _predict(self, crops: List[Tuple[_Job, int, Dict]],
                 focal_length: Optional[float]) -> None:
        """Run one batch and hand the people to their pictures."""
        batch = pseudo_collate([data for _, _, data in crops])
        for (job, index, _), sample in zip(crops, self.model.test_step(batch)):
            job.people.append(_person(job, index, sample, focal_length))
            job.waiting -= 1


def _person(job: _Job, index: int, sample: Any,
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


def _whole_or_file(wanted, name: str, image: np.ndarray) -> Boxes:
    if wanted is None:
        height, width = image.shape[:2]
        return parse_boxes([[0, 0, width, height]])
    return wanted.boxes_of(name) if isinstance(wanted, BoxFile) else wanted


def _match_boxes(bboxes, sources, images, bbox_format: str) -> List:
    """One entry a picture: boxes, a file to ask, or None (whole picture).

    Raises:
        ValueError: If there are not as many lists of boxes as pictures, or
            two pictures are the same one to the file.
    """
    if isinstance(bboxes, (str, Path)):
        bboxes = read_coco_boxes(bboxes)
    if isinstance(bboxes, BoxFile):
        _check_names(bboxes, sources)
    if bboxes is None or isinstance(bboxes, BoxFile):
        return [bboxes] * len(sources)
    if not isinstance(images, (list, tuple)) and len(sources) == 1:
        return [parse_boxes(bboxes, bbox_format)]
    if len(bboxes) != len(sources):
        raise ValueError(
            f'{len(sources)} images need {len(sources)} lists of boxes, got '
            f'{len(bboxes)}; the boxes of one image are [[...], [...]], '
            'those of several are [[[...]], [[...], [...]]]')
    return [
        None if item is None else parse_boxes(item, bbox_format)
        for item in bboxes
    ]


def _check_names(boxes: BoxFile, sources) -> None:
    """No two files may get the boxes of one picture."""
    taken: Dict[int, Path] = {}
    for name, _ in sources:
        try:
            image_id = boxes.image_id(name)
        except ValueError:
            continue  # reported with its picture, and the others are done
        path = Path(name).absolute()
        if taken.setdefault(image_id, path) != path:
            raise ValueError(
                f'{boxes.path} cannot tell {taken[image_id]} from {path}: '
                'both have the name of one picture; do them one by one')


def _unique_stems(sources) -> List[str]:
    """Names of output files; equal ones of different folders get a number."""
    stems: List[str] = []
    for name, _ in sources:
        stem = base = Path(name.replace(' ', '_')).stem
        number = 2
        while stem in stems:
            stem = f'{base}_{number}'
            number += 1
        stems.append(stem)
    return stems
