# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Small files in the formats of data sets of pose sequences."""
from pathlib import Path

import numpy as np

from mpm_postometro.datasets.body.virtual_camera import h36m_cameras

FRAMES = 6


def _poses(*shape: int) -> np.ndarray:
    """People of about a metre."""
    return np.random.default_rng(0).normal(0, .3, shape).astype(np.float32)


def write_h36m(root: Path) -> None:
    """The files of VideoPose3D, one action of each subject."""
    root.mkdir(parents=True)
    world = _poses(FRAMES, 32, 3) + np.float32([0, 0, 1])
    moving = [0, 1, 2, 3, 6, 7, 8, 12, 13, 14, 15, 17, 18, 19, 25, 26, 27]
    positions = {s: {'Walking 1': world} for s in h36m_cameras()}
    keypoints = {
        subject: {
            'Walking 1':
            [view.project(view.to_camera(world[:, moving])) for view in views]
        }
        for subject, views in h36m_cameras().items()
    }
    np.savez(root / 'data_3d_h36m.npz', positions_3d=positions)
    for kind in ('cpn_ft_h36m_dbb', 'gt'):
        np.savez(
            root / f'data_2d_h36m_{kind}.npz',
            positions_2d=keypoints,
            metadata=dict(
                layout_name='h36m',
                num_joints=17,
                keypoints_symmetry=[[4, 5, 6], [1, 2, 3]]))


def write_3dhp(root: Path) -> None:
    """The files of P-STMO, one sequence each."""
    root.mkdir(parents=True)
    person = dict(
        data_3d=1000 * _poses(FRAMES, 17, 3),
        data_2d=1000 + 300 * _poses(FRAMES, 17, 2))
    np.savez(root / 'data_train_3dhp.npz', data={'S1 Seq1': [{'0': person}]})
    np.savez(
        root / 'data_test_3dhp.npz',
        data=dict(TS1=dict(**person, valid=np.ones(FRAMES))))


def write_amass(root: Path) -> None:
    """The file of MPM, one sequence."""
    root.mkdir(parents=True)
    poses = dict(
        pose2d=_poses(FRAMES, 16, 2),
        pose3d=_poses(FRAMES, 16, 3),
        length=FRAMES)
    np.savez(root / 'amass.npz', poses=dict(walk=poses))


def write_mocap(root: Path) -> None:
    """Motion capture of a few frames, once as each part of the data set."""
    root.mkdir(parents=True)
    for split in ('train', 'val', 'test'):
        np.savez(
            root / f'cmu_mocap_{split}.npz',
            joints_3d=_poses(40, 17, 3),
            clip_start=np.array([0]),
            clip_length=np.array([40]),
            clip_name=np.array(['01_01']),
            clip_subject=np.array(['01']),
            clip_action=np.array(['walk']))
