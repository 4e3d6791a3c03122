# Copyright (c) The mpm_postometro authors. All rights reserved.
"""What MPM is compared with, and how all are measured.

A method takes a batch of clips (see :class:`PackPoseSequence`) and gives the
3D poses of their target frames, (B, J, 3), metres.
"""
from typing import Callable, Iterator, List, NamedTuple, Optional, Sequence

import numpy as np
import torch
from mmengine.config import Config
from mmengine.runner import load_checkpoint
from mmpose.registry import METRICS, MODELS
from torch import Tensor
from torch.utils.data import Dataset

from mpm_postometro.bodies.skeletons import SKELETONS
from mpm_postometro.datasets.transforms import collate_sequences

Method = Callable[[dict], Tensor]

BATCH_SIZE = 128
PARENTS = SKELETONS['h36m17'].parents
#: Ridges of linear maps, of the mean square of an input.
RIDGES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1)


# -------------------------------- measuring ---------------------------------
def batches(dataset: Dataset,
            indices: Optional[Sequence[int]] = None) -> Iterator[dict]:
    """Clips in order, or some of them."""
    if indices is None:
        indices = range(len(dataset))
    for start in range(0, len(indices), BATCH_SIZE):
        yield collate_sequences(
            [dataset[i] for i in indices[start:start + BATCH_SIZE]])


def target_index(batch: dict) -> int:
    """The target frame, which is the same in all clips."""
    return batch['data_samples'][0].target_index


def measure(method: Method,
            dataset: Dataset,
            source: str,
            indices: Optional[Sequence[int]] = None,
            change: Optional[Callable[[dict], None]] = None,
            report: Optional[Callable[[float], None]] = None) -> dict:
    """Errors of a method by ``PoseSequenceMetric``.

    Args:
        method (Callable): See above.
        dataset (Dataset): Of clips.
        source (str): '2d' or '3d', what of is hidden.
        indices (Sequence[int], optional): Measures these clips only.
        change (Callable, optional): Changes each batch before.
        report (Callable, optional): Is told the part that is done.

    Returns:
        dict[str, float]: Without the metric's prefix.
    """
    metric = METRICS.build(dict(type='PoseSequenceMetric', group_by=None))
    total = len(dataset) if indices is None else len(indices)
    done = 0
    for batch in batches(dataset, indices):
        if change is not None:
            change(batch)
        inputs, index = batch['inputs'], target_index(batch)
        hidden = (inputs[f'joint_mask_{source}']
                  | inputs[f'frame_mask_{source}'][..., None])[:,
                                                               index].clone()
        poses = method(batch)
        samples = []
        for i, sample in enumerate(batch['data_samples']):
            row = sample.to_dict()
            row['pred_instances'] = dict(
                keypoints_3d=poses[i:i + 1], keypoints_hidden=hidden[i:i + 1])
            samples.append(row)
        metric.process(None, samples)
        done += len(samples)
        if report is not None:
            report(done / total)
    found = metric.evaluate(done)
    return {key.split('/')[-1]: float(value) for key, value in found.items()}


def network(cfg: Config, checkpoint: str) -> Method:
    """A trained network."""
    model = MODELS.build(dict(cfg.model, init_cfg=None))
    load_checkpoint(model, checkpoint, map_location='cpu', logger='silent')
    model.eval()

    def method(batch):
        data = model.data_preprocessor(batch)
        samples = model(**data, mode='predict')
        return torch.cat([s.pred_instances.keypoints_3d for s in samples])

    return method


def filled(method: Method) -> Method:
    """For a network that must see all joints: hidden 2D joints are put where
    the limb begins."""

    def fill(batch):
        inputs = dict(batch['inputs'])
        hidden = inputs['joint_mask_2d']
        keypoints = inputs['keypoints_2d'].clone()
        for joint, parent in enumerate(PARENTS):
            keypoints[:, :, joint] = torch.where(hidden[:, :, joint, None],
                                                 keypoints[:, :, parent],
                                                 keypoints[:, :, joint])
        inputs.update(
            keypoints_2d=keypoints, joint_mask_2d=torch.zeros_like(hidden))
        return method({**batch, 'inputs': inputs})

    return fill


