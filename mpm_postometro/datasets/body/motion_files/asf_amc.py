# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Acclaim's skeleton (.asf) and motion (.amc), as CMU publishes them."""
from dataclasses import dataclass, field
from pathlib import Path
from typing import Dict, List, Optional, Tuple, Union

import numpy as np
from scipy.spatial.transform import Rotation

from mpm_postometro.bodies.skeletons import SKELETONS
from .motion import Motion, frame_step, to_z_up

__all__ = ['read_asf_amc']

_PathLike = Union[str, Path]
_INCH = 0.0254  # metres
_SMPL = SKELETONS['smpl24']


def _both_sides(table: Dict[str, str]) -> Dict[str, str]:
    """Entries of the left side for the right side too."""
    right = {
        key.replace('left', 'right'): ' '.join('r' + x[1:]
                                               for x in value.split())
        for key, value in table.items() if key.startswith('left')
    }
    return {**table, **right}


# The bone at whose end a joint of Human3.6M is. The pelvis is between the
# hips.
_ENDS = _both_sides(
    dict(
        left_hip='lhipjoint',
        left_knee='lfemur',
        left_ankle='ltibia',
        torso='lowerback',
        neck='thorax',
        jaw='upperneck',
        head='head',
        left_shoulder='lclavicle',
        left_elbow='lhumerus',
        left_wrist='lwrist'))
# The bone that turns with a joint of SMPL's tree.
_CARRIERS = _both_sides(
    dict(
        pelvis='root',
        spine1='lowerback',
        spine2='upperback',
        spine3='thorax',
        neck='lowerneck',
        head='head',
        left_hip='lfemur',
        left_knee='ltibia',
        left_ankle='lfoot',
        left_foot='ltoes',
        left_collar='lclavicle',
        left_shoulder='lhumerus',
        left_elbow='lradius',
        left_wrist='lhand',
        left_hand='lhand'))
# The bones between a joint of SMPL's tree and its parent.
_BETWEEN = _both_sides(
    dict(
        spine2='lowerback',
        spine3='upperback',
        neck='thorax',
        head='lowerneck',
        left_hip='lhipjoint',
        left_knee='lfemur',
        left_ankle='ltibia',
        left_foot='lfoot',
        left_shoulder='lclavicle',
        left_elbow='lhumerus',
        left_wrist='lradius lwrist',
        left_hand='lhand'))
_BETWEEN.update(left_collar='thorax', right_collar='thorax')
_LEG = ('hip', 'knee', 'ankle', 'foot')


@dataclass
class _Bone:
    """A bone of an .asf file; degrees and the file's lengths."""

    direction: np.ndarray = field(default_factory=lambda: np.zeros(3))
    length: float = 0.
    axis: np.ndarray = field(default_factory=lambda: np.zeros(3))
    order: str = 'xyz'
    dof: Tuple[str, ...] = ()
    parent: str = 'root'

    @property
    def vector(self) -> np.ndarray:
        """From its start to its end, rest pose."""
        return self.direction * self.length


@dataclass
class _Skeleton:
    """An .asf file; ``bones`` have parents before children."""

    bones: Dict[str, _Bone]
    scale: float
    root_dof: Tuple[str, ...]


def read_asf_amc(asf: _PathLike,
                 amc: _PathLike,
                 fps: Optional[float] = None,
                 amc_fps: float = 120.) -> Motion:
    """Read a motion of CMU's data base.

    Lengths become metres by CMU's rule: 1 unit is 1 / (the .asf file's
    length) inches.

    Args:
        asf (str | Path): The person.
        amc (str | Path): The motion.
        fps (float, optional): Wanted frames a second. Defaults to all.
        amc_fps (float): Of the file, which does not say. Defaults to 120.

    Returns:
        Motion: With pose and rest offsets.

    Raises:
        ValueError: If a file cannot be read, lacks a bone, or has a bone that
            the other one does not know; says the line.
    """
    skeleton = _read_asf(Path(asf))
    step = frame_step(str(amc), amc_fps, fps)
    channels = _read_amc(Path(amc), skeleton, Path(asf), step)
    turned, ends = _pose(skeleton, channels)

    def end(bone):
        return to_z_up(ends[bone] * skeleton.scale)

    joints = {name: end(bone) for name, bone in _ENDS.items()}
    joints['pelvis'] = (joints['left_hip'] + joints['right_hip']) / 2
    order = SKELETONS['h36m17'].joint_names
    return Motion(
        amc_fps / step,
        np.stack([joints[n] for n in order], 1).astype(np.float32),
        pose=_smpl_pose(skeleton, turned),
        trans=end('root').astype(np.float32),
        rest_offsets=_rest_offsets(skeleton))


