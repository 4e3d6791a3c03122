# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Joint errors, of visible and of hidden joints too."""
import math
from typing import Any, Dict, List, Optional, Sequence

import numpy as np
from mmengine.evaluator import BaseMetric
from mmpose.registry import METRICS

__all__ = ['KeypointErrorMetric']

_GROUPS = ('', '_visible', '_hidden')


@METRICS.register_module()
class KeypointErrorMetric(BaseMetric):
    """Mean distance of predicted to true joints, and the share within a
    threshold (PCK).

    Reads ``keypoints`` (1, K, C) from ``pred_instances`` and ``gt_instances``;
    of the latter too ``keypoints_visible`` (1, K), of which joints above 0
    count, ``bboxes`` (1, 4) where the unit or the threshold needs it, and
    ``keypoints_occluded`` (1, K), optional, which splits joints into visible
    and hidden ones.

    Reported are ``epe``, ``pck_<threshold>``, and, where samples know what is
    hidden, both with ``_visible`` and ``_hidden``. All are means over joints,
    not over people: exact however people are spread over batches and ranks.

    Args:
        unit (str): 'px', pixels of the picture; 'box', per cent of the
            longer side of the person's box; or 'mm', for keypoints in
            metres. Defaults to 'px'.
        pck_thr (float, optional): Threshold of the PCK: a fraction of the
            longer side of the box or, with the unit 'mm', millimetres.
            Defaults to None, 0.05 of the box or 50 mm.
        collect_device (str): 'cpu' or 'gpu', as in ``BaseMetric``.
        prefix (str, optional): As in ``BaseMetric``.
        collect_dir (str, optional): As in ``BaseMetric``.

    Raises:
        ValueError: If the unit is none of these or the threshold is not
            positive.
    """

    default_prefix = 'keypoint'

    def __init__(self,
                 unit: str = 'px',
                 pck_thr: Optional[float] = None,
                 collect_device: str = 'cpu',
                 prefix: Optional[str] = None,
                 collect_dir: Optional[str] = None) -> None:
        super().__init__(collect_device, prefix, collect_dir)
        if unit not in ('px', 'box', 'mm'):
            raise ValueError(f"unit must be 'px', 'box' or 'mm', got {unit!r}")
        if pck_thr is None:
            pck_thr = 50. if unit == 'mm' else 0.05
        if not pck_thr > 0:
            raise ValueError(f'pck_thr must be positive, got {pck_thr}')
        self.unit = unit
        self.pck_thr = pck_thr

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Measure one batch of predictions.

        Args:
            data_batch (Any): Not used.
            data_samples (Sequence[dict]): Predictions as dicts, as the
                Evaluator passes them.

        Raises:
            KeyError: If a sample lacks a field.
            ValueError: If predicted and true keypoints differ in shape.
        """
        for sample in data_samples:
            self.results.append(self._measure(sample))

    def _measure(self, sample: dict) -> np.ndarray:
        """For each group of joints their number, the sum of their distances
        and the number within the threshold, (3, 3); NaN for groups that the
        sample knows nothing of."""
        pred, true = sample['pred_instances'], sample['gt_instances']
        keypoints = np.asarray(pred['keypoints'], np.float64)
        expected = np.asarray(true['keypoints'], np.float64)
        if keypoints.shape != expected.shape or len(expected) != 1:
            raise ValueError(
                'KeypointErrorMetric takes one person a sample, keypoints '
                f'(1, K, C): sample {sample.get("id")} has predictions '
                f'{keypoints.shape} and labels {expected.shape}')
        visible = np.asarray(true['keypoints_visible'])[0]
        labelled = (visible if visible.ndim == 1 else visible[:, 0]) > 0
        distances = np.linalg.norm(keypoints[0] - expected[0], axis=-1)
        if self.unit == 'mm':
            distances = 1000 * distances
            near = distances <= self.pck_thr
        else:
            box = np.asarray(true['bboxes'], np.float64)[0]
            side = (box[2:] - box[:2]).max()
            near = distances <= self.pck_thr * side
            if self.unit == 'box':
                distances = 100 * distances / side
        measures = np.full((len(_GROUPS), 3), np.nan)
        groups = [labelled]
        if 'keypoints_occluded' in true:
            hidden = np.asarray(true['keypoints_occluded'])[0] > 0
            groups += [labelled & ~hidden, labelled & hidden]
        for row, group in zip(measures, groups):
            row[:] = group.sum(), distances[group].sum(), near[group].sum()
        return measures

    def compute_metrics(self, results: List[np.ndarray]) -> Dict[str, float]:
        """Means over joints.

        Args:
            results (list[np.ndarray]): One array a person.

        Returns:
            dict[str, float]: Errors in the unit, shares between 0 and 1;
            NaN if no joint is labelled.
        """
        metrics = {}
        for index, group in enumerate(_GROUPS):
            rows = [r[index] for r in results if not math.isnan(r[index, 0])]
            # fsum: the same sum in whatever order ranks delivered
            number, distance, near = (
                math.fsum(row[i] for row in rows) for i in range(3))
            if group and not number:
                continue
            metrics[f'epe{group}'] = distance / number if number else math.nan
            metrics[f'pck_{self.pck_thr:g}{group}'] = (
                near / number if number else math.nan)
        return metrics
