# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Pre-training, lifting and completion of pose sequences."""
from functools import lru_cache
from typing import Dict, List, Optional, Sequence, Tuple, Union

import torch
from mmengine.model import BaseModel
from mmengine.structures import InstanceData
from mmpose.registry import MODELS
from mmpose.utils.typing import (ConfigType, OptConfigType, OptMultiConfig,
                                 OptSampleList, SampleList)
from torch import Tensor, nn

from ..heads.mpm_heads import SequencePoses

__all__ = ['MPMEstimator']

Inputs = Dict[str, Tensor]


@MODELS.register_module()
class MPMEstimator(BaseModel):
    """Everything that MPM_ does with a sequence of poses.

    A task reads one modality and predicts one. Which tasks there are makes
    the stage:

    ==================  =========================================  ==========
    stage               tasks (source to target, weight)           head
    ==================  =========================================  ==========
    pre-training        2D to 2D, 5; 3D to 3D, 2                   decoders
    with lifting        2D to 2D, 5; 3D to 3D, 5; 2D to 3D, 1      decoders
    lifting             2D to 3D                                   lifting
    2D-to-3D            2D to 3D, 2; 2D to 2D, 1                   decoders
    completion
    3D completion       3D to 3D                                   decoder
    ==================  =========================================  ==========

    A clip that lacks the source or the target of a task is left out of its
    loss, which is the mean over the others. Losses are over all joints and
    frames, hidden or not.

    - Batch size: B
    - Frames: T
    - Joints: J

    Args:
        backbone (dict): Config of :class:`MPM`.
        heads (dict[str, dict]): Config of the head of each target, under
            '2d' and '3d'.
        tasks (list[dict]): Each with ``source``, ``target`` ('2d' or '3d')
            and, optionally, ``weight`` (1).
        loss (dict, optional): Config of the loss. Defaults to
            ``SequenceMPJPELoss``.
        refiner (dict, optional): Config of :class:`MPMRefiner`, the last
            step of lifting. Its loss is added to those of the head. Defaults
            to None.
        test_cfg (dict, optional): ``source``, what to predict 3D poses from
            (needed if several tasks do so); ``flip_test`` (False), average
            with the mirrored clip; ``all_frames`` (False), predict every
            frame beside the target frame.
        data_preprocessor (dict, optional): Defaults to
            ``SequenceDataPreprocessor``.
        init_cfg (dict, optional): As in MMEngine.

    Raises:
        ValueError: If tasks, heads and backbone do not fit together.

    .. _MPM: https://arxiv.org/abs/2306.17201
    """

    def __init__(self,
                 backbone: ConfigType,
                 heads: Dict[str, ConfigType],
                 tasks: Sequence[ConfigType],
                 loss: OptConfigType = None,
                 refiner: OptConfigType = None,
                 test_cfg: OptConfigType = None,
                 data_preprocessor: OptConfigType = None,
                 init_cfg: OptMultiConfig = None) -> None:
        data_preprocessor = data_preprocessor or dict(
            type='SequenceDataPreprocessor')
        super().__init__(MODELS.build(data_preprocessor), init_cfg)
        self.backbone = MODELS.build(backbone)
        self.heads = nn.ModuleDict({
            target: MODELS.build(head)
            for target, head in heads.items()
        })
        self.loss_pose = MODELS.build(loss or dict(type='SequenceMPJPELoss'))
        self.refiner = MODELS.build(refiner) if refiner else None
        # {source: {target: weight}}: one pass of the backbone a source
        self.tasks: Dict[str, Dict[str, float]] = {}
        for task in tasks:
            targets = self.tasks.setdefault(task['source'], {})
            targets[task['target']] = task.get('weight', 1.)
        self._check_tasks()
        test_cfg = dict(test_cfg or {})
        self.flip_test = test_cfg.pop('flip_test', False)
        self.all_frames = test_cfg.pop('all_frames', False)
        self.test_source = self._test_source(test_cfg.pop('source', None))
        if test_cfg:
            raise ValueError('test_cfg should have source, flip_test and '
                             f'all_frames, but has {list(test_cfg)}, too')

    def _check_tasks(self) -> None:
        used = {t for targets in self.tasks.values() for t in targets}
        if used != set(self.heads):
            raise ValueError(f'tasks predict {sorted(used)}, but there are '
                             f'heads for {sorted(self.heads)}')
        if set(self.tasks) != set(self.backbone.modalities):
            raise ValueError(
                f'tasks read {sorted(self.tasks)}, but the backbone has '
                f'modalities {sorted(self.backbone.modalities)}')
        if self.refiner is not None and self.tasks != {
                '2d': {
                    '3d': self.tasks.get('2d', {}).get('3d')
                }
        }:
            raise ValueError('a refiner follows lifting: the one task should '
                             f'be 2d to 3d, but tasks are {self.tasks}')

    def _test_source(self, source: Optional[str]) -> Optional[str]:
        sources = [s for s, targets in self.tasks.items() if '3d' in targets]
        if source is None and len(sources) == 1:
            return sources[0]
        if source is not None and source not in sources:
            raise ValueError(f'test_cfg.source is {source}, but tasks predict '
                             f'3d from {sources}')
        return source

    def forward(
        self,
        inputs: Inputs,
        data_samples: OptSampleList = None,
        mode: str = 'tensor'
    ) -> Union[Dict[str, SequencePoses], Dict[str, Tensor], SampleList]:
        """Run the tasks on a batch of ``SequenceDataPreprocessor``.

        Args:
            inputs (dict[str, Tensor]): See ``PackPoseSequence`` and the
                preprocessor.
            data_samples (list[PoseDataSample], optional): Needed to predict;
                their ``target_index`` in training, too, by heads with a
                target frame.
            mode (str): 'tensor', 'loss' or 'predict'.

        Returns:
            dict[str, SequencePoses] | dict[str, Tensor] |
            list[PoseDataSample]: Poses by task ('2d_to_3d'), or see
            :meth:`loss` and :meth:`predict`.
        """
        if mode == 'loss':
            return self.loss(inputs, data_samples)
        if mode == 'predict':
            return self.predict(inputs, data_samples)
        if mode == 'tensor':
            return {
                f'{source}_to_{target}': poses
                for source in self.tasks
                for target, poses in self._run(inputs, source).items()
            }
        raise RuntimeError(f'Invalid mode "{mode}". Only supports loss, '
                           'predict and tensor mode.')

    def loss(self,
             inputs: Inputs,
             data_samples: OptSampleList = None) -> Dict[str, Tensor]:
        """Weighted losses of all tasks.

        Arguments as for :meth:`forward`.

        Returns:
            dict[str, Tensor]: ``loss_<source>_to_<target>`` over all frames;
            with ``_target`` that of the target frame, where the head has
            one, and with ``_refined`` that after the refiner.
        """
        losses = {}
        for source, targets in self.tasks.items():
            clips = inputs.get(f'clips_{source}')
            if clips is not None and len(clips) == 0:
                # As many gradients as ever, for distributed training.
                nothing = sum(
                    p.sum() for p in self.parameters() if p.requires_grad) * 0
                losses.update({
                    name: nothing
                    for target in targets
                    for name in self._loss_names(source, target)
                })
                continue
            rows = inputs if clips is None else _select(inputs, clips)
            predictions = self._run(rows, source)
            for target, weight in targets.items():
                name = f'loss_{source}_to_{target}'
                poses = predictions[target]
                truth = rows[f'keypoints_{target}']
                counts = None
                if f'clips_{target}' in inputs and target != source:
                    counts = rows[f'has_{target}'].flatten()
                if poses.frames is not None:
                    losses[name] = weight * self.loss_pose(
                        poses.frames, truth, counts)
                if poses.target is None:
                    continue
                index = _target_index(data_samples)
                losses[f'{name}_target'] = weight * self.loss_pose(
                    poses.target, truth[:, index], counts)
                if self.refiner is not None:
                    refined = self._refine(poses.target, rows, index)
                    losses[f'{name}_refined'] = weight * self.loss_pose(
                        refined, truth[:, index], counts)
        return losses

    def _loss_names(self, source: str, target: str) -> List[str]:
        """Of one task."""
        name = f'loss_{source}_to_{target}'
        predicts = self.heads[target].predicts
        names = [name] if 'frames' in predicts else []
        names += [f'{name}_target'] if 'target' in predicts else []
        return names + ([f'{name}_refined'] if self.refiner else [])

    @torch.no_grad()
    def predict(self, inputs: Inputs, data_samples: SampleList) -> SampleList:
        """3D poses of the target frames.

        What the clip of a 3D completion shows is kept, and only what it hides
        is predicted.

        Arguments as for :meth:`forward`.

        Returns:
            list[PoseDataSample]: With ``pred_instances`` of ``keypoints_3d
            (1, J, 3)``, metres, joint 0 at the origin, and ``keypoints_hidden
            (1, J)``, bool, which joints the network did not see; with
            ``all_frames`` also ``keypoints_3d_all (1, T, J, 3)`` and
            ``keypoints_hidden_all (1, T, J)``. Tensors on the device.

        Raises:
            ValueError: If a clip lacks what to predict from, clips have
                different target frames, or the head has no ``all_frames``.
        """
        source = self.test_source
        if source is None:
            raise ValueError('test_cfg.source should say what to predict 3D '
                             f'poses from: the tasks are {self.tasks}')
        if f'clips_{source}' in inputs:
            raise ValueError(f'some clips have no keypoints_{source}, from '
                             'which 3D poses are predicted')
        index = _target_index(data_samples)
        if self.flip_test:
            flip = data_samples[0].metainfo['flip_indices']
            poses = self._run(_with_mirrored(inputs, flip), source)['3d']
            poses = SequencePoses(
                *(p if p is None else _average_mirrored(p, flip)
                  for p in poses))
        else:
            poses = self._run(inputs, source)['3d']
        frames, target = poses
        if target is None:
            target = frames[:, index]
        if self.all_frames and frames is None:
            raise ValueError('all_frames needs a head that predicts them')
        hidden = _hidden(inputs, source)
        if source == '3d':
            target = torch.where(hidden[:, index, :, None], target,
                                 inputs['keypoints_3d'][:, index])
        target = _with_root_at_origin(target)
        if self.refiner is not None:
            target = self._refine(target, inputs, index)
        for i, sample in enumerate(data_samples):
            sample.pred_instances = InstanceData(
                keypoints_3d=target[i:i + 1],
                keypoints_hidden=hidden[i:i + 1, index])
        if self.all_frames:
            if source == '3d':
                frames = torch.where(hidden[..., None], frames,
                                     inputs['keypoints_3d'])
            frames = _with_root_at_origin(frames)
            for i, sample in enumerate(data_samples):
                sample.pred_instances.set_field(frames[i:i + 1],
                                                'keypoints_3d_all')
                sample.pred_instances.set_field(hidden[i:i + 1],
                                                'keypoints_hidden_all')
        return data_samples

    def _run(self, inputs: Inputs, source: str) -> Dict[str, SequencePoses]:
        """Poses of every target of a source."""
        feats = self.backbone(
            inputs[f'keypoints_{source}'],
            source,
            joint_mask=inputs.get(f'joint_mask_{source}'),
            visible=inputs.get(f'visible_{source}'))
        return {
            target: self.heads[target](feats)
            for target in self.tasks[source]
        }

    def _refine(self, pose: Tensor, inputs: Inputs, index: int) -> Tensor:
        second = self.refiner.second_estimate(pose,
                                              inputs['keypoints_2d'][:, index],
                                              inputs['camera'],
                                              inputs['root_3d'][:, index, 2])
        return self.refiner(pose, second)


