# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Keypoints as they are, for heads that regress pixels."""
from typing import Optional, Tuple

import numpy as np
from mmpose.codecs.base import BaseKeypointCodec
from mmpose.registry import KEYPOINT_CODECS


@KEYPOINT_CODECS.register_module()
class PixelLabel(BaseKeypointCodec):
    """Label keypoints by their pixels in the crop, for ``PCTHead``.

    - Number of persons: N
    - Number of keypoints: K
    - Coordinates of a keypoint: C

    Encoded:

        - keypoint_labels (np.ndarray): Keypoints ``(N, K, C)``, unscaled
        - keypoint_weights (np.ndarray): ``(N, K)``, 0 for those that are
          not visible, or hidden because they are outside the crop

    Args:
        input_size (tuple[int, int]): Width and height of the crop, in
            pixels.
        outside (str): ``'hide'`` keypoints outside the crop, as MMPose's
            codecs do, or ``'keep'`` them with their true pixels, as PCT
            does. Defaults to ``'hide'``.

    Raises:
        ValueError: If ``outside`` is neither.
    """

    label_mapping_table = dict(
        keypoint_labels='keypoint_labels', keypoint_weights='keypoint_weights')

    def __init__(self,
                 input_size: Tuple[int, int],
                 outside: str = 'hide') -> None:
        super().__init__()
        if outside not in ('hide', 'keep'):
            raise ValueError(f"outside must be 'hide' or 'keep', got "
                             f'{outside!r}')
        self.input_size = tuple(input_size)
        self.outside = outside

    def encode(self,
               keypoints: np.ndarray,
               keypoints_visible: Optional[np.ndarray] = None) -> dict:
        """See the class.

        Args:
            keypoints (np.ndarray): Crop pixels ``(N, K, C)``, x and y first.
            keypoints_visible (np.ndarray, optional): ``(N, K)``. Defaults to
                None, all visible.

        Returns:
            dict: See the class; float32.
        """
        if keypoints_visible is None:
            keypoints_visible = np.ones(keypoints.shape[:2])
        xy = keypoints[..., :2]
        if self.outside == 'keep':
            known = np.isfinite(xy).all(-1)
        else:
            limit = np.asarray(self.input_size) - 0.5
            known = ((xy >= -0.5) & (xy < limit)).all(-1)
        return dict(
            keypoint_labels=keypoints.astype(np.float32),
            keypoint_weights=(keypoints_visible * known).astype(np.float32))

    def decode(self, encoded: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
        """Keypoints as they are ``(N, K, C)``, and scores of 1 ``(N,
        K)``."""
        return encoded, np.ones(encoded.shape[:2], np.float32)
