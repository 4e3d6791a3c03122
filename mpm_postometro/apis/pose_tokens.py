# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Poses to codes and back, and from photos to codes.

::

    inferencer = PoseTokenInferencer('config.py', 'weights.pth')
    codes = inferencer.tokenize(keypoints, bboxes=bboxes)  # (P, N)
    keypoints = inferencer.decode(codes, bboxes=bboxes)  # (P, K, 2)
"""
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, NamedTuple, Optional, Sequence, Union

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import BaseDataset, pseudo_collate
from mmpose.registry import DATASETS
from mmpose.structures import PoseDataSample
from torch import Tensor

from mpm_postometro.models.heads import PCTHead
from mpm_postometro.models.pose_estimators import TokenizerEstimator
from mpm_postometro.models.tokenizers import (PCTTokenizer,
                                              sample_joint_features)
from mpm_postometro.visualization import draw_poses
from mpm_postometro.visualization.export import write_picture
from .boxes import parse_boxes
from .images import ImageError, ImageSource, read_image
from .model_loading import find_metainfo
from .person_inferencer import (BoxSource, InferenceOutput, Job,
                                PersonInferencer)
from .pose_token_files import write_pose_tokens
from .progress import ProgressLine, format_seconds

__all__ = ['PoseTokenInferencer', 'TokenizedPerson']


@dataclass
class TokenizedPerson:
    """One person of one picture. Arrays are numpy, float32 unless said.

    Attributes:
        image (str): The picture: its path, or ``array 0`` and so on.
        index (int): Position of the box among those of the picture.
        bbox (np.ndarray): (4, ), xyxy, pixels of the picture.
        bbox_score (float): As given, 1 if none was.
        codes (np.ndarray): (N, ) int64, the most probable code of each token.
        confidence (np.ndarray): (N, ), raw logits of these codes.
        probabilities (np.ndarray): (N, ), probabilities of these codes.
        keypoints (np.ndarray): (K, 2), pixels of the picture. As PCT does
            it, they are decoded from the mean code under all probabilities,
            and averaged with the mirror image where the config has a flip
            test; :meth:`PoseTokenInferencer.decode` of ``codes`` gives
            slightly other ones.
        keypoint_scores (np.ndarray): (K, ), as the model gives them.
    """
    image: str
    index: int
    bbox: np.ndarray
    bbox_score: float
    codes: np.ndarray
    confidence: np.ndarray
    probabilities: np.ndarray
    keypoints: np.ndarray
    keypoint_scores: np.ndarray


class _Crops(NamedTuple):
    """Poses as the network takes them, numpy.

    Attributes:
        joints: (P, K, C), pixels of the network's input.
        visible: (P, K).
        samples: What the test pipeline made, before packing.
    """
    joints: np.ndarray
    visible: np.ndarray
    samples: List[Dict]


class PoseTokenInferencer(PersonInferencer):
    """Turns poses into codes and codes into poses, and reads the codes of
    people in photos.

    - Number of people: P
    - Number of joints: K
    - Coordinates of a joint: C
    - Number of tokens: N

    With the config of a tokenizer (``TokenizerEstimator``) it knows poses
    alone; with that of a classifier (an estimator with ``PCTHead``) photos
    too.

    Args:
        config (str | Path | Config): Of the model; its test pipeline crops.
        checkpoint (str | Path, optional): Weights, read without running code
            from the file. None keeps what the config initialises (for
            trials).
        device (str | torch.device, optional): By default the GPU where there
            is one.
        batch_size (int): Poses or people at once.

    Raises:
        FileNotFoundError: If config or checkpoint is missing.
        pickle.UnpicklingError: If the checkpoint is damaged or would need
            more than tensors to be read.
        ValueError: If the config is not that of a tokenizer or a classifier,
            or the checkpoint belongs to another model.
    """

    def __init__(self,
                 config: Union[str, Path, Config],
                 checkpoint: Optional[Union[str, Path]] = None,
                 device: Optional[Union[str, torch.device]] = None,
                 *,
                 batch_size: int = 64) -> None:
        super().__init__(config, checkpoint, device, batch_size=batch_size)
        head = getattr(self.model, 'head', None)
        self.reads_images = isinstance(head, PCTHead)
        if not self.reads_images and not isinstance(self.model,
                                                    TokenizerEstimator):
            raise ValueError(
                f'{self.config.filename}: expected the config of a pose '
                'tokenizer (TokenizerEstimator) or of a classifier with '
                f'PCTHead, got {type(self.model).__name__} with '
                f'{type(head).__name__ if head is not None else "no head"}')
        self.tokenizer: PCTTokenizer = (
            head.tokenizer if self.reads_images else self.model.tokenizer)
        self.dataset_meta = find_metainfo(self.config)
        num_joints = len(self.dataset_meta['keypoint_id2name'])
        if num_joints != self.tokenizer.num_joints:
            raise ValueError(
                f'{self.config.filename}: the tokenizer has '
                f'{self.tokenizer.num_joints} joints, its test data '
                f'{num_joints}')

    @property
    def joint_names(self) -> List[str]:
        """list[str]: Names of the K joints."""
        names = self.dataset_meta['keypoint_id2name']
        return [names[index] for index in range(len(names))]

    # ----------------------------- poses -----------------------------
    @torch.no_grad()
    def tokenize(self,
                 keypoints: np.ndarray,
                 visible: Optional[np.ndarray] = None,
                 bboxes: Optional[np.ndarray] = None,
                 image: Union[None, str, Path, np.ndarray] = None,
                 *,
                 bbox_format: str = 'xyxy') -> np.ndarray:
        """Codes of poses.

        Poses are cropped as the config's test pipeline does it: by their
        boxes, widened by the padding of the config, to the size of the
        network's input. Coordinates in 3D go in as they are.

        Args:
            keypoints (array-like): (P, K, C) or one pose (K, C), pixels of
                the picture. NaN stands for a joint that is not visible.
            visible (array-like, optional): (P, K); joints with 0 are not
                used. Defaults to None, all that are numbers.
            bboxes (array-like, optional): (P, 4), boxes of the people,
                pixels. Defaults to None, the extents of the visible
                keypoints. A person's box is larger than these: where boxes
                like those of the training data are at hand, give them.
            image (str | Path | np.ndarray, optional): The picture, (H, W, 3)
                uint8 BGR or its file; needed where the tokenizer is guided
                by image features.
            bbox_format (str): 'xyxy' or 'xywh'.

        Returns:
            np.ndarray: (P, N) int64.

        Raises:
            ValueError: If a shape does not fit, a box has no area, or a
                guided tokenizer gets no image.
        """
        keypoints, visible = self._check_poses(keypoints, visible)
        guided = self.tokenizer.guide_channels > 0
        if guided and image is None:
            raise ValueError(
                'this tokenizer is guided by image features (guide_ratio > '
                '0): tokenize needs image=, the picture of the poses')
        if guided:
            try:
                image = read_image(
                    image if isinstance(image, np.ndarray) else Path(image))
            except ImageError as error:
                raise ValueError(str(error)) from error
        codes = [np.zeros((0, self.tokenizer.num_tokens), np.int64)]
        boxes = self._boxes(bboxes, bbox_format, keypoints, visible)
        for start in range(0, len(keypoints), self.batch_size):
            part = slice(start, start + self.batch_size)
            crops = self._crop(keypoints[part], visible[part], boxes[part],
                               image if guided else None)
            joints = torch.from_numpy(crops.joints).to(self.device)
            encoded = self.tokenizer.encode(
                joints,
                torch.from_numpy(crops.visible).to(self.device),
                self._guide(crops.samples, joints) if guided else None)
            codes.append(encoded.codes.cpu().numpy())
        return np.concatenate(codes)

    @torch.no_grad()
    def decode(self,
               codes: np.ndarray,
               bboxes: Optional[np.ndarray] = None,
               *,
               bbox_format: str = 'xyxy') -> np.ndarray:
        """Poses of codes.

        Args:
            codes (array-like): (P, N) or those of one pose (N, ), integers.
            bboxes (array-like, optional): (P, 4), boxes of the people, as
                they were tokenized with, pixels. Defaults to None.
            bbox_format (str): 'xyxy' or 'xywh'.

        Returns:
            np.ndarray: (P, K, C) float32, in pixels of the picture that the
            boxes belong to; without boxes in pixels of the network's input.
            In 3D in the tokenizer's units.

        Raises:
            ValueError: If the shape or type does not fit, a code is not in
                the codebook, or a box has no area.
        """
        codes = np.asarray(codes)
        if codes.ndim == 1:
            codes = codes[None]
        if not np.issubdtype(codes.dtype, np.integer):
            raise ValueError(f'codes must be integers, got {codes.dtype}')
        joints = [
            np.zeros((0, self.tokenizer.num_joints, self.tokenizer.coord_dims),
                     np.float32)
        ]
        for start in range(0, max(len(codes), 1), self.batch_size):
            part = torch.from_numpy(codes[start:start +
                                          self.batch_size].astype(np.int64))
            joints.append(
                self.tokenizer.decode(part.to(self.device)).cpu().numpy())
        joints = np.concatenate(joints)
        if bboxes is None:
            return joints
        boxes = self._boxes(bboxes, bbox_format, joints)
        for pose, box in zip(joints, boxes):
            sample = self._crop(pose[None], np.ones((1, len(pose))), box[None],
                                None).samples[0]
            scale = np.asarray(sample['input_scale'])
            pose[:] = (
                pose / np.asarray(sample['input_size']) * scale +
                sample['input_center'] - 0.5 * scale)
        return joints

    def _check_poses(self, keypoints, visible):
        """Poses (P, K, C) float32 and visibility (P, K) float32."""
        expected = (self.tokenizer.num_joints, self.tokenizer.coord_dims)
        try:
            keypoints = np.asarray(keypoints, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise ValueError(
                f'keypoints must be numbers of shape (P, {expected[0]}, '
                f'{expected[1]}): {error}') from error
        if keypoints.ndim == 2:
            keypoints = keypoints[None]
        if keypoints.ndim != 3 or keypoints.shape[1:] != expected:
            raise ValueError(
                f'keypoints must be of shape (P, {expected[0]}, '
                f'{expected[1]}) or {expected}, got {keypoints.shape}; '
                'visibility goes into visible=')
        finite = np.isfinite(keypoints).all(-1)
        if visible is None:
            visible = finite
        visible = np.asarray(visible, dtype=np.float32)
        if visible.ndim == 1:
            visible = visible[None]
        if visible.shape != keypoints.shape[:2]:
            raise ValueError(
                f'visible must be of shape {keypoints.shape[:2]}, one flag '
                f'for each joint, got {visible.shape}')
        visible = visible * finite
        return np.where(finite[..., None], keypoints, 0), visible

    def _boxes(self, bboxes, bbox_format, keypoints, visible=None):
        """Boxes (P, 4) xyxy, those given or the extents of the poses."""
        if self.tokenizer.coord_dims != 2:
            if bboxes is not None:
                raise ValueError(
                    'coordinates in 3D are not cropped: leave bboxes out')
            # Not used: what is in 3D is not cropped.
            return np.tile(np.float32([0, 0, 1, 1]), (len(keypoints), 1))
        if bboxes is None:
            seen = visible[..., None] > 0
            boxes = np.concatenate([
                np.where(seen, keypoints, np.inf).min(1),
                np.where(seen, keypoints, -np.inf).max(1)
            ], -1)
            # A straight line has extents enough for a square crop.
            flat = ~((boxes[:, 2:] - boxes[:, :2]).max(1) > 0)
            what = 'visible keypoints that span no box; give bboxes'
        else:
            boxes = parse_boxes(bboxes, bbox_format).xyxy
            if len(boxes) != len(keypoints):
                raise ValueError(f'{len(keypoints)} poses need as many '
                                 f'bboxes, got {len(boxes)}')
            flat = ~(boxes[:, 2:] > boxes[:, :2]).all(1)
            what = 'a box without area'
        flat |= ~np.isfinite(boxes).all(1)
        if flat.any():
            index = int(flat.argmax())
            raise ValueError(
                f'pose {index} has {what}: {boxes[index].tolist()} (xyxy)')
        return boxes

    def _crop(self, keypoints: np.ndarray, visible: np.ndarray,
              boxes: np.ndarray, image: Optional[np.ndarray]) -> _Crops:
        """Do with poses what the test pipeline does before it packs."""
        joints, seen, samples = [], [], []
        for pose, flags, box in zip(keypoints, visible, boxes):
            # Transforms may want a picture; where it is not used, a dot does.
            picture = np.zeros(
                (1, 1, 3), np.uint8) if image is None else image.copy()
            sample = self.person_data(picture, box)
            sample.update(
                keypoints=pose[None].astype(np.float32),
                keypoints_visible=flags[None].astype(np.float32))
            for transform in self.pipeline.transforms[:-1]:
                sample = transform(sample)
            joints.append(
                _first(sample, 'keypoint_labels', 'transformed_keypoints',
                       'keypoints'))
            seen.append(
                _first(sample, 'keypoint_weights', 'keypoints_visible'))
            samples.append(sample)
        return _Crops(np.stack(joints), np.stack(seen), samples)

    def _guide(self, samples: List[Dict], joints: Tensor) -> Tensor:
        """Image features at the joints (P, K, G)."""
        images = [
            torch.from_numpy(sample['img'].transpose(2, 0, 1).copy())
            for sample in samples
        ]
        inputs = self.model.data_preprocessor(
            dict(
                inputs=images,
                data_samples=[PoseDataSample() for _ in images]))['inputs']
        height, width = inputs.shape[-2:]
        return sample_joint_features(
            self.model.guide_backbone(inputs)[-1], joints, (width, height))

    # ----------------------------- photos -----------------------------
    def __call__(self,
                 images: ImageSource,
                 bboxes: BoxSource = None,
                 out_dir: Optional[Union[str, Path]] = None,
                 *,
                 bbox_format: str = 'xyxy',
                 show_progress: bool = False) -> InferenceOutput:
        """Read the codes of people in photos; write files where a folder is
        given.

        A picture or a box that cannot be used is reported in the output's
        ``errors``, and the others are done.

        Args:
            images: A path, a folder, an array (H, W, 3) uint8 BGR, or a list
                of paths and arrays.
            bboxes: As :class:`MeshInferencer` takes them.
            out_dir (str | Path, optional): Gets ``pose_tokens.npz`` (see
                :func:`write_pose_tokens`) with all people, and for each
                picture with people ``NAME_pose.png``.
            bbox_format (str): 'xyxy' or 'xywh'.
            show_progress (bool): Show how far it is.

        Returns:
            InferenceOutput: ``people`` are :class:`TokenizedPerson`.

        Raises:
            FileNotFoundError: If a folder or box file is missing.
            ValueError: If the arguments do not fit together, or the config
                is that of a tokenizer, which reads no images.
        """
        if not self.reads_images:
            raise ValueError(
                f'{self.config.filename}: a tokenizer knows poses only; '
                'images need the config of a classifier (PCTHead)')
        output = InferenceOutput()
        jobs = self._jobs(
            images,
            bboxes,
            output,
            _person,
            bbox_format=bbox_format,
            show_progress=show_progress)
        for job in jobs:
            if out_dir is None:
                continue
            drawn = draw_poses(job.image,
                               np.stack([p.keypoints for p in job.people]),
                               self.dataset_meta['skeleton_links'])
            output.files.append(
                write_picture(Path(out_dir) / f'{job.stem}_pose.png', drawn))
        if out_dir is not None and output.people:
            output.files.append(
                write_pose_tokens(
                    Path(out_dir) / 'pose_tokens.npz',
                    **self._arrays(output.people)))
        return output

    def _arrays(self, people: Sequence[TokenizedPerson]) -> Dict:
        """People as arrays of :func:`write_pose_tokens`."""
        arrays = {
            key: np.stack([getattr(p, key) for p in people])
            for key in ('codes', 'confidence', 'probabilities', 'keypoints',
                        'keypoint_scores')
        }
        arrays.update(
            num_codes=self.tokenizer.num_codes,
            bboxes=np.stack([p.bbox for p in people]),
            bbox_scores=np.array([p.bbox_score for p in people]),
            box_index=np.array([p.index for p in people]),
            images=np.array([p.image for p in people]),
            joint_names=self.joint_names)
        return arrays

    # ---------------------------- data sets ----------------------------
    def build_dataset(self, split: str = 'val') -> BaseDataset:
        """The config's own data.

        Args:
            split (str): 'val' or 'test': those of ``val_dataloader`` or
                ``test_dataloader``.

        Returns:
            BaseDataset: With its pipeline.

        Raises:
            ValueError: If the config has no such data.
        """
        loader = self.config.get(f'{split}_dataloader')
        if split not in ('val', 'test') or not loader:
            raise ValueError(f'{self.config.filename}: has no data for split '
                             f"{split!r}; 'val' or 'test' is expected")
        return DATASETS.build(loader['dataset'])

    def tokenize_dataset(self,
                         dataset: BaseDataset,
                         indices: Optional[Sequence[int]] = None,
                         *,
                         show_progress: bool = False) -> Dict[str, np.ndarray]:
        """Codes of data: of their poses with the config of a tokenizer, and
        as read from their pictures with that of a classifier.

        Args:
            dataset (BaseDataset): See :meth:`build_dataset`.
            indices (Sequence[int], optional): Which items. Defaults to None,
                all.
            show_progress (bool): Show how far it is.

        Returns:
            dict: Arrays of :func:`write_pose_tokens`; keypoints are those
            that the network gives.

        Raises:
            ValueError: If there is no such item, or none at all.
        """
        indices = range(len(dataset)) if indices is None else indices
        outside = [i for i in indices if not 0 <= i < len(dataset)]
        if outside or not len(indices):
            raise ValueError(
                f'the data have {len(dataset)} items (from 0), and ' +
                (f'none {outside[0]}' if outside else 'no item is asked for'))
        progress = ProgressLine() if show_progress else None
        start = time.monotonic()
        rows: List[Dict] = []
        for first in range(0, len(indices), self.batch_size):
            batch = pseudo_collate(
                [dataset[i] for i in indices[first:first + self.batch_size]])
            with torch.no_grad():
                rows += [_row(s) for s in self.model.test_step(batch)]
            if progress is not None:
                spent = time.monotonic() - start
                left = spent / len(rows) * (len(indices) - len(rows))
                progress.update(
                    'data',
                    len(rows) / len(indices), f'{len(rows)}/{len(indices)} '
                    f'people, {format_seconds(left)} left')
        if progress is not None:
            spent = format_seconds(time.monotonic() - start)
            progress.say(f'data done: {len(rows)} people in {spent}')
        return dict(
            num_codes=self.tokenizer.num_codes,
            joint_names=self.joint_names,
            **{key: np.stack([row[key] for row in rows])
               for key in rows[0]})


def _first(sample: Dict, *keys: str) -> np.ndarray:
    """The first of some fields, of the one person of the sample."""
    value = next(sample[key] for key in keys if sample.get(key) is not None)
    return np.asarray(value, dtype=np.float32)[0]


def _row(sample: PoseDataSample) -> Dict[str, Any]:
    """What a prediction tells of one person."""
    pred = sample.pred_instances
    row = dict(
        codes=pred.codes[0],
        keypoints=pred.keypoints[0],
        keypoint_scores=pred.keypoint_scores[0])
    if 'code_probs' in pred:
        row.update(
            confidence=pred.code_confidence[0],
            probabilities=pred.code_probs[0])
    if 'bboxes' in sample.get('gt_instances', {}):
        row.update(bboxes=sample.gt_instances.bboxes[0])
    row.update(images=str(sample.metainfo.get('img_path', '')))
    return row


def _person(job: Job, index: int, sample: PoseDataSample) -> TokenizedPerson:
    row = _row(sample)
    row.pop('images')
    return TokenizedPerson(
        image=job.name,
        index=index,
        bbox=row.pop('bboxes'),
        bbox_score=float(sample.gt_instances.bbox_scores[0]),
        **row)
