# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Biovision hierarchies (.bvh), of the rigs that people use."""
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, Optional, Tuple, Union

import numpy as np
from scipy.spatial.transform import Rotation

from mpm_postometro.bodies.skeletons import SKELETONS
from .motion import Motion, frame_step, to_z_up

__all__ = ['read_bvh']

_H36M = SKELETONS['h36m17']
_END = ' end'  # of the name of an end site
# Metres in a unit: m, cm, mm, inch, CMU's unit.
_UNITS = (1., 0.01, 0.001, 0.0254, 0.0254 / 0.45)
_LEG_LENGTH = (0.55, 1.2)  # hip to ankle, metres
# Joints by rig. The torso's is looked for on the way from the root to the
# neck, the pelvis is between the hips. Several: the middle of them.
_RIGS: Dict[str, Dict[str, str]] = {
    'Mixamo and others': dict(
        hip='LeftUpLeg', knee='LeftLeg', ankle='LeftFoot', neck='Neck',
        jaw='Head', head='Head' + _END, shoulder='LeftArm',
        elbow='LeftForeArm', wrist='LeftHand'),
    '3ds Max': dict(
        hip='LeftHip', knee='LeftKnee', ankle='LeftAnkle', neck='lowerneck',
        jaw='Head', head='Head' + _END, shoulder='LeftShoulder',
        elbow='LeftElbow', wrist='LeftWrist'),
    'Daz': dict(
        hip='lThigh', knee='lShin', ankle='lFoot', neck='neck', jaw='head',
        head='leftEye,rightEye', shoulder='lShldr', elbow='lForeArm',
        wrist='lHand'),
    'iClone': dict(
        hip='CC_Base_L_Thigh', knee='CC_Base_L_Calf', ankle='CC_Base_L_Foot',
        neck='CC_Base_NeckTwist01', jaw='CC_Base_Head',
        head='CC_Base_L_Eye,CC_Base_R_Eye', shoulder='CC_Base_L_Upperarm',
        elbow='CC_Base_L_Forearm', wrist='CC_Base_L_Hand')
}  # yapf: disable
_SIDES = (('Left', 'Right'), ('CC_Base_L_', 'CC_Base_R_'), ('l', 'r'))
_PAIRED = ('hip', 'knee', 'ankle', 'shoulder', 'elbow', 'wrist')


@dataclass
class _Node:
    """A joint or end site; lengths in the file's unit."""

    parent: int
    offset: np.ndarray = field(default_factory=lambda: np.zeros(3))
    channels: Tuple[str, ...] = ()


def read_bvh(path: Union[str, Path],
             fps: Optional[float] = None,
             metres_per_unit: Optional[float] = None,
             up: Optional[str] = None) -> Motion:
    """Read a BVH file of a rig that we know.

    Args:
        path (str | Path): The file.
        fps (float, optional): Wanted frames a second. Defaults to all.
        metres_per_unit (float, optional): Defaults to the one of metres,
            centimetres, millimetres, inches and CMU's unit that makes the
            legs those of a person.
        up (str, optional): 'y' or 'z'. Defaults to the one along which the
            head is above the feet, in the middle of all frames.

    Returns:
        Motion: Joints alone: rigs have rest poses of their own.

    Raises:
        ValueError: If the file cannot be read or has the joints of a rig
            that we do not know.
    """
    path = Path(path)
    nodes, values, frame_time = _read(path)
    step = frame_step(str(path), 1 / frame_time, fps)
    joints = _joint_names(path, nodes)
    positions = _positions(nodes, values[::step])
    points = np.stack([np.mean([positions[n] for n in x], 0) for x in joints],
                      1)
    points = points * (metres_per_unit or _unit(path, points))
    if (up or _up(path, points)) == 'y':
        points = to_z_up(points)
    return Motion(1 / frame_time / step, points.astype(np.float32))