def _read_asf(path: Path) -> _Skeleton:
    bones: Dict[str, _Bone] = {}
    bone, name = _Bone(), ''
    section, length, degrees = '', 1., True
    root_dof: Tuple[str, ...] = ()
    parents: Dict[str, str] = {}
    for number, line in _lines(path):
        words = line.split()
        if words[0].startswith(':'):
            section = words[0][1:].lower()
            continue
        key, values = words[0].lower(), words[1:]
        try:
            if section == 'units' and key == 'length':
                length = float(values[0])
            elif section == 'units' and key == 'angle':
                degrees = values[0].lower().startswith('deg')
            elif section == 'root' and key == 'order':
                root_dof = tuple(v.lower() for v in values)
            elif section == 'bonedata':
                if key == 'begin':
                    bone, name = _Bone(), ''
                elif key == 'name':
                    name = values[0]
                elif key == 'direction':
                    bone.direction = np.array(values[:3], float)
                elif key == 'length':
                    bone.length = float(values[0])
                elif key == 'axis':
                    bone.axis = np.array(values[:3], float)
                    bone.order = values[3].lower()
                elif key == 'dof':
                    bone.dof = tuple(v.lower() for v in values)
                elif key == 'end':
                    bones[name] = bone
            elif section == 'hierarchy' and key not in ('begin', 'end'):
                for child in values:
                    parents[child] = words[0]
        except (ValueError, IndexError):
            raise ValueError(f'{path}: line {number} cannot be read: '
                             f"'{line}'") from None
    wanted = {
        x
        for v in (*_ENDS.values(), *_CARRIERS.values(), *_BETWEEN.values())
        for x in v.split()
    }
    lacking = sorted(wanted - {'root'} - (set(parents) & set(bones)))
    if lacking:
        raise ValueError(f'{path}: lacks the bones {lacking}')
    if not degrees:
        raise ValueError(f"{path}: 'angle' must be in degrees")
    if set(root_dof) != {'tx', 'ty', 'tz', 'rx', 'ry', 'rz'}:
        raise ValueError(f"{path}: ':root' has the 'order' {root_dof}, "
                         'expected TX TY TZ RX RY RZ in some order')
    ordered, waiting = {}, [b for b in parents if b in bones]
    while waiting:
        ready = [
            b for b in waiting if parents[b] == 'root' or parents[b] in ordered
        ]
        if not ready:
            raise ValueError(f"{path}: ':hierarchy' does not join {waiting} "
                             'to the root')
        for b in ready:
            bones[b].parent = parents[b]
            ordered[b] = bones[b]
        waiting = [b for b in waiting if b not in ordered]
    return _Skeleton(ordered, _INCH / length, root_dof)


def _read_amc(path: Path, skeleton: _Skeleton, asf: Path,
              step: int) -> Dict[str, np.ndarray]:
    """Channels (N, dof) of each bone and the root, every step-th frame."""
    dof = {n: b.dof for n, b in skeleton.bones.items() if b.dof}
    dof['root'] = skeleton.root_dof
    frames: List[Dict[str, list]] = []
    seen, frame = 0, None
    for number, line in _lines(path):
        words = line.split()
        if words[0].startswith(':'):
            if words[0].lower() == ':radians':
                raise ValueError(f'{path}: angles must be in degrees')
            continue
        if len(words) == 1 and words[0].isdigit():
            frame = None
            if seen % step == 0:
                frame = {}
                frames.append(frame)
            seen += 1
            continue
        if not seen:
            raise ValueError(f'{path}: line {number} is before the first '
                             'frame')
        if frame is None:
            continue
        if len(words) - 1 != len(dof.get(words[0], ())):
            expected = dof.get(words[0])
            raise ValueError(
                f"{path}: line {number}: '{words[0]}' has {len(words) - 1} "
                'values, ' + (f'expected {len(expected)}' if expected else
                              f'but is no moving bone of {asf}'))
        frame[words[0]] = words[1:]
    if not frames:
        raise ValueError(f'{path}: has no frames')
    channels = {}
    for name in dof:
        lacking = [i for i, f in enumerate(frames) if name not in f]
        if lacking:
            raise ValueError(f"{path}: '{name}' is missing in "
                             f'{len(lacking)} frames, the first '
                             f'{lacking[0] * step + 1}')
        try:
            channels[name] = np.array([f[name] for f in frames], float)
        except ValueError:
            raise ValueError(f"{path}: '{name}' has values that are no "
                             'numbers') from None
        broken = np.flatnonzero(~np.isfinite(channels[name]).all(1))
        if len(broken):
            raise ValueError(f"{path}: '{name}' is not finite in "
                             f'{len(broken)} frames, the first '
                             f'{broken[0] * step + 1}')
    return channels