# -------------------------------- baselines ---------------------------------
class LinearMaps:
    """Best linear maps between any coordinates of clips, by the second
    moments of all.

    The coordinates of a clip are those of the source, (T, J, d), and the
    target frame's 3D pose, (J, 3).

    Args:
        train (Dataset): Clips to fit to.
        val (Dataset): Clips to choose ridge and inputs on.
        source (str): '2d' or '3d'.
        epochs (int): How often the clips are seen, each time with the flips
            and the noise of another epoch. Defaults to 1.
        report (Callable, optional): Is told the part that is done.
    """

    def __init__(self,
                 train: Dataset,
                 val: Dataset,
                 source: str,
                 epochs: int = 1,
                 report: Optional[Callable[[float], None]] = None) -> None:
        self.source = source
        self._moments = 0.
        for epoch in range(epochs):
            train.set_epoch(epoch)
            done = 0
            for batch in batches(train):
                rows = self._rows(batch)
                self._moments += rows.T @ rows
                done += len(rows)
                if report is not None:
                    report((epoch + done / len(train)) / epochs)
        self._val = torch.cat([self._rows(batch) for batch in batches(val)])
        clip = batch['inputs'][f'keypoints_{source}']
        self._shape = clip.shape[1:]
        self._index = target_index(batch)

    def _rows(self, batch: dict) -> Tensor:
        """(B, T * J * d + J * 3 + 1), a constant at the end."""
        inputs = batch['inputs']
        clip = inputs[f'keypoints_{self.source}'].flatten(1)
        truth = inputs['keypoints_3d'][:, target_index(batch)].flatten(1)
        return torch.cat([clip, truth, torch.ones(len(clip), 1)], 1).double()

    def mean_pose(self) -> Tensor:
        """(J, 3), of the training clips."""
        means = self._moments[-1] / self._moments[-1, -1]
        return means[-1 - 3 * len(PARENTS):-1].unflatten(0, (-1, 3)).float()

    def fit(self, visible: Sequence[int] = tuple(range(17))) -> 'LinearMap':
        """The better map from the target frame and from the whole clip, with
        the best ridge; all on the validation set.

        Args:
            visible (Sequence[int]): Joints that are seen. Defaults to all.
        """
        frames, joints, dims = self._shape
        table = torch.arange(frames * joints * dims).reshape(self._shape)
        fits = []
        for name, part in (('frame', table[self._index:self._index + 1]),
                           ('clip', table)):
            inputs = part[:, list(visible)].flatten()
            fits += [self._solve(name, inputs, ridge) for ridge in RIDGES]
        return min(fits, key=lambda fit: fit.error)

    def _solve(self, name: str, inputs: Tensor, ridge: float) -> 'LinearMap':
        size, outputs = len(self._moments), 3 * len(PARENTS)
        inputs = torch.cat([inputs, torch.tensor([size - 1])])
        outputs = torch.arange(size - 1 - outputs, size - 1)
        square = self._moments[inputs][:, inputs]
        diagonal = square.diagonal()[:-1]  # not that of the constant
        diagonal += ridge * diagonal.mean()
        weights = torch.linalg.solve(square, self._moments[inputs][:, outputs])
        errors = self._val[:, inputs] @ weights - self._val[:, outputs]
        error = errors.unflatten(1, (-1, 3)).norm(dim=-1).mean()

        def method(batch):
            poses = self._rows(batch)[:, inputs] @ weights
            poses = poses.unflatten(1, (-1, 3)).float()
            return poses - poses[:, :1]

        return LinearMap(method, name, ridge, float(error))


class LinearMap(NamedTuple):
    """One of :class:`LinearMaps`.

    Attributes:
        method (Callable): See above.
        inputs (str): 'frame' or 'clip'.
        ridge (float): Of :data:`RIDGES`.
        error (float): On the validation set, metres.
    """
    method: Method
    inputs: str
    ridge: float
    error: float


def constant(pose: Tensor) -> Method:
    """The same pose for every clip."""
    return lambda batch: pose.expand(len(batch['data_samples']), -1, -1)


def hung(pose: Tensor) -> Method:
    """For 3D completion: a limb that is missing hangs on its first joint as
    in this pose."""

    def method(batch):
        index = target_index(batch)
        poses = batch['inputs']['keypoints_3d'][:, index].clone()
        hidden = batch['inputs']['joint_mask_3d'][:, index, :, None]
        for joint, parent in enumerate(PARENTS):
            if parent >= 0:
                there = poses[:, parent] + pose[joint] - pose[parent]
                poses[:, joint] = torch.where(hidden[:, joint], there,
                                              poses[:, joint])
        return poses

    return method


def interpolated(batch: dict) -> Tensor:
    """For holes in time: a straight line from the last frame before the hole
    to the first behind it. The hole is the same in all clips."""
    inputs, index = batch['inputs'], target_index(batch)
    hole = inputs['frame_mask_3d'][0] | inputs['joint_mask_3d'][0].any(1)
    seen = (~hole).nonzero()[:, 0]
    before, after = seen[seen < index].max(), seen[seen > index].min()
    weight = (index - before) / (after - before)
    clip = inputs['keypoints_3d']
    return completed(
        lambda _: torch.lerp(clip[:, before], clip[:, after], weight))(
            batch)


def completed(method: Method) -> Method:
    """For 3D completion: what is seen is kept."""

    def complete(batch):
        inputs, index = batch['inputs'], target_index(batch)
        hidden = (inputs['joint_mask_3d']
                  | inputs['frame_mask_3d'][..., None])[:, index]
        return torch.where(hidden[..., None], method(batch),
                           inputs['keypoints_3d'][:, index])

    return complete


# ---------------------------------- holes -----------------------------------
def hole(frames: int, joints: bool) -> Callable[[dict], None]:
    """Hides the middle frames of clips, or their masks' joints in these.

    Args:
        frames (int): How many, odd.
        joints (bool): What a mask hides in all frames is then hidden in the
            middle ones alone; else the middle frames are missing altogether.
    """

    def change(batch):
        inputs, index = batch['inputs'], target_index(batch)
        middle = torch.zeros_like(inputs['frame_mask_3d'])
        middle[:, index - frames // 2:index + frames // 2 + 1] = True
        if joints:
            inputs['joint_mask_3d'] &= middle[..., None]
        else:
            inputs['joint_mask_3d'][:] = False
            inputs['frame_mask_3d'] = middle

    return change


def inner_clips(dataset: Dataset) -> List[int]:
    """Clips that no end of a sequence cuts off: a repeated frame would show
    what is hidden."""
    step = dataset.frame_step
    return [
        i for i in range(len(dataset))
        if (np.diff(dataset.get_data_info(i)['frame_indices']) == step).all()
    ]
