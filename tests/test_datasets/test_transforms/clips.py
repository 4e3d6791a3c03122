# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Clips as data sets of sequences give them."""
import numpy as np

from mpm_postometro.bodies.skeletons import SKELETONS


def make_clip(num_frames=9, skeleton='h36m17', key=(0, 0, 0), seed=0):
    """A clip with everything, in pixels and metres."""
    skeleton = SKELETONS[skeleton]
    rng = np.random.default_rng(seed)
    shape = (num_frames, skeleton.num_joints)
    return dict(
        keypoints_2d=rng.uniform(0, 1000, (*shape, 2)).astype(np.float32),
        keypoints_2d_scores=rng.uniform(0, 1, shape).astype(np.float32),
        keypoints_3d=rng.normal(0, 1, (*shape, 3)).astype(np.float32),
        camera=np.array([1100, 1150, 510, 505, -.2, .25, .01, 1e-3, 2e-3],
                        np.float32),
        has_2d=True,
        has_3d=True,
        image_size=(1000, 1002),
        item_key=key,
        target_index=num_frames // 2,
        frame_indices=np.arange(num_frames),
        flip_indices=list(skeleton.flip_indices),
        sequence='S1/Walking/0',
        subject='S1',
        action='Walking')