def _lines(path: Path):
    """Numbered lines without comments and empty ones."""
    if not path.is_file():
        raise FileNotFoundError(f'{path} does not exist')
    with open(path, encoding='latin1') as file:
        for number, line in enumerate(file, 1):
            line = line.strip()
            if line and not line.startswith('#'):
                yield number, line


def _euler(values: np.ndarray,
           dof: Tuple[str, ...],
           order: str = 'xyz') -> np.ndarray:
    """Rotations (N, 3, 3) of the turning channels; degrees."""
    angles = np.zeros((len(values), 3))
    for column, name in enumerate(dof):
        if name.startswith('r'):
            angles[:, order.index(name[1])] = values[:, column]
    return Rotation.from_euler(order, angles, degrees=True).as_matrix()


def _pose(skeleton: _Skeleton, channels: Dict[str, np.ndarray]) -> tuple:
    """Rotations (N, 3, 3) of the bones in the world and positions (N, 3) of
    their ends; y up, the file's lengths."""
    root = channels['root']
    place = [skeleton.root_dof.index(t) for t in ('tx', 'ty', 'tz')]
    turned = dict(root=_euler(root, skeleton.root_dof))
    ends = dict(root=root[:, place])
    for name, bone in skeleton.bones.items():
        turned[name] = turned[bone.parent]
        if bone.dof:
            own = Rotation.from_euler(
                bone.order, bone.axis, degrees=True).as_matrix()
            local = _euler(channels[name], bone.dof)
            turned[name] = turned[name] @ own @ local @ own.T
        ends[name] = ends[bone.parent] + turned[name] @ bone.vector
    return turned, ends


def _leg_spread(skeleton: _Skeleton, joint: str) -> np.ndarray:
    """The legs of the .asf's rest pose are spread, those of the T pose hang
    straight down: the rotation from these to those."""
    if joint.split('_')[-1] not in _LEG:
        return np.eye(3)
    x, y, _ = skeleton.bones[f'{joint[0]}femur'].direction
    return Rotation.from_euler('z', np.arctan2(x, -y)).as_matrix()


def _smpl_pose(skeleton: _Skeleton, turned: Dict[str,
                                                 np.ndarray]) -> np.ndarray:
    world = [
        to_z_up(turned[_CARRIERS[name]] @ _leg_spread(skeleton, name))
        for name in _SMPL.joint_names
    ]
    local = [
        rotation if parent < 0 else world[parent].swapaxes(1, 2) @ rotation
        for rotation, parent in zip(world, _SMPL.parents)
    ]
    vectors = [Rotation.from_matrix(r).as_rotvec() for r in local]
    return np.stack(vectors, 1).astype(np.float32)


def _rest_offsets(skeleton: _Skeleton) -> np.ndarray:
    offsets = np.zeros((_SMPL.num_joints, 3), np.float32)
    for index, name in enumerate(_SMPL.joint_names):
        if name in _BETWEEN:
            parent = _SMPL.joint_names[_SMPL.parents[index]]
            vector = sum(skeleton.bones[b].vector
                         for b in _BETWEEN[name].split())
            offsets[index] = _leg_spread(skeleton,
                                         parent).T @ vector * skeleton.scale
    return offsets