def _read(path: Path) -> Tuple[Dict[str, _Node], np.ndarray, float]:
    """Nodes, parents first; channel values (N, C); seconds a frame."""
    if not path.is_file():
        raise FileNotFoundError(f'{path} does not exist')
    head, found, tail = path.read_text(encoding='latin1').partition('MOTION')
    words = head.split()
    if not found or words[:1] != ['HIERARCHY']:
        raise ValueError(f'{path} is no BVH file: it has no HIERARCHY and '
                         'MOTION')
    nodes = _read_hierarchy(path, words[1:])
    words = tail.split()
    try:
        if words[0] != 'Frames:' or words[2:4] != ['Frame', 'Time:']:
            raise IndexError
        num_frames, frame_time = int(words[1]), float(words[4])
    except (IndexError, ValueError):
        raise ValueError(f"{path}: MOTION must begin with 'Frames:' and "
                         "'Frame Time:'") from None
    try:
        values = np.array(words[5:], float)
    except ValueError:
        raise ValueError(f'{path}: MOTION has values that are no '
                         'numbers') from None
    channels = sum(len(n.channels) for n in nodes.values())
    if num_frames < 1 or frame_time <= 0:
        raise ValueError(f'{path}: has no frames')
    if len(values) != num_frames * channels:
        raise ValueError(f'{path}: MOTION has {len(values)} values, expected '
                         f'{num_frames} frames of {channels} channels')
    values = values.reshape(num_frames, channels)
    broken = np.flatnonzero(~np.isfinite(values).all(1))
    if len(broken):
        raise ValueError(f'{path}: MOTION is not finite in {len(broken)} '
                         f'frames, the first {broken[:5]}')
    return nodes, values, frame_time


def _read_hierarchy(path: Path, words: List[str]) -> Dict[str, _Node]:
    nodes: Dict[str, _Node] = {}
    open_names: List[str] = []
    index = {}
    name, i = '', 0
    try:
        while i < len(words):
            word = words[i].upper()
            if word in ('ROOT', 'JOINT', 'END'):
                name = words[i + 1]
                if word == 'END':  # End Site
                    name = open_names[-1] + _END
                parent = index[open_names[-1]] if open_names else -1
                index[name] = len(nodes)
                nodes[name] = _Node(parent)
                i += 2
            elif word == '{':
                open_names.append(name)
                i += 1
            elif word == '}':
                open_names.pop()
                i += 1
            elif word == 'OFFSET':
                nodes[open_names[-1]].offset = np.array(
                    words[i + 1:i + 4], float)
                i += 4
            elif word == 'CHANNELS':
                count = int(words[i + 1])
                channels = [w.lower() for w in words[i + 2:i + 2 + count]]
                if any(c[1:] not in ('rotation',
                                     'position') or c[0] not in 'xyz'
                       for c in channels):
                    raise ValueError
                nodes[open_names[-1]].channels = tuple(channels)
                i += 2 + count
            else:
                raise ValueError
    except (ValueError, IndexError, KeyError):
        near = ' '.join(words[max(i - 2, 0):i + 4])
        raise ValueError(f'{path}: HIERARCHY cannot be read near '
                         f"'{near}'") from None
    return nodes


def _joint_names(path: Path, nodes: Dict[str, _Node]) -> List[tuple]:
    """The nodes in whose middle each joint of Human3.6M is."""
    rig = next((r for r in _RIGS.values() if r['hip'] in nodes), None)
    if rig is None:
        raise ValueError(
            f'{path}: has the joints of an unknown rig, {list(nodes)[:8]}..., '
            f'expected those of {sorted(_RIGS)}')
    lacking = [n for n in (rig['neck'], rig['wrist']) if n not in nodes]
    if lacking:
        raise ValueError(f'{path}: lacks the joints {lacking}')
    _mend_cmu(nodes, rig)
    chosen = {'torso': (_torso(path, nodes, rig), )}
    for part, names in rig.items():
        if part in _PAIRED:
            chosen[f'left_{part}'] = (names, )
            chosen[f'right_{part}'] = (_mirrored(rig, names), )
        else:
            chosen[part] = tuple(names.split(','))
    chosen['pelvis'] = chosen['left_hip'] + chosen['right_hip']
    lacking = sorted({n for x in chosen.values() for n in x} - set(nodes))
    if lacking:
        raise ValueError(f'{path}: lacks the joints {lacking}')
    return [chosen[name] for name in _H36M.joint_names]


def _mirrored(rig: Dict[str, str], name: str) -> str:
    """The joint on the right side."""
    left, right = next(s for s in _SIDES if rig['hip'].startswith(s[0]))
    return right + name[len(left):]


