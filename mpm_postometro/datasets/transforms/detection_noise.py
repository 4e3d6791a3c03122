# Copyright (c) The mpm_postometro authors. All rights reserved.
"""True 2D keypoints as a detector would have found them."""
from typing import Dict

import numpy as np
from mmcv.transforms import BaseTransform
from mmpose.registry import TRANSFORMS
from scipy.signal import lfilter

from .clip_rng import clip_rng

__all__ = ['DetectionNoise']

# A keypoint this far off, as part of the person's size, scores exp(-1/2).
_SCORE_SCALE = 0.05


@TRANSFORMS.register_module()
class DetectionNoise(BaseTransform):
    """Errors of a 2D detector: jitter from frame to frame, drift that lasts,
    and joints that are lost for a while.

    Lengths are parts of the person's size, the longer side of the box around
    the clip's keypoints, in the middle of all frames. A lost joint is found
    at some other place for some frames. The scores say how far off a
    keypoint is, about. Frames that are repeated at the ends of a sequence
    have the same errors.

    Each clip has errors of its own, and its frames are what durations count.
    Two clips that share a frame of the video disagree about it, so that the
    velocity error of target frames says more about this noise than about the
    network.

    Required Keys:

        - keypoints_2d (T, J, 2)
        - frame_indices (T, )
        - has_2d
        - item_key

    Modified Keys:

        - keypoints_2d

    Added Keys:

        - keypoints_2d_scores (T, J)

    Args:
        jitter (float): Standard deviation, in x and in y, of what is new in
            each frame. Defaults to 0.006.
        drift (float): Standard deviation of what lasts. Defaults to 0.008.
        drift_frames (float): Frames in which the drift falls to 1/e.
            Defaults to 10.
        miss_rate (float): Part of the joints that is lost. Defaults to
            0.02.
        miss_frames (float): Frames that a joint is lost for, on average.
            Defaults to 8.
        miss_size (float): Standard deviation of the place of a lost joint.
            Defaults to 0.15.
        seed (int): Another seed, other errors. Defaults to 0.

    Raises:
        ValueError: If a setting is outside its range.
    """

    def __init__(self,
                 jitter: float = 0.006,
                 drift: float = 0.008,
                 drift_frames: float = 10.,
                 miss_rate: float = 0.02,
                 miss_frames: float = 8.,
                 miss_size: float = 0.15,
                 seed: int = 0) -> None:
        lengths = dict(jitter=jitter, drift=drift, miss_size=miss_size)
        for key, value in lengths.items():
            if value < 0:
                raise ValueError(f'{key} must not be negative, got {value}')
        for key, value in (('drift_frames', drift_frames), ('miss_frames',
                                                            miss_frames)):
            if value < 1:
                raise ValueError(f'{key} must be at least 1, got {value}')
        if not 0 <= miss_rate < 1:
            raise ValueError(f'miss_rate must be in [0, 1), got {miss_rate}')
        self.jitter = jitter
        self.drift = drift
        self.drift_frames = drift_frames
        self.miss_rate = miss_rate
        self.miss_frames = miss_frames
        self.miss_size = miss_size
        self.seed = seed

    def transform(self, results: Dict) -> Dict:
        """See the class."""
        if not results['has_2d']:
            return results
        keypoints = results['keypoints_2d']
        rng = clip_rng(results, self.seed, type(self).__name__)
        size = np.median(np.ptp(keypoints, axis=1).max(-1))
        errors = self._errors(rng, *keypoints.shape[:2])
        _, first, again = np.unique(
            results['frame_indices'], return_index=True, return_inverse=True)
        errors = errors[first][again]
        results['keypoints_2d'] = keypoints + (errors * size).astype(
            keypoints.dtype)
        far = (errors**2).sum(-1) / _SCORE_SCALE**2
        scores = np.exp(-far / 2) * rng.uniform(0.9, 1., far.shape)
        results['keypoints_2d_scores'] = scores[first][again].astype(
            np.float32)
        return results

    def _errors(self, rng: np.random.Generator, num_frames: int,
                num_joints: int) -> np.ndarray:
        """(T, J, 2), parts of the person's size."""
        shape = (num_frames, num_joints, 2)
        white = rng.standard_normal((2, *shape))
        # stationary from the first frame on
        keep = np.exp(-1 / self.drift_frames)
        drift = np.sqrt(1 - keep**2) * white[0]
        drift[0] = white[0, 0]
        drift = lfilter([1.], [1., -keep], drift, axis=0)
        errors = self.drift * drift + self.jitter * white[1]
        # two states, seen and lost, with the wanted share and length
        end = 1 / self.miss_frames
        begin = end * self.miss_rate / (1 - self.miss_rate)
        starts = rng.random((num_frames, num_joints)) < begin
        starts[0] = rng.random(num_joints) < self.miss_rate
        lost_until = np.full(num_joints, -1)
        for t, j in np.argwhere(starts):
            if t > lost_until[j]:
                lost_until[j] = t + rng.geometric(end)
                errors[t:lost_until[j], j] += rng.normal(0, self.miss_size, 2)
        return errors

    def __repr__(self) -> str:
        return (f'{type(self).__name__}(jitter={self.jitter}, '
                f'drift={self.drift}, drift_frames={self.drift_frames}, '
                f'miss_rate={self.miss_rate}, '
                f'miss_frames={self.miss_frames}, '
                f'miss_size={self.miss_size}, seed={self.seed})')
