# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Coordinates of clips as the lifting networks see them, and their mirror
images."""
import re
from typing import Dict

import numpy as np
from mmcv.transforms import BaseTransform
from mmpose.registry import TRANSFORMS

from .clip_rng import clip_rng

__all__ = ['FlipSequence', 'NormalizeScreen', 'RootRelative']

_CX, _P1 = 2, 7  # in the camera's vector
_OTHER = dict(left='right', right='left')


@TRANSFORMS.register_module()
class NormalizeScreen(BaseTransform):
    """Pixels to units of half the picture's width, ``p / w * 2 - [1, h / w]``.

    x runs from -1 to 1 and y keeps the aspect ratio. The camera's focal
    lengths and principal point move along; its distortion has no unit.

    Required Keys:

        - keypoints_2d (T, J, 2)
        - image_size (w, h)
        - has_2d
        - camera (9, ) (optional)

    Modified Keys:

        - keypoints_2d
        - camera

    Added Keys:

        - screen_normalized
    """

    def transform(self, results: Dict) -> Dict:
        """See the class."""
        width, height = results['image_size']
        middle = np.array([1, height / width], np.float32)
        scale = np.float32(2 / width)
        if results['has_2d']:
            results['keypoints_2d'] = results['keypoints_2d'] * scale - middle
        camera = results.get('camera')
        if camera is not None and camera.any():
            camera = camera.copy()
            camera[:4] *= scale
            camera[2:4] -= middle
            results['camera'] = camera
        results['screen_normalized'] = True
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'


@TRANSFORMS.register_module()
class RootRelative(BaseTransform):
    """3D joints about the root joint, which comes first.

    Required Keys:

        - keypoints_3d (T, J, 3), the camera's frame, metres

    Modified Keys:

        - keypoints_3d, about the root, whose own row is 0

    Added Keys:

        - root_3d (T, 3), where it was
    """

    def transform(self, results: Dict) -> Dict:
        """See the class."""
        joints = results['keypoints_3d']
        results['root_3d'] = joints[:, 0].copy()
        results['keypoints_3d'] = joints - joints[:, :1]
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}()'


@TRANSFORMS.register_module()
class FlipSequence(BaseTransform):
    """Mirror a clip, left to right, as a whole.

    x is negated and left and right joints change places, in masks and
    scores too. The camera that sees the mirrored clip has its principal
    point and its first tangential coefficient negated in x.

    Required Keys:

        - keypoints_2d (T, J, 2), as :class:`NormalizeScreen` makes it
        - keypoints_3d (T, J, 3)
        - flip_indices
        - item_key
        - root_3d (T, 3), camera (9, ), keypoints_2d_scores (T, J),
          joint_mask_2d, joint_mask_3d (T, J), mask_name (optional)

    Modified Keys: all of these but flip_indices and item_key.

    Added Keys:

        - flip

    Args:
        prob (float): Probability of a flip. Defaults to 0.5.
        seed (int): Another seed, other clips are flipped. Defaults to 0.
    """

    def __init__(self, prob: float = 0.5, seed: int = 0) -> None:
        if not 0 <= prob <= 1:
            raise ValueError(f'prob must be in [0, 1], got {prob}')
        self.prob = prob
        self.seed = seed

    def transform(self, results: Dict) -> Dict:
        """See the class.

        Raises:
            ValueError: If the 2D keypoints are pixels.
        """
        if results['has_2d'] and not results.get('screen_normalized'):
            raise ValueError('FlipSequence mirrors about x = 0: '
                             'NormalizeScreen comes before it')
        rng = clip_rng(results, self.seed, type(self).__name__)
        results['flip'] = bool(rng.random() < self.prob)
        if not results['flip']:
            return results
        order = list(results['flip_indices'])
        for key in ('keypoints_2d', 'keypoints_3d', 'keypoints_2d_scores',
                    'joint_mask_2d', 'joint_mask_3d'):
            if results.get(key) is not None:
                results[key] = results[key][:, order]
        if results.get('mask_name'):
            results['mask_name'] = re.sub('left|right',
                                          lambda side: _OTHER[side.group()],
                                          results['mask_name'])
        for key in ('keypoints_2d', 'keypoints_3d', 'root_3d', 'camera'):
            if results.get(key) is None:
                continue
            if key in ('root_3d', 'camera'):
                results[key] = results[key].copy()
            columns = [_CX, _P1] if key == 'camera' else 0
            results[key][..., columns] *= -1
        return results

    def __repr__(self) -> str:
        return f'{type(self).__name__}(prob={self.prob}, seed={self.seed})'
