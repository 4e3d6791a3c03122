# Copyright (c) The mpm_postometro authors. All rights reserved.
import math
from typing import Any, Dict, List, Optional, Sequence, Union

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from mmpose.registry import METRICS
from torch import Tensor

from mpm_postometro.bodies import BodyModel, check_same_body, load_body
from mpm_postometro.bodies.skeletons import J14_HIPS
from mpm_postometro.evaluation import functional
from mpm_postometro.evaluation.protocols import (PROTOCOLS, joint_errors,
                                                 mesh_error)
from mpm_postometro.files import atomic_write

# Least number of joints that pins a rotation down.
_MIN_JOINTS_TO_ALIGN = 3
_METRICS = ('mpjpe', 'pa_mpjpe', 'mpvpe')


@METRICS.register_module()
class MeshMetric(BaseMetric):
    """MPJPE, PA-MPJPE and MPVPE of predicted meshes, in mm.

    True vertices are made from the body parameters in the data samples, on
    the prediction's device, a batch at a time. Every person is reduced to a
    few numbers before anything is gathered; the means are taken over all
    persons of all ranks and do not depend on how they were spread.

    Reads from ``pred_instances``: ``keypoints_3d`` (1, 14, 3) and ``vertices``
    (1, V, 3). From ``gt_instance_labels``: ``joints_3d``,
    ``joints_3d_weights``, ``has_joints_3d``, ``global_orient``, ``body_pose``,
    ``betas`` and ``has_smpl``; from ``gt_instances``: ``occlusion``
    (optional). From the meta information, where it is known: ``pred_body``
    and ``label_body``, the identity of the body of predictions and labels.

    Persons without 3D joints are left out of MPJPE and PA-MPJPE, persons
    without body parameters out of MPVPE, joints of weight 0 out of a person's
    mean. Reported are ``mpjpe``, ``pa_mpjpe``, ``mpvpe``, the numbers of
    persons they were averaged over, ``persons`` and ``persons_mesh``, and the
    same for each occlusion bin with persons in it (``mpjpe_occ_0.25-0.50``).

    Protocols:

    - ``'metro'`` (METRO, FastMETRO, PostoMETRO): true joints are the labels
      ``joints_3d``; the mean of the hips is the origin for MPJPE, each mesh's
      own Human3.6M pelvis for MPVPE.
    - ``'spin'`` (SPIN, PARE): true joints are regressed from the true mesh
      with the Human3.6M regressor, predicted joints from the predicted mesh;
      the Human3.6M pelvis is the origin for both. Meshes are
      centred too, since a predicted mesh comes with its pelvis at 0.

    Args:
        body (str | dict | BodyModel, optional): The body of the labels: a
            file, arguments of ``load_body``, or None for the built-in one.
        protocol (str): ``'metro'`` or ``'spin'``.
        bins (Sequence[float], optional): Edges of the occlusion bins,
            rising. A bin holds its lower edge, the last one its upper edge
            too. None for no bins.
        dump (str, optional): Write the numbers of each person to this .npz
            (main process only; written whole or not at all).
        collect_device (str): 'cpu' or 'gpu', as in ``BaseMetric``.
        prefix (str, optional): As in ``BaseMetric``.
        collect_dir (str, optional): As in ``BaseMetric``.
    """

    default_prefix = 'mesh'

    def __init__(self,
                 body: Union[None, str, dict, BodyModel] = None,
                 protocol: str = 'metro',
                 bins: Optional[Sequence[float]] = (0., .25, .5, .75, 1.),
                 dump: Optional[str] = None,
                 collect_device: str = 'cpu',
                 prefix: Optional[str] = None,
                 collect_dir: Optional[str] = None) -> None:
        super().__init__(collect_device, prefix, collect_dir)
        if protocol not in PROTOCOLS:
            raise ValueError(
                f'protocol must be one of {PROTOCOLS}, got {protocol!r}')
        bins = [float(edge) for edge in bins or []]
        if len(bins) == 1 or any(a >= b for a, b in zip(bins, bins[1:])):
            raise ValueError('bins must be two or more rising numbers, got '
                             f'{bins}')
        if dump is not None and not dump.endswith('.npz'):
            raise ValueError(f'dump must end in .npz, got {dump}')
        self.protocol = protocol
        self.bins = bins
        self.dump = dump
        if isinstance(body, BodyModel):
            self.body = body
        else:
            arguments = body if isinstance(body, dict) else dict(path=body)
            self.body = load_body(**arguments)

    @torch.no_grad()
    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Measure one batch of predictions.

        Args:
            data_batch (Any): Not used.
            data_samples (Sequence[dict]): Predictions as dicts (what the
                Evaluator passes) or ``PoseDataSample``.

        Raises:
            KeyError: If a sample lacks a field.
            ValueError: If predictions or labels belong to another body than
                the metric's; the error names both.
        """
        if not data_samples:
            return
        for sample in data_samples:
            for key, whose in (('pred_body', 'predictions have'),
                               ('label_body', 'labels have')):
                check_same_body(self.body.identity, _meta(sample, key),
                                'MeshMetric', whose)
        vertices = _gather(data_samples, 'pred_instances', 'vertices')
        if vertices.shape[1:] != (self.body.num_vertices, 3):
            raise ValueError(
                f"MeshMetric's body '{self.body.name}' has "
                f'{self.body.num_vertices} vertices, predictions are '
                f'{tuple(vertices.shape)}: give the metric the body of the '
                'model')
        device = vertices.device
        joints = _gather(data_samples, 'pred_instances', 'keypoints_3d',
                         device)
        labels = {
            key: _gather(data_samples, 'gt_instance_labels', key, device)
            for key in ('joints_3d', 'joints_3d_weights', 'has_joints_3d',
                        'global_orient', 'body_pose', 'betas', 'has_smpl')
        }
        self.body = self.body.to(device)
        true_vertices = self.body(labels['betas'], labels['body_pose'],
                                  labels['global_orient']).vertices
        vertices = vertices.to(true_vertices)
        errors = self._errors(vertices, true_vertices, joints, labels)

        columns = {k: v.double().cpu().tolist() for k, v in errors.items()}
        for i, sample in enumerate(data_samples):
            person = {key: column[i] for key, column in columns.items()}
            person['occlusion'] = _occlusion(sample)
            person['id'] = _meta(sample, 'id')
            person['img_id'] = _meta(sample, 'img_id')
            self.results.append(person)

    def _errors(self, vertices: Tensor, true_vertices: Tensor, joints: Tensor,
                labels: Dict[str, Tensor]) -> Dict[str, Tensor]:
        """Per person (B,), metres; NaN where a person does not count."""
        has_mesh = labels['has_smpl'].flatten() > 0
        if self.protocol == 'spin':
            joints = self.body.regress_joints(vertices, 'j14')
            joints = joints - self.body.pelvis(vertices)
            target = self.body.regress_joints(true_vertices, 'j14')
            target = target - self.body.pelvis(true_vertices)
            errors = dict(
                mpjpe=functional.mpjpe(joints, target),
                pa_mpjpe=functional.pa_mpjpe(joints, target))
            has_joints = has_aligned = has_mesh
        else:
            weights = labels['joints_3d_weights'] > 0
            errors = joint_errors(
                joints.to(labels['joints_3d']), labels['joints_3d'], weights)
            has_labels = labels['has_joints_3d'].flatten() > 0
            has_joints = has_labels & weights[:, list(J14_HIPS)].all(1)
            has_aligned = has_labels & (weights.sum(1) >= _MIN_JOINTS_TO_ALIGN)
        errors['mpvpe'] = mesh_error(vertices, true_vertices, self.body)
        # flags beside the values: a NaN that the network made must be seen
        errors['has_mpjpe'] = has_joints
        errors['has_pa_mpjpe'] = has_aligned
        errors['has_mpvpe'] = has_mesh
        return errors

    def compute_metrics(self, results: List[dict]) -> Dict[str, float]:
        """Means over persons.

        Args:
            results (list[dict]): One dict a person.

        Returns:
            dict[str, float]: Errors in mm, numbers of persons.
        """
        if self.dump is not None:
            self._write(results)
        metrics = self._mean(results)
        # float: MMEngine's JSON files leave integers out
        metrics['persons'] = float(sum(r['has_mpjpe'] > 0 for r in results))
        metrics['persons_mesh'] = float(
            sum(r['has_mpvpe'] > 0 for r in results))
        for low, high in zip(self.bins, self.bins[1:]):
            last = high == self.bins[-1]
            inside = [
                r for r in results if low <= r['occlusion'] < high or (
                    last and r['occlusion'] == high)
            ]
            if not inside:
                continue
            name = f'occ_{low:.2f}-{high:.2f}'
            for key, value in self._mean(inside).items():
                if any(r[f'has_{key}'] for r in inside):
                    metrics[f'{key}_{name}'] = value
            metrics[f'persons_{name}'] = float(len(inside))
        if math.isnan(metrics['mpjpe']) and metrics['persons']:
            MMLogger.get_current_instance().warning(
                'MeshMetric: some predictions are not finite')
        return metrics

    @staticmethod
    def _mean(results: List[dict]) -> Dict[str, float]:
        """In mm; NaN if nobody counts."""
        means = {}
        for key in _METRICS:
            values = [r[key] for r in results if r[f'has_{key}'] > 0]
            # fsum: the same sum in whatever order ranks delivered
            means[key] = 1000 * math.fsum(values) / len(
                values) if values else float('nan')
        return means

    def _write(self, results: List[dict]) -> None:
        """One row a person, mm; NaN where a person does not count."""
        columns = {}
        for key in _METRICS:
            columns[key] = np.array([
                1000 * r[key] if r[f'has_{key}'] > 0 else np.nan
                for r in results
            ])
        columns['occlusion'] = np.array([r['occlusion'] for r in results])
        for key in ('id', 'img_id'):
            columns[key] = np.array(
                [-1 if r[key] is None else r[key] for r in results])
        atomic_write(self.dump, lambda name: _save(name, columns))


def _save(name: str, columns: dict) -> None:
    with open(name, 'wb') as file:  # numpy adds a suffix to names
        np.savez_compressed(file, **columns)


def _get(container: Any, key: str) -> Any:
    """From a dict or a data element; None if it is not there."""
    return None if container is None else container.get(key)


def _gather(samples: Sequence[Any],
            group: str,
            key: str,
            device: Optional[torch.device] = None) -> Tensor:
    """(B, ...) from samples whose fields start with an axis of 1."""
    rows = []
    for sample in samples:
        value = _get(_get(sample, group), key)
        if value is None:
            raise KeyError(f"MeshMetric needs '{key}' in {group} of sample "
                           f"{_meta(sample, 'id')}")
        if len(value) != 1:
            raise ValueError(f'MeshMetric takes one person a sample, {group}.'
                             f'{key} is {tuple(value.shape)}')
        rows.append(torch.as_tensor(value, device=device).detach())
    return torch.cat(rows)


def _meta(sample: Any, key: str) -> Any:
    value = _get(sample, key)
    if value is None and hasattr(sample, 'metainfo'):
        value = sample.metainfo.get(key)
    return value


def _occlusion(sample: Any) -> float:
    value = _get(_get(sample, 'gt_instances'), 'occlusion')
    return float('nan') if value is None else float(value[0])