def _torso(path: Path, nodes: Dict[str, _Node], rig: Dict[str, str]) -> str:
    """The joint of the spine in the middle between hips and neck."""
    names, places = list(nodes), {}
    for name, node in nodes.items():  # rest pose
        parent = places[names[node.parent]] if node.parent >= 0 else 0.
        places[name] = parent + node.offset
    spine = [rig['neck']]
    while nodes[spine[0]].parent >= 0:
        spine.insert(0, names[nodes[spine[0]].parent])
    if len(spine) < 3:
        raise ValueError(f'{path}: the spine {spine} needs a joint between '
                         'hips and neck')

    def difference(name):
        hips, neck = (
            np.linalg.norm(places[name] - places[rig[part]])
            for part in ('hip', 'neck'))
        return abs(hips - neck)

    return min(spine[1:-1], key=difference)


def _mend_cmu(nodes: Dict[str, _Node], rig: Dict[str, str]) -> None:
    """Give back the bones that the conversions of CMU's data lost.

    Their thorax and wrists have no length: what hangs on the thorax hangs on
    its start, and the hand on the end of the lower arm. In CMU's skeletons
    the thorax is as long as the bone below it and the wrist half as long as
    the lower arm.
    """
    names = list(nodes)
    neck = nodes[rig['neck']]
    if neck.parent < 0 or neck.offset.any():
        return
    thorax = nodes[names[neck.parent]]
    for node in nodes.values():
        if node.parent == neck.parent and not node.offset.any():
            node.offset = thorax.offset.copy()
    for name in (rig['wrist'], _mirrored(rig, rig['wrist'])):
        if name in nodes:
            nodes[name].offset = nodes[name].offset * 1.5


def _positions(nodes: Dict[str, _Node],
               values: np.ndarray) -> Dict[str, np.ndarray]:
    """(N, 3) of each node, the file's unit and axes."""
    names = list(nodes)
    turned, places = {}, {}
    column = 0
    for name, node in nodes.items():
        own = values[:, column:column + len(node.channels)]
        column += len(node.channels)
        order = [c[0] for c in node.channels if c.endswith('rotation')]
        moves = {c[0]: i for i, c in enumerate(node.channels)
                 if c.endswith('position')}  # yapf: disable
        offset = np.tile(node.offset, (len(values), 1))
        for axis, i in moves.items():
            offset[:, 'xyz'.index(axis)] = own[:, i]
        parent = names[node.parent] if node.parent >= 0 else None
        if parent is not None:
            offset = places[parent] + np.einsum('nij,nj->ni', turned[parent],
                                                offset)
        places[name] = offset
        turn = np.eye(3) if parent is None else turned[parent]
        if order:
            columns = [i for i, c in enumerate(node.channels)
                       if c.endswith('rotation')]  # yapf: disable
            turn = turn @ Rotation.from_euler(
                ''.join(order).upper(), own[:, columns],
                degrees=True).as_matrix()
        turned[name] = turn
    return places


def _bone(points: np.ndarray, start: str, end: str) -> np.ndarray:
    return points[:, _H36M.index(end)] - points[:, _H36M.index(start)]


def _unit(path: Path, points: np.ndarray) -> float:
    length = sum(
        np.median(np.linalg.norm(_bone(points, *ends), axis=1))
        for ends in (('left_hip', 'left_knee'), ('left_knee', 'left_ankle')))
    low, high = _LEG_LENGTH
    for unit in _UNITS:
        if low < length * unit < high:
            return unit
    raise ValueError(f'{path}: the legs are {length:g} units long, which is '
                     'no person in m, cm, mm, inches or CMU\'s unit; give '
                     'metres_per_unit')


def _up(path: Path, points: np.ndarray) -> str:
    standing = np.median(
        _bone(points, 'left_ankle', 'head') +
        _bone(points, 'right_ankle', 'head'), 0)
    axis = 'xyz'[np.abs(standing).argmax()]
    if axis == 'x' or standing.max() <= 0:
        raise ValueError(f'{path}: the head is not above the feet, along y or '
                         "z; give up='y' or 'z'")
    return axis