def _select(inputs: Inputs, clips: Tensor) -> Inputs:
    return {
        key: value if key.startswith('clips_') else value[clips]
        for key, value in inputs.items()
    }


def _target_index(data_samples: OptSampleList) -> int:
    """The target frame, which is the same in all clips."""
    indices = {sample.metainfo['target_index'] for sample in data_samples}
    if len(indices) != 1:
        raise ValueError('all clips of a batch should have the same '
                         f'target_index, but got {sorted(indices)}')
    return int(indices.pop())


def _hidden(inputs: Inputs, modality: str) -> Tensor:
    """Which joints the network does not see, (B, T, J)."""
    shape = inputs[f'keypoints_{modality}'].shape[:3]
    hidden = torch.zeros(
        shape, dtype=torch.bool, device=inputs[f'keypoints_{modality}'].device)
    if f'joint_mask_{modality}' in inputs:
        hidden = hidden | inputs[f'joint_mask_{modality}']
    if f'frame_mask_{modality}' in inputs:
        hidden = hidden | inputs[f'frame_mask_{modality}'][..., None]
    return hidden


@lru_cache(maxsize=8)
def _index(flip: Tuple[int, ...], device: torch.device) -> Tensor:
    """Goes to the device once, not with each batch."""
    return torch.tensor(flip, device=device)


def _mirror(poses: Tensor, flip: List[int]) -> Tensor:
    """Negate x and swap left and right, (B, ..., J, d)."""
    poses = poses.index_select(-2, _index(tuple(flip), poses.device))
    return torch.cat([-poses[..., :1], poses[..., 1:]], -1)


def _with_mirrored(inputs: Inputs, flip: List[int]) -> Inputs:
    """The clips, then their mirror images; what is hidden is mirrored."""
    both = {}
    for key, value in inputs.items():
        if key.startswith('keypoints_'):
            mirrored = _mirror(value, flip)
        elif key.startswith('joint_mask_'):
            mirrored = value.index_select(-1,
                                          _index(tuple(flip), value.device))
        elif key.startswith('visible_'):
            mirrored = value
        else:
            continue
        both[key] = torch.cat([value, mirrored])
    return both


def _average_mirrored(poses: Tensor, flip: List[int]) -> Tensor:
    plain, mirrored = poses.chunk(2)
    return (plain + _mirror(mirrored, flip)) / 2


def _with_root_at_origin(poses: Tensor) -> Tensor:
    return torch.cat([torch.zeros_like(poses[..., :1, :]), poses[..., 1:, :]],
                     -2)
