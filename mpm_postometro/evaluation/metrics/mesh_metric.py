# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Errors of meshes and of the joints in them."""
import math
from pathlib import Path
from typing import Any, Dict, List, Optional, Sequence, Union

import numpy as np
import torch
from mmengine.evaluator import BaseMetric
from mmengine.logging import MMLogger
from mmpose.registry import METRICS
from torch import Tensor

from mpm_postometro.bodies import BodyModel, check_same_body, load_body
from mpm_postometro.bodies.skeletons import J14_HIPS, SKELETONS
from mpm_postometro.evaluation import functional
from mpm_postometro.evaluation.protocols import PROTOCOLS, joint_errors
from mpm_postometro.files import atomic_write

__all__ = ['MeshMetric']

# Least number of joints that pins a rotation down.
_MIN_JOINTS_TO_ALIGN = 3
_NUM_JOINTS = SKELETONS['j14'].num_joints
# What is measured: which persons count, and the factor to mm or per cent.
_MEASURES = dict(
    mpjpe=('has_joints', 1000),
    pa_mpjpe=('has_aligned', 1000),
    mpvpe=('has_mesh', 1000),
    pa_mpvpe=('has_mesh', 1000),
    pck=('has_joints', 100),
    auc=('has_joints', 100))
_FLAGS = ('has_joints', 'has_aligned', 'has_mesh')
# What a results file says of a person beside the errors, and what stands
# there if it is not known.
_WHOSE = dict(
    id=-1,
    img_id=-1,
    img_path='',
    sequence='',
    frame=-1,
    gender='',
    annotation_id=-1)
# Nearer to the origin, metres, a pelvis is there on purpose.
_AT_ORIGIN = 1e-4


