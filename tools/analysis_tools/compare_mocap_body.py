# Copyright (c) The mpm_postometro authors. All rights reserved.
"""How far does the body follow real motion capture?

Poses a body with the rotations of a motion-capture file, regresses the 17
Human3.6M joints from its mesh and compares them with the joints that were
captured. The body has other bones than the captured person, so the error is
taken apart: what changes when the captured person's bones are used with our
rotations, with our joints, and what is left.
"""
import argparse
import json
from typing import Dict, NamedTuple

import numpy as np
import torch
from torch import Tensor

from mpm_postometro.bodies import SKELETONS, BodyModel, load_body
from mpm_postometro.bodies.rotations import axis_angle_to_matrix
from mpm_postometro.evaluation.functional import centre, mpjpe, pa_mpjpe

H36M, SMPL = SKELETONS['h36m17'], SKELETONS['smpl24']


def _both_sides(right: dict) -> dict:
    """Entries of the right side, then the same of the left."""
    return {
        **right,
        **{
            key.replace('right', 'left'):
            tuple(v.replace('right', 'left') for v in value)
            for key, value in right.items()
        }
    }  # yapf: disable


# The tree joints whose rotations turn the way from a joint's parent to it.
CARRIERS = _both_sides({
    'torso': ('pelvis', 'spine1'),
    'neck': ('spine2', 'spine3'),
    'jaw': ('neck', 'head'),
    'head': ('head', ),
    'right_hip': ('pelvis', ),
    'right_knee': ('right_hip', ),
    'right_ankle': ('right_knee', ),
    'right_shoulder': ('spine3', 'right_collar'),
    'right_elbow': ('right_shoulder', ),
    'right_wrist': ('right_elbow', ),
})
# Where the 24-joint tree has the Human3.6M joint itself. Jaw and head lie
# beyond its last joint and the pelvis between its hips.
IN_TREE = {'torso': 'spine2', 'neck': 'neck'}
IN_TREE.update((name, name) for name in CARRIERS if '_' in name)


class Motion(NamedTuple):
    """Frames of a motion-capture file, metres and radians, world z up."""

    pose: Tensor  # (N, 24, 3) local axis-angle, joint 0 in the world
    trans: Tensor  # (N, 3) position of joint 0
    joints: Tensor  # (N, 17, 3) captured joints
    offsets: Tensor  # (N, 24, 3) the person's bones in the rest pose
    subject: np.ndarray  # (N,) row in subject_names
    subject_names: tuple


def load_motion(path: str, stride: int = 1) -> Motion:
    """Read every ``stride``-th frame of a motion-capture file.

    Args:
        path (str): .npz with ``pose``, ``trans``, ``joints_3d``,
            ``rest_offsets``, ``subjects``, ``clip_subject`` and
            ``clip_length``, clips one after the other.
        stride (int): Step between frames.

    Returns:
        Motion: The frames.
    """
    keys = ('pose', 'trans', 'joints_3d', 'rest_offsets', 'subjects',
            'clip_subject', 'clip_length')
    with np.load(path, allow_pickle=False) as archive:
        missing = [key for key in keys if key not in archive]
        if missing:
            raise ValueError(f'{path}: keys {missing} are missing')
        arrays = {key: archive[key] for key in keys}
    names = arrays['subjects'].tolist()
    rows = [names.index(s) for s in arrays['clip_subject'].tolist()]
    subject = np.repeat(rows, arrays['clip_length'])[::stride]

    def tensor(array):
        return torch.tensor(array, dtype=torch.float32)

    return Motion(
        tensor(arrays['pose'][::stride]), tensor(arrays['trans'][::stride]),
        tensor(arrays['joints_3d'][::stride]),
        tensor(arrays['rest_offsets'][subject]), subject, tuple(names))


def _pick(joints: Tensor) -> Tensor:
    """The joints of ``IN_TREE``, and the middle of the hips, from a tree."""
    picked = joints[:, [SMPL.index(name) for name in IN_TREE.values()]]
    hips = joints[:, [SMPL.index('left_hip'), SMPL.index('right_hip')]]
    return torch.cat([picked, hips.mean(1, keepdim=True)], 1)


