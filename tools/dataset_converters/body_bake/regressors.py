# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Sparse, convex, left/right symmetric joint regressors."""
from typing import Dict, Sequence

import numpy as np
from scipy.optimize import nnls

from .makehuman import MIRROR_JOINTS

# Candidate vertices around a joint in the rest pose and under any pose, and a
# pull (square metres) towards equal weights.
NUM_REST_CANDIDATES = 600
NUM_CANDIDATES = 400
RIDGE = 2e-5
# Patches of the surface that stand for a keypoint.
PATCH = 6

LEFT_LIMBS = dict(hip=1, knee=4, ankle=7, shoulder=16, elbow=18, wrist=20)


def fit_row(samples: np.ndarray, targets: np.ndarray, candidates: np.ndarray,
            partners: np.ndarray) -> np.ndarray:
    """Non-negative least squares on vertices or on mirror pairs.

    Args:
        samples (np.ndarray): Vertices of many bodies, shaped (S, V, 3).
        targets (np.ndarray): The joint of each body, shaped (S, 3).
        candidates (np.ndarray): Vertices that may be used, shaped (C,).
        partners (np.ndarray): Vertices that share each candidate's weight
            equally, shaped (C,): mirror partners for a joint of the middle,
            the candidates themselves for a joint of one side.

    Returns:
        np.ndarray: Weights, shaped (V,), float64, summing to one.
    """
    columns = 0.5 * (samples[:, candidates] + samples[:, partners])
    columns = (columns - targets[:, None]).transpose(1, 0, 2)
    columns = columns.reshape(len(candidates), -1)  # (C, 3S)
    gram = columns @ columns.T / len(samples)
    gram += RIDGE / len(candidates) * np.eye(len(candidates))
    factor = np.linalg.cholesky(gram).T
    # One row with a large weight makes the weights sum to one.
    scale = 1e3 * np.sqrt(np.trace(gram) / len(gram))
    system = np.concatenate([factor, np.full((1, len(gram)), scale)])
    goal = np.append(np.zeros(len(gram)), scale)
    solution, _ = nnls(system, goal, maxiter=50 * len(gram))
    solution[solution < 1e-4] = 0.
    weights = np.zeros(samples.shape[1])
    np.add.at(weights, candidates, 0.5 * solution / solution.sum())
    np.add.at(weights, partners, 0.5 * solution / solution.sum())
    return weights


def _nearest(vertices: np.ndarray, point: np.ndarray, count: int,
             allowed: np.ndarray) -> np.ndarray:
    index = np.nonzero(allowed)[0]
    distance = np.linalg.norm(vertices[index] - point, axis=1)
    return index[np.argsort(distance, kind='stable')[:count]]


def _fit_joint(joint: int,
               samples: np.ndarray,
               targets: np.ndarray,
               template: np.ndarray,
               rest: np.ndarray,
               mirror: np.ndarray,
               count: int = NUM_CANDIDATES) -> np.ndarray:
    """Row (V,) of a joint of the middle or of the left side."""
    middle = MIRROR_JOINTS[joint] == joint
    side = template[:, 0] > (-1e-9 if middle else 1e-9)
    near = _nearest(template, rest[joint], count, side)
    return fit_row(samples, targets[:, joint], near,
                   mirror[near] if middle else near)


def fit_smpl(samples: np.ndarray, joints: np.ndarray, template: np.ndarray,
             rest: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """Regressor of SMPL's 24 joints from bodies in the rest pose.

    Args:
        samples (np.ndarray): Rest bodies, shaped (S, V, 3), metres.
        joints (np.ndarray): Their joints, shaped (S, 24, 3).
        template (np.ndarray): Mean body, shaped (V, 3).
        rest (np.ndarray): Its joints, shaped (24, 3).
        mirror (np.ndarray): Mirror partner of each vertex, shaped (V,).

    Returns:
        np.ndarray: Regressor, shaped (24, V).
    """
    rows = np.zeros((len(rest), len(template)))
    for joint, partner in enumerate(MIRROR_JOINTS):
        if partner >= joint:  # the left one of a pair comes first
            rows[joint] = _fit_joint(joint, samples, joints, template, rest,
                                     mirror, NUM_REST_CANDIDATES)
            rows[partner] = rows[joint][mirror] if partner != joint else rows[
                joint]
    return rows


def _patch(template: np.ndarray, mirror: np.ndarray, points: Sequence[int],
           allowed: np.ndarray, middle: bool) -> np.ndarray:
    centre = template[points].mean(axis=0)
    row = np.zeros(len(template))
    row[_nearest(template, centre, PATCH, allowed)] = 1 / PATCH
    if middle:
        row = 0.5 * (row + row[mirror])
    return row / row.sum()


def fit_keypoints(samples: np.ndarray, joints: np.ndarray,
                  template: np.ndarray, rest: np.ndarray, mirror: np.ndarray,
                  landmarks: Dict[str, Sequence[int]],
                  weights: np.ndarray) -> Dict[str, np.ndarray]:
    """Regressors of the H36M and COCO keypoints from posed bodies.

    Args:
        samples (np.ndarray): Posed bodies, shaped (S, V, 3), metres.
        joints (np.ndarray): Their posed joints, shaped (S, 24, 3).
        template (np.ndarray): Mean body, shaped (V, 3).
        rest (np.ndarray): Its joints, shaped (24, 3).
        mirror (np.ndarray): Mirror partner of each vertex, shaped (V,).
        landmarks (dict): Vertices of ``nose``, ``head_top``, ``left_eye``
            and ``left_ear``.
        weights (np.ndarray): Skinning weights, shaped (V, 24).

    Returns:
        dict: ``h36m`` (17, V) and ``coco`` (17, V).
    """
    left = {
        name: _fit_joint(joint, samples, joints, template, rest, mirror)
        for name, joint in LEFT_LIMBS.items()
    }
    right = {name: row[mirror] for name, row in left.items()}
    torso, neck = (
        _fit_joint(j, samples, joints, template, rest, mirror)
        for j in (6, 12))
    pelvis = 0.5 * (left['hip'] + right['hip'])
    head = weights[:, 15] > 0.9

    def patch(name: str, middle: bool) -> np.ndarray:
        return _patch(template, mirror, landmarks[name], head, middle)

    nose, top = patch('nose', True), patch('head_top', True)
    eye, ear = patch('left_eye', False), patch('left_ear', False)
    h36m = [
        pelvis, right['hip'], right['knee'], right['ankle'], left['hip'],
        left['knee'], left['ankle'], torso, neck, nose, top, left['shoulder'],
        left['elbow'], left['wrist'], right['shoulder'], right['elbow'],
        right['wrist']
    ]
    coco = [nose, eye, eye[mirror], ear, ear[mirror]]
    for name in ('shoulder', 'elbow', 'wrist', 'hip', 'knee', 'ankle'):
        coco += [left[name], right[name]]
    return dict(h36m=np.stack(h36m), coco=np.stack(coco))
