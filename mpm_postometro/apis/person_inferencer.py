# Copyright (c) The mpm_postometro authors. All rights reserved.
"""From pictures and person boxes to batches of crops: what all inferencers
do alike."""
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import (Any, Callable, Dict, Iterator, List, Optional, Sequence,
                    Tuple, Union)

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.registry import init_default_scope

from .boxes import Boxes, BoxFile, check_box, parse_boxes, read_coco_boxes
from .images import ImageError, ImageSource, find_images, read_image
from .model_loading import find_test_pipeline, load_model, open_config
from .progress import ProgressLine, format_seconds

__all__ = ['BoxSource', 'InferenceOutput', 'Job', 'PersonInferencer']

BoxSource = Optional[Union[Sequence, np.ndarray, BoxFile, str, Path]]


@dataclass
class InferenceOutput:
    """What a call gives.

    Attributes:
        people (list): In the order of pictures and boxes.
        errors (list[str]): What could not be done; each names the picture
            and, where it was the box, the box.
        files (list[Path]): What was written.
        num_images (int): Pictures that were read.
    """
    people: List[Any] = field(default_factory=list)
    errors: List[str] = field(default_factory=list)
    files: List[Path] = field(default_factory=list)
    num_images: int = 0


@dataclass
class Job:
    """A picture on its way: done when no crop of it waits any more.

    Attributes:
        name (str): The picture: its path, or ``array 0`` and so on.
        stem (str): Beginning of the names of its files.
        image (np.ndarray): (H, W, 3) uint8 BGR.
        people (list): Those that are done.
        waiting (int): Crops that are not.
    """
    name: str
    stem: str
    image: np.ndarray
    people: List[Any] = field(default_factory=list)
    waiting: int = 0


class PersonInferencer:
    """Runs a top-down network over people in pictures.

    Args:
        config (str | Path | Config): Of the model; its test pipeline crops
            and normalises.
        checkpoint (str | Path, optional): Weights, read without running code
            from the file. None keeps what the config initialises (for
            trials).
        device (str | torch.device, optional): By default the GPU where there
            is one.
        batch_size (int): People at once.
    """

    #: dict: What transforms may ask for; heads flip by it in flip tests.
    dataset_meta: Dict

    def __init__(self,
                 config: Union[str, Path, Config],
                 checkpoint: Optional[Union[str, Path]] = None,
                 device: Optional[Union[str, torch.device]] = None,
                 *,
                 batch_size: int = 16) -> None:
        if batch_size < 1:
            raise ValueError(f'batch_size must be positive, got {batch_size}')
        config = open_config(config)
        if device is None:
            device = 'cuda' if torch.cuda.is_available() else 'cpu'
        self.config = config
        self.device = torch.device(device)
        self.batch_size = batch_size
        init_default_scope(config.get('default_scope', 'mmpose'))
        self.pipeline = Compose(find_test_pipeline(config))
        self.model = load_model(config, checkpoint).to(self.device).eval()

    def _jobs(self,
              images: ImageSource,
              bboxes: BoxSource,
              output: InferenceOutput,
              collect: Callable[[Job, int, Any], Any],
              *,
              bbox_format: str = 'xyxy',
              show_progress: bool = False) -> Iterator[Job]:
        """Yield the pictures that have people, in order, once they are done.

        Fills ``output`` but for its files.

        Args:
            images, bboxes, bbox_format, show_progress: As the inferencers
                take them.
            output (InferenceOutput): Gets people, errors, number of images.
            collect (Callable): Job, position of the box and data sample with
                predictions to what is listed as a person.
        """
        sources = find_images(images)
        boxes = _match_boxes(bboxes, sources, images, bbox_format)
        progress = ProgressLine() if show_progress else None
        start = time.monotonic()
        done = 0
        for job in self._run(sources, boxes, output, collect):
            if job is not None and job.people:
                output.people += job.people
                yield job
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

    def _run(self, sources, boxes, output, collect) -> Iterator[Optional[Job]]:
        """Yield each picture once its people are done; None if it failed."""
        jobs: deque = deque()
        crops: List[Tuple[Job, int, Dict]] = []
        stems = _unique_stems(sources)
        for (name, source), stem, wanted in zip(sources, stems, boxes):
            try:
                job = Job(name, stem, read_image(source))
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
                data = self.person_data(job.image.copy(), xyxy,
                                        wanted.scores[index], job.name, index)
                crops.append((job, index, self.pipeline(data)))
                if len(crops) == self.batch_size:
                    self._predict(crops, collect)
                    crops = []
            while jobs and not jobs[0].waiting:
                yield jobs.popleft()
        if crops:
            self._predict(crops, collect)
        yield from jobs

    def person_data(self,
                    image: np.ndarray,
                    xyxy: np.ndarray,
                    score: float = 1.,
                    name: str = 'array 0',
                    index: int = 0) -> Dict:
        """What the test pipeline takes of one person.

        Args:
            image (np.ndarray): (H, W, 3) uint8 BGR.
            xyxy (np.ndarray): The box (4, ), pixels.
            score (float): Of the box.
            name (str): Of the picture.
            index (int): Position of the box.
        """
        return dict(
            img=image,
            img_path=name,
            img_id=name,
            id=index,
            category_id=1,
            img_shape=image.shape[:2],
            ori_shape=image.shape[:2],
            bbox=np.asarray(xyxy, dtype=np.float32)[None],
            bbox_score=np.array([score], dtype=np.float32),
            **self.dataset_meta)

    @torch.no_grad()
    def _predict(self, crops: List[Tuple[Job, int, Dict]],
                 collect: Callable[[Job, int, Any], Any]) -> None:
        """Run one batch and hand the people to their pictures."""
        batch = pseudo_collate([data for _, _, data in crops])
        for (job, index, _), sample in zip(crops, self.model.test_step(batch)):
            job.people.append(collect(job, index, sample))
            job.waiting -= 1


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
    stems: Dict[str, None] = {}  # in order, and quick to look up
    numbers: Dict[str, int] = {}
    for name, _ in sources:
        stem = base = Path(name.replace(' ', '_')).stem
        while stem in stems:
            numbers[base] = numbers.get(base, 1) + 1
            stem = f'{base}_{numbers[base]}'
        stems[stem] = None
    return list(stems)
