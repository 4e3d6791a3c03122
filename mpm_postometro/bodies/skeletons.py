# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Joint sets: names, trees, left/right swaps, mappings, MMPose metainfo.

A name stands for one place in the body across all skeletons, with the
exceptions of :data:`_OWN_MEANING`. ``jaw`` is Human3.6M's joint 9 ("nose" in
METRO's list), ``head`` its joint 10 and ``head_top`` the LSP crown.
"""
from dataclasses import dataclass
from typing import Dict, List, Tuple, Union

__all__ = [
    'HUMAN_DATA_POSITIONS', 'J14_HIPS', 'Skeleton', 'SKELETONS',
    'joint_mapping', 'metainfo'
]


@dataclass(frozen=True)
class Skeleton:
    """A set of joints.

    Attributes:
        name (str): Key in :data:`SKELETONS`.
        joint_names (tuple[str]): K names; ``left_``/``right_`` mark sides.
        parents (tuple[int]): K parent indices, -1 for the root.
        flip_indices (tuple[int]): K indices of the mirrored joints.
        extra_links (tuple[tuple[int, int]]): Links drawn beside the tree's.
    """

    name: str
    joint_names: Tuple[str, ...]
    parents: Tuple[int, ...]
    flip_indices: Tuple[int, ...]
    extra_links: Tuple[Tuple[int, int], ...] = ()

    @property
    def num_joints(self) -> int:
        """int: K."""
        return len(self.joint_names)

    @property
    def links(self) -> Tuple[Tuple[int, int], ...]:
        """tuple[tuple[int, int]]: (parent, child) pairs, then extra links."""
        tree = tuple((p, k) for k, p in enumerate(self.parents) if p >= 0)
        return tree + self.extra_links

    def index(self, joint_name: str) -> int:
        """Index of a joint.

        Args:
            joint_name (str): One of ``joint_names``.

        Returns:
            int: Its index.

        Raises:
            ValueError: If the skeleton has no such joint.
        """
        if joint_name not in self.joint_names:
            raise ValueError(f"skeleton '{self.name}' has no joint "
                             f"'{joint_name}', only {self.joint_names}")
        return self.joint_names.index(joint_name)


def _mirrored(name: str) -> str:
    if name.startswith('left_'):
        return 'right_' + name[len('left_'):]
    if name.startswith('right_'):
        return 'left_' + name[len('right_'):]
    return name


def _skeleton(name: str, tree: str, extra_links: str = '') -> Skeleton:
    """Build from lines of ``joint parent`` in joint order (``-``: root)."""
    rows = [line.split() for line in tree.strip().splitlines()]
    names = tuple(row[0] for row in rows)
    parents = tuple(-1 if p == '-' else names.index(p) for _, p in rows)
    flips = tuple(names.index(_mirrored(n)) for n in names)
    links = [line.split() for line in extra_links.strip().splitlines()]
    extra = tuple((names.index(a), names.index(b)) for a, b in links)
    return Skeleton(name, names, parents, flips, extra)


_SMPL24 = _skeleton(
    'smpl24', """
    pelvis -
    left_hip pelvis
    right_hip pelvis
    spine1 pelvis
    left_knee left_hip
    right_knee right_hip
    spine2 spine1
    left_ankle left_knee
    right_ankle right_knee
    spine3 spine2
    left_foot left_ankle
    right_foot right_ankle
    neck spine3
    left_collar spine3
    right_collar spine3
    head neck
    left_shoulder left_collar
    right_shoulder right_collar
    left_elbow left_shoulder
    right_elbow right_shoulder
    left_wrist left_elbow
    right_wrist right_elbow
    left_hand left_wrist
    right_hand right_wrist
    """)

# SPIN's and METRO's 24 joints: LSP (0-13), MPII (14, 15), Human3.6M (16-18),
# COCO's face (19-23).
_J24 = _skeleton(
    'j24', """
    right_ankle right_knee
    right_knee right_hip
    right_hip pelvis
    left_hip pelvis
    left_knee left_hip
    left_ankle left_knee
    right_wrist right_elbow
    right_elbow right_shoulder
    right_shoulder thorax
    left_shoulder thorax
    left_elbow left_shoulder
    left_wrist left_elbow
    neck thorax
    head_top head
    pelvis -
    thorax torso
    torso pelvis
    jaw neck
    head jaw
    nose jaw
    left_eye nose
    right_eye nose
    left_ear left_eye
    right_ear right_eye
    """)

_J14 = _skeleton(
    'j14', """
    right_ankle right_knee
    right_knee right_hip
    right_hip neck
    left_hip neck
    left_knee left_hip
    left_ankle left_knee
    right_wrist right_elbow
    right_elbow right_shoulder
    right_shoulder neck
    left_shoulder neck
    left_elbow left_shoulder
    left_wrist left_elbow
    neck -
    head neck
    """, 'right_hip left_hip')

_H36M17 = _skeleton(
    'h36m17', """
    pelvis -
    right_hip pelvis
    right_knee right_hip
    right_ankle right_knee
    left_hip pelvis
    left_knee left_hip
    left_ankle left_knee
    torso pelvis
    neck torso
    jaw neck
    head jaw
    left_shoulder neck
    left_elbow left_shoulder
    left_wrist left_elbow
    right_shoulder neck
    right_elbow right_shoulder
    right_wrist right_elbow
    """)

# Human3.6M without joint 9, as some 2D detectors and MPM use it.
_H36M16 = _skeleton(
    'h36m16', """
    pelvis -
    right_hip pelvis
    right_knee right_hip
    right_ankle right_knee
    left_hip pelvis
    left_knee left_hip
    left_ankle left_knee
    torso pelvis
    neck torso
    head neck
    left_shoulder neck
    left_elbow left_shoulder
    left_wrist left_elbow
    right_shoulder neck
    right_elbow right_shoulder
    right_wrist right_elbow
    """)

_COCO17 = _skeleton(
    'coco17', """
    nose -
    left_eye nose
    right_eye nose
    left_ear left_eye
    right_ear right_eye
    left_shoulder left_ear
    right_shoulder right_ear
    left_elbow left_shoulder
    right_elbow right_shoulder
    left_wrist left_elbow
    right_wrist right_elbow
    left_hip left_shoulder
    right_hip right_shoulder
    left_knee left_hip
    right_knee right_hip
    left_ankle left_knee
    right_ankle right_knee
    """, """
    left_eye right_eye
    left_shoulder right_shoulder
    left_hip right_hip
    """)

# OpenPose's COCO model; its neck is the middle of the shoulders.
_OPENPOSE18 = _skeleton(
    'openpose18', """
    nose neck
    neck -
    right_shoulder neck
    right_elbow right_shoulder
    right_wrist right_elbow
    left_shoulder neck
    left_elbow left_shoulder
    left_wrist left_elbow
    right_hip neck
    right_knee right_hip
    right_ankle right_knee
    left_hip neck
    left_knee left_hip
    left_ankle left_knee
    right_eye nose
    left_eye nose
    right_ear right_eye
    left_ear left_eye
    """)

# OpenPose's BODY_25; its pelvis is the middle of the hips.
_OPENPOSE25 = _skeleton(
    'openpose25', """
    nose neck
    neck pelvis
    right_shoulder neck
    right_elbow right_shoulder
    right_wrist right_elbow
    left_shoulder neck
    left_elbow left_shoulder
    left_wrist left_elbow
    pelvis -
    right_hip pelvis
    right_knee right_hip
    right_ankle right_knee
    left_hip pelvis
    left_knee left_hip
    left_ankle left_knee
    right_eye nose
    left_eye nose
    right_ear right_eye
    left_ear left_eye
    left_big_toe left_ankle
    left_small_toe left_big_toe
    left_heel left_ankle
    right_big_toe right_ankle
    right_small_toe right_big_toe
    right_heel right_ankle
    """)

SKELETONS: Dict[str, Skeleton] = {
    s.name: s
    for s in (_SMPL24, _J24, _J14, _H36M17, _H36M16, _COCO17, _OPENPOSE18,
              _OPENPOSE25)
}

#: tuple[int]: The joints of J14 whose mean METRO takes for the pelvis.
J14_HIPS = (_J14.index('right_hip'), _J14.index('left_hip'))

# Joints of SMPL's tree that share a name but not the place: its pelvis lies
# above the hip line, its neck and head are the joints below the neck's
# middle and at the base of the skull. OpenPose's neck and pelvis are middles.
_OWN_MEANING = {('smpl24', 'pelvis'), ('smpl24', 'neck'), ('smpl24', 'head'),
                ('openpose18', 'neck'), ('openpose25', 'neck'),
                ('openpose25', 'pelvis')}

#: dict[str, tuple[int]]: Where the 190 joints of MMHuman3D's HumanData have
#: those of other skeletons. 'h36m17' are Human3.6M's own labels, the joints
#: of 'j24' those that SPIN regresses.
HUMAN_DATA_POSITIONS = dict(
    j24=(8, 5, 144, 145, 4, 7, 21, 19, 17, 16, 18, 20, *range(146, 153), 55,
         57, 56, 59, 58),
    h36m17=(148, 144, 5, 8, 145, 4, 7, 150, 146, 185, 186, 16, 18, 20, 17, 19,
            21),
    openpose25=tuple(range(153, 178)),
    smpl24=(*range(22), 188, 189))

# COCO's keypoint constants (cocodataset.org, keypoint evaluation).
_SIGMAS = {
    'nose': .026, 'eye': .025, 'ear': .035, 'shoulder': .079, 'elbow': .072,
    'wrist': .062, 'hip': .107, 'knee': .087, 'ankle': .089
}  # yapf: disable
_HEAVY_JOINTS = {'elbow': 1.2, 'wrist': 1.5, 'knee': 1.2, 'ankle': 1.5}
_LOWER = ('hip', 'knee', 'ankle', 'foot', 'pelvis')
_COLORS = {'left': [0, 255, 0], 'right': [255, 128, 0], '': [51, 153, 255]}


def _get(skeleton: Union[str, Skeleton]) -> Skeleton:
    if isinstance(skeleton, Skeleton):
        return skeleton
    if skeleton not in SKELETONS:
        raise ValueError(f"unknown skeleton '{skeleton}', expected one of "
                         f'{sorted(SKELETONS)}')
    return SKELETONS[skeleton]


def _place(skeleton: Skeleton, joint_name: str) -> str:
    if (skeleton.name, joint_name) in _OWN_MEANING:
        return f'{skeleton.name}/{joint_name}'
    return joint_name


def joint_mapping(source: Union[str, Skeleton],
                  target: Union[str, Skeleton],
                  allow_missing: bool = False) -> List[int]:
    """Where each joint of ``target`` is found in ``source``.

    ``joints[..., joint_mapping('j24', 'j14'), :]`` turns J24 into J14.

    Args:
        source (str | Skeleton): What there is.
        target (str | Skeleton): What is wanted.
        allow_missing (bool): Give -1 for joints that the source lacks, in
            place of an error.

    Returns:
        list[int]: One source index for each target joint.

    Raises:
        ValueError: If the source lacks a joint and ``allow_missing`` is
            False.
    """
    source, target = _get(source), _get(target)
    places = {
        _place(source, name): index
        for index, name in enumerate(source.joint_names)
    }
    mapping = [places.get(_place(target, n), -1) for n in target.joint_names]
    missing = [n for n, i in zip(target.joint_names, mapping) if i < 0]
    if missing and not allow_missing:
        raise ValueError(f"skeleton '{source.name}' lacks {missing} of "
                         f"'{target.name}'; allow_missing=True marks them -1")
    return mapping


def _part(joint_name: str) -> str:
    return joint_name.split('_', 1)[1] if _side(joint_name) else joint_name


def _side(joint_name: str) -> str:
    side = joint_name.split('_', 1)[0]
    return side if side in ('left', 'right') else ''


def metainfo(name: Union[str, Skeleton]) -> dict:
    """The raw metainfo dict that MMPose's data sets parse.

    Args:
        name (str | Skeleton): A skeleton. Only 'coco17' has the keypoint
            constants that OKS needs; the others carry an empty ``sigmas``.

    Returns:
        dict: ``dataset_name``, ``keypoint_info``, ``skeleton_info``,
        ``joint_weights`` and ``sigmas``.
    """
    skeleton = _get(name)
    names = skeleton.joint_names
    keypoint_info = {}
    for index, joint in enumerate(names):
        swap = names[skeleton.flip_indices[index]]
        keypoint_info[index] = dict(
            name=joint,
            id=index,
            color=_COLORS[_side(joint)],
            type='lower' if _part(joint) in _LOWER else 'upper',
            swap='' if swap == joint else swap)
    skeleton_info = {}
    for index, (start, end) in enumerate(skeleton.links):
        sides = {_side(names[start]), _side(names[end])} - {''}
        side = sides.pop() if len(sides) == 1 else ''
        skeleton_info[index] = dict(
            link=(names[start], names[end]), id=index, color=_COLORS[side])
    coco = skeleton.name == 'coco17'
    return dict(
        dataset_name='coco' if coco else skeleton.name,
        keypoint_info=keypoint_info,
        skeleton_info=skeleton_info,
        joint_weights=[
            _HEAVY_JOINTS.get(_part(n), 1.) if coco else 1. for n in names
        ],
        sigmas=[_SIGMAS[_part(n)] for n in names] if coco else [])