@METRICS.register_module()
class MeshMetric(BaseMetric):
    """MPJPE, MPVPE, both after Procrustes alignment, PCK and AUC.

    True vertices are made from the body parameters in the data samples, on
    the prediction's device, a batch at a time. Every person is reduced to a
    few numbers before anything is gathered; the means are taken over all
    persons of all ranks and do not depend on how they were spread.

    Reads from ``pred_instances``: ``keypoints_3d`` (1, 14, 3) and ``vertices``
    (1, V, 3). From ``gt_instance_labels``: ``joints_3d``,
    ``joints_3d_weights``, ``has_joints_3d``, ``global_orient``, ``body_pose``,
    ``betas`` and ``has_smpl``; from ``gt_instances``: ``occlusion``
    (optional). From the meta information, where it is known: ``gender``;
    ``pred_body`` and ``label_body``, the identity of the body of predictions
    and labels; and for the results file ``id``, ``img_id``, ``img_path``,
    ``sequence``, ``frame`` and ``annotation_id``.

    Reported are

    - ``mpjpe`` and ``pa_mpjpe`` (after a similarity transform), mm, over the
      14 joints;
    - ``mpvpe`` and ``pa_mpvpe``, mm, over the vertices;
    - ``pck_150``, joints nearer than ``pck_threshold`` mm with the root of
      ``mpjpe`` at the origin, and ``auc``, its mean over the 31 thresholds
      from 0 to 150 mm, per cent;
    - ``persons`` and ``persons_mesh``, how many ``mpjpe`` and ``mpvpe`` are
      averaged over, and the same for each occlusion bin with persons in it
      (``mpjpe_occ_0.25-0.50``).

    All are means over joints or vertices, then over persons. Persons without
    3D joints are left out of what is measured of joints, persons without body
    parameters out of what is measured of vertices, joints of weight 0 out of
    a person's mean. What nobody counts in is NaN.

    Protocols:

    - ``'metro'`` (METRO, FastMETRO, PostoMETRO): true meshes are ``body``'s,
      which is the neutral SMPL there, whatever the gender; true joints are
      the labels ``joints_3d``; the mean of the hips is the origin for MPJPE,
      each mesh's own Human3.6M pelvis for MPVPE.
    - ``'spin'`` (SPIN and those after it): true meshes are those of SMPL's
      male or female body, as ``gender`` says. True joints are regressed from
      the true mesh with the Human3.6M regressor, predicted joints from the
      predicted mesh; the Human3.6M pelvis is the origin for joints and
      vertices.
    - ``'pare'`` (PARE): the same, but vertices are compared where they are:
      true meshes as SMPL puts them without translation. Only for meshes made
      from predicted SMPL parameters; those of this package's networks have
      their pelvis at the origin and are refused.

    Args:
        body (str | dict | BodyModel, optional): The body of predictions and,
            where the protocol is not gendered, of labels: a file or folder,
            arguments of ``load_body``, or None for the built-in one. Bodies
            of other genders are read from the same folder when the first
            person of theirs comes.
        protocol (str): ``'metro'``, ``'spin'`` or ``'pare'``.
        bins (Sequence[float], optional): Edges of the occlusion bins,
            rising. A bin holds its lower edge, the last one its upper edge
            too. None for no bins.
        pck_threshold (float): mm. Defaults to 150.
        dump (str, optional): Write the numbers of each person to this .npz
            (main process only; written whole or not at all).
            docs/evaluation.md says what is in it.
        collect_device (str): 'cpu' or 'gpu', as in ``BaseMetric``.
        prefix (str, optional): As in ``BaseMetric``.
        collect_dir (str, optional): As in ``BaseMetric``.

    Raises:
        ValueError: If an argument is not one of these.
    """

    default_prefix = 'mesh'

    def __init__(self,
                 body: Union[None, str, dict, BodyModel] = None,
                 protocol: str = 'metro',
                 bins: Optional[Sequence[float]] = (0., .25, .5, .75, 1.),
                 pck_threshold: float = 150.,
                 dump: Optional[str] = None,
                 collect_device: str = 'cpu',
                 prefix: Optional[str] = None,
                 collect_dir: Optional[str] = None) -> None:
        super().__init__(collect_device, prefix, collect_dir)
        if protocol not in PROTOCOLS:
            raise ValueError(f'protocol must be one of {list(PROTOCOLS)}, got '
                             f'{protocol!r}')
        bins = [float(edge) for edge in bins or []]
        if len(bins) == 1 or any(a >= b for a, b in zip(bins, bins[1:])):
            raise ValueError('bins must be two or more rising numbers, got '
                             f'{bins}')
        if pck_threshold <= 0:
            raise ValueError('pck_threshold must be mm above 0, got '
                             f'{pck_threshold}')
        if dump is not None and not dump.endswith('.npz'):
            raise ValueError(f'dump must end in .npz, got {dump}')
        self.protocol = protocol
        self.bins = bins
        self.pck_threshold = pck_threshold
        self.dump = dump
        self._arguments: dict = {}
        if isinstance(body, BodyModel):
            self.body = body
        else:
            self._arguments = body if isinstance(body, dict) else dict(
                path=body)
            self.body = load_body(**self._arguments)
        self._own = self._arguments.get('gender', 'neutral')
        self._bodies = {self._own: self.body}

    @torch.no_grad()
    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Measure one batch of predictions.

        Args:
            data_batch (Any): Not used.
            data_samples (Sequence[dict]): Predictions as dicts (what the
                Evaluator passes) or ``PoseDataSample``.

        Raises:
            FileNotFoundError: If the body of a person's gender is missing.
            KeyError: If a sample lacks a field.
            ValueError: If predictions or labels belong to another body than
                the metric's; the error names both. If meshes are compared
                where they are, and predicted ones have their pelvis at the
                origin.
        """
        if not data_samples:
            return
        for sample in data_samples:
            check_same_body(self.body.identity, _meta(sample, 'pred_body'),
                            'MeshMetric', 'predictions have')
        vertices = _gather(data_samples, 'pred_instances', 'vertices')
        if vertices.shape[1:] != (self.body.num_vertices, 3):
            raise ValueError(
                f"MeshMetric's body '{self.body.name}' has "
                f'{self.body.num_vertices} vertices, predictions are '
                f'{tuple(vertices.shape)}: give the metric the body of the '
                'model')
        device = vertices.device
        joints = _gather(data_samples, 'pred_instances', 'keypoints_3d')
        labels = {
            key: _gather(data_samples, 'gt_instance_labels', key)
            for key in ('joints_3d', 'joints_3d_weights', 'has_joints_3d',
                        'global_orient', 'body_pose', 'betas', 'has_smpl')
        }
        groups = self._groups(data_samples, labels['has_smpl'].flatten() > 0)
        labels = {key: value.to(device) for key, value in labels.items()}

        # flags beside the values: a NaN that the network made must be seen
        table = {
            key: vertices.new_full((len(vertices), ), value, dtype=float)
            for keys, value in ((_MEASURES, math.nan), (_FLAGS, 0))
            for key in keys
        }
        table['joints'] = table['mpjpe'][:, None].repeat(1, _NUM_JOINTS)
        if not PROTOCOLS[self.protocol].gendered:
            table.update(self._of_labels(joints.to(device), labels))
        for gender, rows in groups.items():
            rows = torch.tensor(rows, device=device)
            measured = self._of_meshes(
                vertices[rows], self._bodies[gender].to(device),
                *(labels[key][rows]
                  for key in ('betas', 'body_pose', 'global_orient')))
            for key, value in measured.items():
                table[key][rows] = value.double()

        columns = [table[key][:, None] for key in (*_MEASURES, *_FLAGS)]
        # one copy from the device, one small array a person
        rows = torch.cat([*columns, table['joints']], 1).cpu().numpy()
        for row, sample in zip(rows, data_samples):
            whose = [_meta(sample, key) for key in _WHOSE]
            self.results.append((row, _occlusion(sample), *whose))

    def _groups(self, samples: Sequence[Any],
                has_mesh: Tensor) -> Dict[str, List[int]]:
        """Persons with body parameters, by the gender of their true mesh."""
        groups: Dict[str, List[int]] = {}
        for i, sample in enumerate(samples):
            if has_mesh[i]:
                gender = self._gender(sample)
                if gender not in self._bodies:
                    self._bodies[gender] = self._load(gender)
                check_same_body(self._bodies[gender].identity,
                                _meta(sample, 'label_body'), 'MeshMetric',
                                'labels have')
                groups.setdefault(gender, []).append(i)
        return groups

    def _gender(self, sample: Any) -> str:
        if not PROTOCOLS[self.protocol].gendered:
            return self._own
        gender = _meta(sample, 'gender')
        if gender is None and _meta(sample, 'label_body') is None:
            raise KeyError(
                f"protocol '{self.protocol}' makes true meshes by gender, and "
                f"sample {_meta(sample, 'id')} has neither 'gender' nor "
                "'label_body' in its meta information; PackMeshInputs passes "
                'them where the data set has them')
        return self._own if gender is None else gender

    def _load(self, gender: str) -> BodyModel:
        """The body of a gender, out of the folder of the metric's own."""
        folder = Path(self.body.source).parent
        arguments = {
            'num_betas': self.body.num_betas,
            **self._arguments, 'path': folder,
            'gender': gender
        }
        try:
            return load_body(**arguments)
        except FileNotFoundError as error:
            raise FileNotFoundError(
                f"protocol '{self.protocol}' makes the true mesh of a "
                f"{gender} person from SMPL's {gender} body, which is not "
                f'beside {self.body.source}. With all of SMPL in one folder, '
                "give MeshMetric body=dict(path=FOLDER); protocol 'metro' "
                f'needs no other body than the model\'s. {error}') from None

    def _of_labels(self, joints: Tensor,
                   labels: Dict[str, Tensor]) -> Dict[str, Tensor]:
        """Joint errors (B,), metres, by the labels of 3D joints."""
        weights = labels['joints_3d_weights'] > 0
        known = labels['has_joints_3d'].flatten() > 0
        has_joints = known & weights[:, list(J14_HIPS)].all(1)
        errors = joint_errors(
            joints.double(),
            labels['joints_3d'].double(),
            weights,
            pck_threshold=self.pck_threshold / 1000)
        errors['joints'] = torch.where(
            has_joints[:, None] & weights, errors['joints'],
            torch.full_like(errors['joints'], math.nan))
        return dict(
            errors,
            has_joints=has_joints.double(),
            has_aligned=(known &
                         (weights.sum(1) >= _MIN_JOINTS_TO_ALIGN)).double())

    def _of_meshes(self, pred: Tensor, body: BodyModel, betas: Tensor,
                   body_pose: Tensor,
                   global_orient: Tensor) -> Dict[str, Tensor]:
        """What true meshes of one body tell, (B,), metres."""
        protocol = PROTOCOLS[self.protocol]
        true = body(betas, body_pose, global_orient).vertices
        pred = pred.to(true)
        own = self.body.to(true.device)
        roots = own.pelvis(pred), body.pelvis(true)
        one = true.new_ones(len(true))
        errors = dict(has_mesh=one)
        if protocol.gendered:
            joints = (own.regress_joints(pred, 'j14') - roots[0],
                      body.regress_joints(true, 'j14') - roots[1])
            errors.update(
                joint_errors(
                    *(points.double() for points in joints),
                    root=None,
                    pck_threshold=self.pck_threshold / 1000),
                has_joints=one,
                has_aligned=one)
        if protocol.centred:
            pred, true = pred - roots[0], true - roots[1]
        elif (roots[0].abs() < _AT_ORIGIN).all():
            raise ValueError(
                f"protocol '{self.protocol}' compares vertices where SMPL "
                'puts them, and predicted meshes have their pelvis at the '
                "origin: use 'spin', which moves the pelvis of both there")
        errors.update(
            mpvpe=functional.mpvpe(pred, true),
            pa_mpvpe=functional.pa_mpjpe(pred, true))
        return errors

    def compute_metrics(self, results: List[tuple]) -> Dict[str, float]:
        """Means over persons.

        Args:
            results (list[tuple]): One a person.

        Returns:
            dict[str, float]: Errors in mm, shares in per cent, numbers of
            persons.
        """
        columns = self._columns(results)
        if self.dump is not None:
            self._write(results, columns)
        everybody = np.ones(len(results), bool)
        metrics = self._means(columns, everybody)
        # float: MMEngine's JSON files leave integers out
        metrics['persons'] = float(columns['has_joints'].sum())
        metrics['persons_mesh'] = float(columns['has_mesh'].sum())
        lost = any(
            math.isnan(metrics[self._title(key)]) and columns[flag].any()
            for key, (flag, _) in _MEASURES.items())
        occlusion = columns['occlusion']
        for low, high in zip(self.bins, self.bins[1:]):
            inside = (occlusion >= low) & (occlusion < high)
            if high == self.bins[-1]:
                inside |= occlusion == high
            if not inside.any():
                continue
            name = f'occ_{low:.2f}-{high:.2f}'
            for key, value in self._means(columns, inside, True).items():
                metrics[f'{key}_{name}'] = value
            metrics[f'persons_{name}'] = float(inside.sum())
        if lost:
            MMLogger.get_current_instance().warning(
                'MeshMetric: some predictions are not finite')
        return metrics

    def _title(self, key: str) -> str:
        return f'pck_{self.pck_threshold:g}' if key == 'pck' else key

    @staticmethod
    def _columns(results: List[tuple]) -> Dict[str, np.ndarray]:
        """Numbers of N persons by name, mm and per cent."""
        names = [*_MEASURES, *_FLAGS]
        table = np.zeros((0, len(names) + _NUM_JOINTS))
        if results:
            table = np.stack([row[0] for row in results])
        columns = dict(zip(names, table.T))
        for key in _FLAGS:
            columns[key] = columns[key] > 0
        for key, (flag, factor) in _MEASURES.items():
            columns[key] = factor * columns[key]
        columns['joint_errors'] = 1000 * table[:, len(names):]
        columns['occlusion'] = np.array([row[1] for row in results], float)
        return columns

    def _means(self,
               columns: Dict[str, np.ndarray],
               inside: np.ndarray,
               counted_only: bool = False) -> Dict[str, float]:
        """Over some persons; NaN, or left out, where nobody counts."""
        means = {}
        for key, (flag, _) in _MEASURES.items():
            values = columns[key][inside & columns[flag]]
            if len(values) or not counted_only:
                # fsum: the same sum in whatever order ranks delivered
                means[self._title(key)] = math.fsum(values) / len(
                    values) if len(values) else math.nan
        return means

    def _write(self, results: List[tuple], columns: Dict[str,
                                                         np.ndarray]) -> None:
        """One row a person, by ``id``; NaN where a person does not count.
        Beside them how all were measured.
        """
        file = {}
        for i, (key, unknown) in enumerate(_WHOSE.items(), 2):
            file[key] = np.array(
                [unknown if row[i] is None else row[i] for row in results])
        for key, (flag, _) in _MEASURES.items():
            file[self._title(key)] = np.where(columns[flag], columns[key],
                                              np.nan)
        file['joint_errors'] = columns['joint_errors']
        file['occlusion'] = columns['occlusion']
        # ranks deliver as their samplers split
        order = np.argsort(file['id'], kind='stable')
        file = {key: column[order] for key, column in file.items()}
        file.update(protocol=self.protocol, body=self.body.identity)
        atomic_write(self.dump, lambda name: np.savez_compressed(name, **file))
        MMLogger.get_current_instance().info(
            f'MeshMetric: wrote {len(order)} persons to {self.dump}')


def _get(container: Any, key: str) -> Any:
    """From a dict or a data element; None if it is not there."""
    return None if container is None else container.get(key)


def _gather(samples: Sequence[Any], group: str, key: str) -> Tensor:
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
        rows.append(torch.as_tensor(value))
    return torch.cat(rows)


def _meta(sample: Any, key: str) -> Any:
    value = _get(sample, key)
    if value is None and hasattr(sample, 'metainfo'):
        value = sample.metainfo.get(key)
    return value


def _occlusion(sample: Any) -> float:
    value = _get(_get(sample, 'gt_instances'), 'occlusion')
    return math.nan if value is None else float(value[0])