def _pick_h36m(joints: Tensor) -> Tensor:
    """The same from Human3.6M's joints."""
    return joints[:, [H36M.index(n) for n in IN_TREE] + [H36M.index('pelvis')]]


def pose_rig(body: BodyModel, motion: Motion) -> Dict[str, Tensor]:
    """Our forward kinematics on the captured person's bones.

    Args:
        body (BodyModel): Gives the tree.
        motion (Motion): N frames.

    Returns:
        dict[str, Tensor]: ``rotations`` (N, 24, 3, 3) in the world and
        ``joints`` (N, 24, 3).
    """
    rest = torch.zeros_like(motion.offsets)
    for joint, parent in enumerate(body.parents):
        if parent >= 0:
            rest[:, joint] = rest[:, parent] + motion.offsets[:, joint]
    rotations, joints = body.forward_kinematics(
        axis_angle_to_matrix(motion.pose), rest)
    return dict(rotations=rotations, joints=joints + motion.trans[:, None])


def pose_body(body: BodyModel,
              motion: Motion,
              batch_size: int = 64) -> Dict[str, Tensor]:
    """The body in every pose of the motion.

    Args:
        body (BodyModel): Any with an 'h36m17' regressor, mean shape.
        motion (Motion): N frames.
        batch_size (int): Frames at a time.

    Returns:
        dict[str, Tensor]: ``h36m17`` (N, 17, 3) from the mesh and
        ``tree`` (N, 24, 3), world frame.
    """
    tree, regressed = [], []
    betas = torch.zeros(1, body.num_betas)
    with torch.no_grad():
        for start in range(0, len(motion.pose), batch_size):
            pose = motion.pose[start:start + batch_size]
            out = body(betas, pose[:, 1:], pose[:, 0])
            # trans is where joint 0 is, the body turns about its own rest
            # position of it.
            shift = (motion.trans[start:start + batch_size] -
                     out.joints[:, 0])[:, None]
            tree.append(out.joints + shift)
            regressed.append(
                body.regress_joints(out.vertices, 'h36m17') + shift)
    return dict(h36m17=torch.cat(regressed), tree=torch.cat(tree))


def _bones(joints: Tensor) -> Tensor:
    """Human3.6M joints to vectors from parent to joint (root: zero)."""
    parents = [max(p, 0) for p in H36M.parents]
    return joints - joints[:, parents]


def _chain(bones: Tensor) -> Tensor:
    """Inverse of :func:`_bones`, with the root at zero."""
    joints = [torch.zeros_like(bones[:, 0])]
    for joint in range(1, bones.shape[1]):
        joints.append(joints[H36M.parents[joint]] + bones[:, joint])
    return torch.stack(joints, 1)


def _rig_difference(difference: Tensor, rotations: Tensor,
                    subject: np.ndarray) -> Tensor:
    """The part of bone differences that is fixed in the body.

    For every person and bone, one vector in the frame of each tree joint
    that carries the bone, the same in all frames (least squares).

    Args:
        difference (Tensor): (N, 17, 3), captured minus the body's bones.
        rotations (Tensor): (N, 24, 3, 3), world rotations of the tree.
        subject (np.ndarray): (N,) which person.

    Returns:
        Tensor: (N, 17, 3).
    """
    explained = torch.zeros_like(difference)
    for person in np.unique(subject):
        frames = torch.as_tensor(subject == person)
        for k, name in enumerate(H36M.joint_names):
            if name not in CARRIERS:
                continue
            carriers = [SMPL.index(joint) for joint in CARRIERS[name]]
            # (N, 3, 3M): columns of the carriers' rotations
            design = torch.cat(
                [rotations[frames][:, joint] for joint in carriers], -1)
            wanted = difference[frames][:, k].reshape(-1, 1)
            vectors = torch.linalg.lstsq(
                design.flatten(0, 1).double(), wanted.double(),
                driver='gelsd').solution.float()
            explained[frames, k] = (design @ vectors).squeeze(-1)
    return explained


