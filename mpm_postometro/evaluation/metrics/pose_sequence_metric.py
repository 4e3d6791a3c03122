# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Errors of the 3D poses of sequences, by action and overall."""
import math
from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from mmpose.registry import METRICS
from torch import Tensor

from mpm_postometro.evaluation import functional
from mpm_postometro.files import atomic_write

__all__ = ['PoseSequenceMetric']

# Of single frames: function of (pred, true, weights) and the factor to mm or
# per cent.
_ERRORS = dict(
    mpjpe=(functional.mpjpe, 1000),
    pa_mpjpe=(functional.pa_mpjpe, 1000),
    n_mpjpe=(functional.n_mpjpe, 1000),
    pck_150=(lambda p, t, w: functional.pck(p, t, 0.15, w), 100),
    auc=(lambda p, t, w: functional.auc(p, t, weights=w), 100))
_VELOCITY = 'mpjve'
_HIDDEN = 'mpjpe_hidden'


@METRICS.register_module()
class PoseSequenceMetric(BaseMetric):
    """MPJPE, PA-MPJPE, N-MPJPE, velocity error, PCK and AUC of the target
    frames of clips.

    Reads ``keypoints_3d`` (1, J, 3), metres, from ``pred_instances`` and
    ``gt_instances``; of the latter too ``keypoints_3d_visible`` (1, J), of
    which joints above 0 count; and ``keypoints_hidden`` (1, J) from
    ``pred_instances``, optional, the joints that the network did not see.
    Poses are compared as they are: both have their root at the origin.
    Meta information: ``group_by``, and for the velocity ``sequence``,
    ``frame_indices`` and ``target_index`` (``dataset_name``, optional, tells
    sequences of several data sets apart).

    Reported are

    - ``mpjpe``, ``pa_mpjpe`` (after a similarity transform), ``n_mpjpe``
      (after scaling), in mm;
    - ``mpjve``, mm: mean distance between predicted and true motion from one
      target frame to the next. Frames follow each other if they are of one
      sequence and as far apart as the two closest frames of their data set
      (its ``clip_step``), so that nothing is differenced over a gap;
    - ``pck_150``, joints nearer than 150 mm, and ``auc``, its mean over the 31
      thresholds from 0 to 150 mm; per cent, over all joints;
    - ``mpjpe_hidden``, mm, where joints are hidden and ``mpjpe`` is asked
      for: the error of the hidden joints alone, of frames that have some. In
      a 3D completion ``mpjpe`` counts the joints that were seen as right,
      which is the published measure;
    - ``frames``, how many were averaged over.

    All are means over joints, then over frames. For each group there is the
    same over its frames (``mpjpe_Walking``), and the mean over the groups
    (``mpjpe_action_mean``), which is what is published for Human3.6M. In the
    velocity a pair of frames belongs to the group of the later one.

    Frames without 3D joints do not count. A frame is reduced to a few numbers
    before anything is gathered; with the velocity, to its joints' offsets
    too (272 bytes for 17 joints). Results do not depend on how clips are
    spread over batches and ranks.

    Args:
        metrics (Sequence[str]): Which to measure. Defaults to all.
        group_by (str, optional): Meta information by which to group, e.g.
            'action', 'subject' or 'mask_name', the limb that ``TubeMask``
            hides. Clips of which it is '' count in no group. None for no
            groups. Defaults to 'action'.
        dump (str, optional): Write the numbers of each frame to this .npz
            (main process only; written whole or not at all). NaN where a
            frame does not count.
        collect_device (str): 'cpu' or 'gpu', as in ``BaseMetric``.
        prefix (str, optional): As in ``BaseMetric``.
        collect_dir (str, optional): As in ``BaseMetric``.

    Raises:
        ValueError: If a metric is unknown, or ``dump`` no .npz file.
    """

    default_prefix = 'pose3d'

    def __init__(self,
                 metrics: Sequence[str] = ('mpjpe', 'pa_mpjpe', 'n_mpjpe',
                                           'mpjve', 'pck_150', 'auc'),
                 group_by: Optional[str] = 'action',
                 dump: Optional[str] = None,
                 collect_device: str = 'cpu',
                 prefix: Optional[str] = None,
                 collect_dir: Optional[str] = None) -> None:
        super().__init__(collect_device, prefix, collect_dir)
        known = (*_ERRORS, _VELOCITY)
        if isinstance(metrics,
                      str) or not metrics or set(metrics) - set(known):
            raise ValueError(f'metrics must be some of {known}, got '
                             f'{metrics!r}')
        if dump is not None and not dump.endswith('.npz'):
            raise ValueError(f'dump must end in .npz, got {dump}')
        self.metrics = tuple(metrics)
        self.group_by = group_by
        self.dump = dump
        self._errors = [name for name in self.metrics if name in _ERRORS]

    @torch.no_grad()
    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Measure one batch of predictions.

        Args:
            data_batch (Any): Not used.
            data_samples (Sequence[dict]): Predictions as dicts, as the
                Evaluator passes them.

        Raises:
            KeyError: If a sample lacks a field.
            ValueError: If predicted and true joints differ in shape.
        """
        if not data_samples:
            return
        pred = _stack(data_samples, 'pred_instances', 'keypoints_3d').double()
        true = _stack(data_samples, 'gt_instances', 'keypoints_3d').to(pred)
        visible = _stack(data_samples, 'gt_instances',
                         'keypoints_3d_visible').to(pred.device) > 0
        if pred.shape != true.shape or pred.shape[:2] != visible.shape:
            raise ValueError(
                'PoseSequenceMetric takes keypoints_3d (1, J, 3): sample '
                f'{data_samples[0].get("id")} has predictions '
                f'{(1, *pred.shape[1:])}, labels {(1, *true.shape[1:])} and '
                f'keypoints_3d_visible {(1, *visible.shape[1:])}')
        hidden = torch.zeros_like(visible)
        if 'keypoints_hidden' in data_samples[0]['pred_instances']:
            hidden = visible & _stack(data_samples, 'pred_instances',
                                      'keypoints_hidden').to(hidden)

        # flags beside the values: a NaN that the network made must be seen
        columns = [visible.any(1), hidden.any(1)]
        columns += [
            _ERRORS[name][0](pred, true, visible) for name in self._errors
        ]
        columns += [functional.mpjpe(pred, true, hidden)]
        table = torch.stack([column.to(pred) for column in columns], 1)
        if _VELOCITY in self.metrics:
            offsets = torch.cat([pred - true, visible[..., None]], -1)
            table = torch.cat([table, offsets.flatten(1)], 1)
        # one small array a clip: there are half a million in Human3.6M
        for row, sample in zip(table.float().cpu().numpy(), data_samples):
            self.results.append((row, *self._whose(sample)))

    def _whose(self, sample: dict) -> Tuple[str, str, str, int, Any]:
        """Group, data set, sequence, frame and id of a sample."""
        needed = () if self.group_by is None else (self.group_by, )
        if _VELOCITY in self.metrics:
            needed += ('sequence', 'frame_indices', 'target_index')
        for key in needed:
            if key not in sample:
                raise KeyError(
                    f"PoseSequenceMetric needs meta information '{key}' of "
                    f"sample {sample.get('id')}; PackPoseSequence's meta_keys "
                    'say what a sample has')
        frame = -1
        if 'frame_indices' in sample and 'target_index' in sample:
            frame = int(sample['frame_indices'][sample['target_index']])
        group = str(sample.get(self.group_by, ''))
        return (group, sample.get('dataset_name', ''),
                sample.get('sequence', ''), frame, sample.get('id', -1))

    def compute_metrics(self, results: List[tuple]) -> Dict[str, float]:
        """Means over frames, over those of each group, and over groups.

        Args:
            results (list[tuple]): One a frame.

        Returns:
            dict[str, float]: mm and per cent; NaN if no frame counts.
        """
        measured = self._measured(results)
        if self.dump is not None:
            self._write(results, measured)
        groups, group_of = np.unique([row[1] for row in results],
                                     return_inverse=True)
        overall, of_groups = {}, {}
        for name, (values, counts) in measured.items():
            if name == _HIDDEN and not counts.any():
                continue
            overall[name] = _mean(values[counts])
            means = {}
            for index, group in enumerate(groups):
                inside = counts & (group_of == index)
                if group and inside.any():
                    means[f'{name}_{group}'] = _mean(values[inside])
            if means:
                of_groups[f'{name}_{self.group_by}_mean'] = _mean(
                    list(means.values()))
                of_groups.update(means)
        metrics = {**overall, **of_groups}
        # float: MMEngine's JSON files leave integers out
        metrics['frames'] = float(sum(row[0][0] > 0 for row in results))
        if metrics['frames'] and any(map(math.isnan, metrics.values())):
            MMLogger.get_current_instance().warning(
                'PoseSequenceMetric: some predictions are not finite, or no '
                'frame follows another')
        return metrics

    def _measured(
            self,
            results: List[tuple]) -> Dict[str, Tuple[np.ndarray, np.ndarray]]:
        """By name: values (N, ), and which frames count (N, )."""
        names = [*self._errors, _HIDDEN]
        size = 2 + len(names)
        table = np.zeros((0, size))
        if results:
            table = np.stack([row[0] for row in results])
        columns = table[:, :size].T.astype(float)
        counts, has_hidden = columns[:2] > 0
        measured = {}
        for name, values in zip(names, columns[2:]):
            factor = 1000 if name == _HIDDEN else _ERRORS[name][1]
            measured[name] = (factor * values,
                              has_hidden if name == _HIDDEN else counts)
        if 'mpjpe' not in self.metrics:
            del measured[_HIDDEN]
        if _VELOCITY in self.metrics:
            measured[_VELOCITY] = _velocity(results, counts, table[:, size:])
        return measured

    def _write(self, results: List[tuple],
               measured: Dict[str, Tuple[np.ndarray, np.ndarray]]) -> None:
        """One row a frame."""
        columns = {
            name: np.where(counts, values, np.nan)
            for name, (values, counts) in measured.items()
        }
        keys = ('group', 'dataset_name', 'sequence', 'frame', 'id')
        for i, key in enumerate(keys, 1):
            columns[key] = np.array([row[i] for row in results])
        atomic_write(self.dump,
                     lambda name: np.savez_compressed(name, **columns))
        MMLogger.get_current_instance().info(
            f'PoseSequenceMetric: wrote {len(results)} frames to {self.dump}')


def _stack(samples: Sequence[dict], group: str, key: str) -> Tensor:
    """(B, ...) from samples whose fields start with an axis of 1."""
    rows = []
    for sample in samples:
        value = sample.get(group, {}).get(key)
        if value is None:
            raise KeyError(f"PoseSequenceMetric needs '{key}' in {group} of "
                           f"sample {sample.get('id')}")
        if len(value) != 1:
            raise ValueError('PoseSequenceMetric takes one pose a sample, '
                             f"{group}.{key} of sample {sample.get('id')} is "
                             f'{tuple(value.shape)}')
        rows.append(value)
    try:
        if isinstance(rows[0], Tensor):
            return torch.cat(rows)
        return torch.from_numpy(np.concatenate(rows))
    except (RuntimeError, ValueError) as error:
        raise ValueError('PoseSequenceMetric takes poses of the same joints: '
                         f'{group}.{key} of a batch: {error}') from None


def _mean(values: Sequence[float]) -> float:
    """NaN if there are none."""
    # fsum: the same sum in whatever order ranks delivered
    return math.fsum(values) / len(values) if len(values) else math.nan


def _velocity(results: List[tuple], counts: np.ndarray,
              offsets: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Velocity error of frames.

    Args:
        results (list[tuple]): N of :class:`PoseSequenceMetric`.
        counts (np.ndarray): (N, ), bool, which count.
        offsets (np.ndarray): (N, 4 J), for each joint predicted minus true
            coordinates and whether it counts.

    Returns:
        tuple[np.ndarray, np.ndarray]: (N, ), mm, and which frames follow
        another (N, ), bool.
    """
    errors = np.full(len(results), np.nan)
    follows = np.zeros(len(results), bool)
    counting = np.flatnonzero(counts)
    if not len(counting):
        return errors, follows
    *_, datasets, sequences, frames, _ = zip(*(results[i] for i in counting))
    dataset_of = np.unique(datasets, return_inverse=True)[1]
    sequence_of = np.unique(sequences, return_inverse=True)[1]
    order = np.lexsort((frames, sequence_of, dataset_of))
    dataset_of = dataset_of[order]
    steps = np.diff(np.array(frames)[order])
    # A frame that a sampler repeated does not follow itself.
    pairs = (steps > 0) & (np.diff(dataset_of) == 0) & (
        np.diff(sequence_of[order]) == 0)
    closest = np.full(dataset_of.max() + 1, np.iinfo(int).max)
    np.minimum.at(closest, dataset_of[1:][pairs], steps[pairs])
    pairs &= steps == closest[dataset_of[1:]]
    later = counting[order[1:][pairs]]
    before, after = (
        torch.from_numpy(offsets[which]).unflatten(1, (-1, 4))
        for which in (counting[order[:-1][pairs]], later))
    errors[later] = 1000 * functional.mpjpe(
        after[..., :3], before[..., :3],
        after[..., 3] * before[..., 3]).numpy()
    follows[later] = True
    return errors, follows
