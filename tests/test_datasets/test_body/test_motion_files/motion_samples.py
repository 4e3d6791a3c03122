# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Small files of motion capture in the real formats."""

# bone, parent, direction, length, dof; of the left side, x to the left
_BONES = """
lowerback root 0 1 0 2 rx,ry,rz
upperback lowerback 0 1 0 2 rx,ry,rz
thorax upperback 0 1 0 2 rx,ry,rz
lowerneck thorax 0 1 0 1 rx,ry,rz
upperneck lowerneck 0 1 0 1 rx,ry,rz
head upperneck 0 1 0 1 rx,ry,rz
"""
_SIDE = """
lhipjoint root .6 -.8 0 2 -
lfemur lhipjoint .5 -.8660254 0 8 rx,ry,rz
ltibia lfemur .5 -.8660254 0 7 rx
lfoot ltibia 0 0 1 2 rx,rz
ltoes lfoot 0 0 1 1 rx
lclavicle thorax 1 0 0 3 ry,rz
lhumerus lclavicle 1 0 0 5 rx,ry,rz
lradius lhumerus 1 0 0 4 rx
lwrist lradius 1 0 0 2 ry
lhand lwrist 1 0 0 1 rx,rz
"""


def _rows():
    rows = [line.split() for line in (_BONES + _SIDE).split('\n') if line]
    for row in [r for r in rows if r[0] in _SIDE.split()]:
        mirrored = [
            'r' + name[1:] if name in _SIDE.split()
            and name not in ('root', 'thorax') else name for name in row[:2]
        ]
        rows.append([*mirrored, str(-float(row[2])), *row[3:]])
    return rows


def asf_text(length=.45, end='\n'):
    """A person in CMU's format, whose legs are spread by 30 degrees."""
    lines = [
        '# a comment', ':version 1.10', ':units', f'  length {length}',
        '  angle deg', ':root', '  order TX TY TZ RX RY RZ', '  axis XYZ',
        ':bonedata'
    ]
    for name, _, x, y, z, size, dof in _rows():
        lines += [
            '  begin', f'    name {name}', f'    direction {x} {y} {z}',
            f'    length {size}', '    axis 0 0 30 XYZ'
        ]
        lines += [] if dof == '-' else [f'    dof {dof.replace(",", " ")}']
        lines.append('  end')
    lines += [':hierarchy', '  begin']
    lines += [f'    {parent} {name}' for name, parent, *_ in _rows()]
    return end.join([*lines, '  end', ''])


def amc_text(num_frames=4, end='\n', **channels):
    """A motion, all channels zero but those that are given as functions of
    the frame."""
    dof = {r[0]: r[-1].count(',') + 1 for r in _rows() if r[-1] != '-'}
    lines = ['#!OML:ASF', ':FULLY-SPECIFIED', ':DEGREES']
    for frame in range(num_frames):
        lines.append(str(frame + 1))
        for name, count in dict(root=6, **dof).items():
            values = [0] * count
            if name in channels:
                values = channels[name](frame)
            lines.append(' '.join(map(str, [name, *values])))
    return end.join([*lines, ''])


_RIG = """
Hips - 0 100 0
LeftUpLeg Hips 10 0 0
LeftLeg LeftUpLeg 0 -40 0
LeftFoot LeftLeg 0 -42 0
RightUpLeg Hips -10 0 0
RightLeg RightUpLeg 0 -40 0
RightFoot RightLeg 0 -42 0
Spine Hips 0 10 0
Spine1 Spine 0 12 0
Spine2 Spine1 0 14 0
Neck Spine2 0 14 0
Head Neck 0 12 0
LeftShoulder Spine2 5 10 0
LeftArm LeftShoulder 15 0 0
LeftForeArm LeftArm 28 0 0
LeftHand LeftForeArm 25 0 0
RightShoulder Spine2 -5 10 0
RightArm RightShoulder -15 0 0
RightForeArm RightArm -28 0 0
RightHand RightForeArm -25 0 0
"""


def bvh_text(num_frames=3,
             frame_time=1 / 60,
             unit=1.,
             order='ZYX',
             end='\n',
             rename=None,
             offsets=None,
             **channels):
    """A person of 1.8 m in centimetres; channels are functions of the frame,
    positions (of the root alone) first, degrees."""
    rows = [r.split() for r in _RIG.strip().split('\n')]
    children = {name: [r for r in rows if r[1] == name] for name, *_ in rows}
    rotations = ' '.join(f'{axis}rotation' for axis in order)
    lines, names = ['HIERARCHY'], []

    def walk(row, depth):
        name, parent, *offset = row
        offset = [unit * float(x) for x in (offsets or {}).get(name, offset)]
        pad = '\t' * depth
        shown = (rename or {}).get(name, name)
        lines.append(f'{pad}{"ROOT" if parent == "-" else "JOINT"} {shown}')
        lines.append(pad + '{')
        lines.append(f'{pad}\tOFFSET ' + ' '.join(map(str, offset)))
        positions = 'Xposition Yposition Zposition '
        lines.append(f'{pad}\tCHANNELS 6 {positions}{rotations}' if parent ==
                     '-' else f'{pad}\tCHANNELS 3 {rotations}')
        names.append(name)
        for child in children[name]:
            walk(child, depth + 1)
        if not children[name]:
            lines.extend([
                f'{pad}\tEnd Site', pad + '\t{',
                f'{pad}\t\tOFFSET 0 {12 * unit} 0', pad + '\t}'
            ])
        lines.append(pad + '}')

    walk(rows[0], 0)
    lines += ['MOTION', f'Frames: {num_frames}', f'Frame Time: {frame_time}']
    for frame in range(num_frames):
        values = []
        for name in names:
            default = [0, 100 *
                       unit, 0, 0, 0, 0] if name == 'Hips' else [0] * 3
            values += channels[name](frame) if name in channels else default
        lines.append(' '.join(map(str, values)))
    return end.join([*lines, ''])