def compare(body: BodyModel, motion: Motion) -> dict:
    """All figures, lengths in mm, angles in degrees.

    Args:
        body (BodyModel): Any with an 'h36m17' regressor.
        motion (Motion): N frames.

    Returns:
        dict: See the printed text of :func:`main`.
    """
    rig, own = pose_rig(body, motion), pose_body(body, motion)
    target = centre(motion.joints, H36M.index('pelvis'))
    pred = centre(own['h36m17'], H36M.index('pelvis'))
    mm = 1e3

    result = dict(frames=len(target))
    # Rotations and tree are right if the person's own bones give the joints.
    result['rig_fk'] = mm * float(
        mpjpe(_pick(rig['joints']), _pick_h36m(motion.joints)).mean())
    result['rig_fk_max'] = mm * float(
        (_pick(rig['joints']) - _pick_h36m(motion.joints)).norm(dim=-1).max())
    result['mpjpe'] = mm * float(mpjpe(pred, target).mean())
    result['pa_mpjpe'] = mm * float(pa_mpjpe(pred, target).mean())

    # Same joints without a mesh: the body's own tree.
    common, wanted = _pick(own['tree']), _pick_h36m(motion.joints)
    result['tree'] = mm * float(
        mpjpe(centre(common, -1), centre(wanted, -1)).mean())
    # What mesh and regressor add to the tree.
    result['mesh_to_tree'] = mm * float(
        mpjpe(centre(_pick_h36m(own['h36m17']), -1), centre(common,
                                                            -1)).mean())

    # Our directions, the person's lengths.
    bones, wanted_bones = _bones(pred), _bones(target)
    length = wanted_bones.norm(dim=-1, keepdim=True)
    unit = torch.nn.functional.normalize(bones, dim=-1)
    result['lengths_replaced'] = mm * float(
        mpjpe(_chain(unit * length), target).mean())
    cosine = torch.nn.functional.cosine_similarity(bones, wanted_bones, dim=-1)
    angle = torch.rad2deg(torch.acos(cosine.clamp(-1, 1)))

    moved = _chain(bones +
                   _rig_difference(wanted_bones -
                                   bones, rig['rotations'], motion.subject))
    explained = (moved - target).norm(dim=-1)
    result['rig_explained'] = mm * float(explained.mean())

    result['joints'] = {
        name:
        dict(
            mpjpe=mm * float((pred - target)[:, k].norm(dim=-1).mean()),
            rig_explained=mm * float(explained[:, k].mean()),
            angle=float(angle[:, k].mean()),
            body_bone=mm * float(bones[:, k].norm(dim=-1).mean()),
            captured_bone=mm * float(length[:, k].mean()))
        for k, name in enumerate(H36M.joint_names) if k
    }
    return result


TEXT = (
    ('rig_fk', "captured person's bones, our rotations (15 joints)"),
    ('rig_fk_max', '  the same, worst joint of all frames'),
    ('mpjpe', "body's mesh, 17 joints, pelvis at 0"),
    ('pa_mpjpe', '  the same, after Procrustes alignment'),
    ('tree', "body's own tree, 15 joints, pelvis at 0"),
    ('mesh_to_tree', '  regressed joints against that tree'),
    ('lengths_replaced', "body's directions, captured bone lengths"),
    ('rig_explained', "rig's fixed bone differences taken out"),
)


def main(argv=None) -> dict:
    """Print the figures, and write them if asked."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog='All lengths in mm, angles in degrees.')
    parser.add_argument('motion', help='motion-capture .npz')
    parser.add_argument('--body', help='body model (default: built-in body)')
    parser.add_argument(
        '--stride', type=int, default=1, help='take every n-th frame')
    parser.add_argument('--out', help='write the figures to this .json')
    args = parser.parse_args(argv)
    result = compare(
        load_body(args.body), load_motion(args.motion, args.stride))
    print(f'{result["frames"]} frames')
    for key, text in TEXT:
        print(f'{text:<54}{result[key]:8.2f}')
    columns = ('mpjpe', 'rig_explained', 'angle', 'body_bone', 'captured_bone')
    print(f'{"":<16}' + ''.join(f'{c:>15}' for c in columns))
    for name, row in result['joints'].items():
        print(f'{name:<16}' + ''.join(f'{row[c]:15.1f}' for c in columns))
    if args.out:
        with open(args.out, 'w') as fp:
            json.dump(result, fp, indent=1)
    return result


if __name__ == '__main__':
    main()
