# Copyright (c) The mpm_postometro authors. All rights reserved.
"""How much of a codebook a data set uses."""
import math
from typing import Any, Dict, List, Sequence

import numpy as np
from mmengine.evaluator import BaseMetric
from mmpose.registry import METRICS

__all__ = ['CodebookMetric']


@METRICS.register_module()
class CodebookMetric(BaseMetric):
    """Usage of the codebook over a whole data set.

    What ``TokenizerEstimator`` logs in training counts the codes of a batch.
    Reported are ``usage``, the fraction of codes that were chosen at least
    once, and ``perplexity``, ``exp`` of the entropy of their counts. Reads
    ``codes`` (1, N) from ``pred_instances``.

    Args:
        num_codes (int): Size of the codebook.
        **kwargs: ``collect_device``, ``prefix`` and ``collect_dir``, as in
            ``BaseMetric``.
    """

    default_prefix = 'codebook'

    def __init__(self, num_codes: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.num_codes = num_codes

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Keep the codes of a batch.

        Raises:
            KeyError: If a prediction has no codes.
            ValueError: If a code is not below ``num_codes``.
        """
        for sample in data_samples:
            codes = np.asarray(sample['pred_instances']['codes']).ravel()
            if codes.max() >= self.num_codes:
                raise ValueError(
                    f'CodebookMetric has num_codes={self.num_codes}, but '
                    f'sample {sample.get("id")} has code {codes.max()}')
            self.results.append(codes)

    def compute_metrics(self, results: List[np.ndarray]) -> Dict[str, float]:
        """Usage and perplexity of all codes of all ranks.

        Returns:
            dict[str, float]: See the class; NaN if nothing was predicted.
        """
        if not results:
            return dict(usage=math.nan, perplexity=math.nan)
        counts = np.bincount(np.concatenate(results), minlength=self.num_codes)
        share = counts[counts > 0] / counts.sum()
        return dict(
            usage=float((counts > 0).mean()),
            perplexity=float(np.exp(-(share * np.log(share)).sum())))
