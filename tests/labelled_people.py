# Copyright (c) The mpm_postometro authors. All rights reserved.
"""A few posed bodies before a camera, to write into files of all formats."""
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import torch

from mpm_postometro.bodies import body_io, load_body
from mpm_postometro.bodies.cameras import perspective_project
from mpm_postometro.bodies.skeletons import joint_mapping

SIZE = (200, 160)  # width, height of the pictures


class People(NamedTuple):
    """N people; metres in the camera's frame, pixels, float32."""
    betas: np.ndarray  # (N, 10)
    pose: np.ndarray  # (N, 24, 3), the root first
    transl: np.ndarray  # (N, 3)
    intrinsics: np.ndarray  # (3, 3)
    joints: dict  # skeleton -> (N, K, 3), metres
    points: dict  # skeleton -> (N, K, 2), pixels
    bbox: np.ndarray  # (N, 4) xyxy
    vertices: np.ndarray  # (N, V, 3)


@lru_cache(None)
def body():
    return load_body()


def write_smpl(folder: Path, **sizes) -> str:
    """Bodies in SMPL's layout, with METRO's regressors beside them.

    Args:
        folder (Path): Is made.
        **sizes (float): How large the body of each gender is, to tell them
            apart.

    Returns:
        str: The folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = body_io.read_body(None)
    for gender, size in sizes.items():
        np.savez(
            folder / f'SMPL_{gender.upper()}.npz',
            v_template=size * data.v_template,
            f=data.faces,
            shapedirs=data.shapedirs,
            weights=data.weights,
            J_regressor=data.regressors['smpl24'],
            kintree_table=np.stack([data.parents, np.arange(24)]))
    np.save(folder / 'J_regressor_h36m_correct.npy', data.regressors['h36m17'])
    extra = np.zeros((14, len(data.v_template)))
    extra[range(14), range(0, 1400, 100)] = 1
    np.save(folder / 'J_regressor_extra.npy', extra)
    return str(folder)


def pose_body(betas, pose, transl):
    """Vertices (N, V, 3) and joints of all skeletons of the built-in body."""
    with torch.no_grad():
        values = [torch.from_numpy(x) for x in (betas, pose, transl)]
        out = body()(values[0], values[1][:, 1:], values[1][:, 0], values[2])
        joints = {
            name: body().regress_joints(out.vertices, name).numpy()
            for name in ('smpl24', 'h36m17', 'j14', 'coco17')
        }
    return out.vertices.numpy(), joints


def take(people_by_skeleton, target):
    """Joints of another skeleton; NaN where no regressor has them.

    Args:
        people_by_skeleton (dict): ``People.joints`` or ``.points``.
        target (str): A skeleton.

    Returns:
        np.ndarray: (N, K, 2 or 3)
    """
    found = None
    for source in ('smpl24', 'h36m17', 'coco17', 'j14'):
        points = people_by_skeleton[source]
        order = np.array(joint_mapping(source, target, allow_missing=True))
        if found is None:
            shape = (len(points), len(order), points.shape[-1])
            found = np.full(shape, np.nan, np.float32)
        found[:, order >= 0] = points[:, order[order >= 0]]
    return found


def weighted(points):
    """Points with a weight behind: 0, and zeros, where they are NaN."""
    known = np.isfinite(points).all(-1, keepdims=True)
    return np.concatenate([np.where(known, points, 0), known],
                          -1).astype(np.float32)


def make_people(count=4, seed=0):
    """People who face the camera, more or less, wholly in the picture."""
    rng = np.random.RandomState(seed)
    betas = rng.normal(0, 1, (count, 10)).astype(np.float32)
    pose = rng.normal(0, .15, (count, 24, 3)).astype(np.float32)
    pose[:, 0] = rng.normal(0, .1, (count, 3)) + [np.pi, 0, 0]
    transl = np.stack([
        rng.uniform(-.4, .4, count),
        rng.uniform(.1, .3, count),
        rng.uniform(4, 5, count)
    ], 1).astype(np.float32)
    intrinsics = np.array(
        [[220, 0, SIZE[0] / 2], [0, 220, SIZE[1] / 2], [0, 0, 1]], np.float32)
    vertices, joints = pose_body(betas, pose, transl)
    points = {
        name: project(value, intrinsics)
        for name, value in joints.items()
    }
    outline = project(vertices, intrinsics)
    bbox = np.concatenate([outline.min(1), outline.max(1)], 1)
    return People(betas, pose, transl, intrinsics, joints, points, bbox,
                  vertices)


def project(points, intrinsics):
    """Pixels (..., 2) of points (..., 3)."""
    return perspective_project(
        torch.from_numpy(np.asarray(points, np.float32)),
        torch.from_numpy(np.asarray(intrinsics, np.float32))).numpy()


def draw_people(folder: Path, people: People, names) -> None:
    """A picture of each, with a dot where each vertex is."""
    for name, vertices in zip(names, people.vertices):
        picture = np.full((SIZE[1], SIZE[0], 3), 90, np.uint8)
        for x, y in project(vertices, people.intrinsics).astype(int)[::7]:
            cv2.circle(picture, (int(x), int(y)), 1, (180, 190, 220), -1)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / name), picture)


def assert_projects(item, atol=1e-2):
    """The 3D joints of a sample land on its 2D joints."""
    seen = (item['joints_2d_visible'] > 0) & (item['joints_3d_visible'] > 0)
    assert seen.sum() >= 12
    landed = project(item['joints_3d'], item['intrinsics'])
    np.testing.assert_allclose(
        landed[seen], item['joints_2d'][seen], atol=atol)
