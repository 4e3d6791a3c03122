# Copyright (c) The mpm_postometro authors. All rights reserved.
import numpy as np
import pytest
from motion_samples import bvh_text

from mpm_postometro.bodies.skeletons import SKELETONS
from mpm_postometro.datasets.body.motion_files import read_bvh

H36M = SKELETONS['h36m17']
# Names of 3ds Max for the joints of the sample rig.
MAX = dict(
    LeftUpLeg='LeftHip', LeftLeg='LeftKnee', LeftFoot='LeftAnkle',
    RightUpLeg='RightHip', RightLeg='RightKnee', RightFoot='RightAnkle',
    Spine='Chest', Spine1='Chest2', Spine2='Chest3', Neck='lowerneck',
    LeftShoulder='LeftCollar', LeftArm='LeftShoulder', LeftForeArm='LeftElbow',
    LeftHand='LeftWrist', RightShoulder='RightCollar',
    RightArm='RightShoulder', RightForeArm='RightElbow',
    RightHand='RightWrist')  # yapf: disable


@pytest.fixture
def read(tmp_path):

    def read(text, **kwargs):
        (tmp_path / 'a.bvh').write_text(text, newline='')
        return read_bvh(tmp_path / 'a.bvh', **kwargs)

    return read


def joint(motion, name, frame=0):
    return motion.joints[frame, H36M.index(name)]


def test_rest_pose_by_hand(read):
    motion = read(bvh_text())
    count = len(motion.joints)
    assert str(motion) == f'Motion({count} frames of 17 joints at 60 a second)'
    assert motion.fps == pytest.approx(60) and motion.pose is None
    expected = dict(
        pelvis=[0, 0, 1],
        left_hip=[.1, 0, 1],
        left_knee=[.1, 0, .6],
        right_ankle=[-.1, 0, .18],
        torso=[0, 0, 1.22],
        neck=[0, 0, 1.5],
        jaw=[0, 0, 1.62],
        head=[0, 0, 1.74],
        left_shoulder=[.2, 0, 1.46],
        right_elbow=[-.48, 0, 1.46],
        left_wrist=[.73, 0, 1.46])
    for name, place in expected.items():
        np.testing.assert_allclose(
            joint(motion, name), place, atol=1e-6, err_msg=name)


@pytest.mark.parametrize('order, angles', [('ZYX', [0, 30, 90]),
                                           ('XYZ', [90, 30, 0])])
def test_channels_in_their_order(read, order, angles):
    """First about the axis that comes first, in the turned frame the next."""
    motion = read(bvh_text(order=order, LeftArm=lambda f: angles))
    turn = dict(zip(order, np.radians(angles)))
    y, x = turn['Y'], turn['X']
    forearm = np.array([.28, 0, 0])
    if order == 'ZYX':  # Ry Rx: x does not move the arm, which lies along x
        expected = [.28 * np.cos(y), 0, -.28 * np.sin(y)]
    else:  # Rx Ry
        expected = [
            .28 * np.cos(y), .28 * np.sin(x) * np.sin(y),
            -.28 * np.cos(x) * np.sin(y)
        ]
    found = joint(motion, 'left_elbow') - joint(motion, 'left_shoulder')
    np.testing.assert_allclose(
        found, [expected[0], -expected[2], expected[1]], atol=1e-6)
    assert np.linalg.norm(found) == pytest.approx(np.linalg.norm(forearm))


@pytest.mark.parametrize('unit', [1, .01, 10, 1 / 2.54, .45 / 2.54])
def test_units_by_the_legs(read, unit):
    np.testing.assert_allclose(
        read(bvh_text(unit=unit)).joints, read(bvh_text()).joints, atol=1e-6)


def test_units_and_axis_that_are_given(read):
    motion = read(bvh_text(), metres_per_unit=.02, up='z')
    np.testing.assert_allclose(
        joint(motion, 'jaw'), [0, 2 * 1.62, 0], atol=1e-6)
    with pytest.raises(ValueError, match='the legs are 4100 units long'):
        read(bvh_text(unit=50))
    # tipped over, so that z is up
    tipped = bvh_text(order='XYZ', Hips=lambda f: [0, 0, 100, 90, 0, 0])
    np.testing.assert_allclose(
        read(tipped).joints, read(bvh_text()).joints, atol=1e-6)
    lying = bvh_text(order='XYZ', Hips=lambda f: [0, 0, 100, 0, 0, 90])
    with pytest.raises(ValueError, match="head is not above the feet.*up='y'"):
        read(lying)


def test_rates_and_line_ends(read):
    walk = dict(Hips=lambda f: [f, 100, 0, 0, 0, 0])
    motion = read(bvh_text(7, 1 / 120, **walk, end='\r\n'), fps=60)
    assert motion.fps == pytest.approx(60)
    np.testing.assert_allclose(
        motion.joints[:, 0, 0], [0, .02, .04, .06], atol=1e-6)
    with pytest.raises(ValueError, match='no whole step makes 50'):
        read(bvh_text(), fps=50)


def test_other_names(read):
    np.testing.assert_allclose(
        read(bvh_text(rename=MAX)).joints,
        read(bvh_text()).joints)


def test_bones_that_conversions_of_cmu_lost(read):
    """The thorax is as long as the bone below, the wrist half an arm."""
    lost = {
        name: [0, 0, 0]
        for name in ('Neck', 'LeftShoulder', 'RightShoulder')
    }
    motion = read(bvh_text(offsets=lost))
    rest = read(bvh_text())
    np.testing.assert_allclose(joint(motion, 'neck'), [0, 0, 1.5], atol=1e-6)
    np.testing.assert_allclose(
        joint(motion, 'right_shoulder'), [-.15, 0, 1.5], atol=1e-6)
    np.testing.assert_allclose(
        np.linalg.norm(
            joint(motion, 'left_wrist') - joint(motion, 'left_elbow')),
        1.5 * .25,
        atol=1e-6)
    np.testing.assert_allclose(
        joint(motion, 'left_ankle'), joint(rest, 'left_ankle'))


GOOD = bvh_text()


@pytest.mark.parametrize('text, message', [
    ('hello', 'a.bvh is no BVH file'),
    (GOOD.replace('JOINT Spine\n', 'BONE Spine\n'), 'cannot be read near'),
    (GOOD.replace('Zrotation', 'Wrotation'), 'HIERARCHY cannot be read near'),
    (GOOD.replace('OFFSET 10.0', 'OFFSET ten'), "near '.*OFFSET ten"),
    (GOOD.replace('Frames: 3', 'Frames: 4'),
     'MOTION has 189 values, expected 4 frames of 63 channels'),
    (GOOD.replace('Frames: 3', 'Frames: 0'), 'a.bvh: has no frames'),
    (GOOD.replace('Frame Time', 'Time'), "must begin with 'Frames:'"),
    (GOOD + 'x', 'values that are no numbers'),
    (bvh_text(Spine=lambda f: [0, 0, 'nan'] if f == 1 else [0, 0, 0]),
     r'MOTION is not finite in 1 frames, the first \[1\]'),
    (bvh_text(rename=dict(LeftUpLeg='Zapp')), 'unknown rig.*expected those'),
    (bvh_text(rename=dict(RightHand='Zapp')), r"lacks.*\['RightHand'\]"),
    (bvh_text(rename=dict(Neck='Zapp')), r"lacks the joints \['Neck'\]"),
])
def test_what_is_wrong_is_named(read, text, message):
    with pytest.raises(ValueError, match=message):
        read(text)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match='a.bvh'):
        read_bvh(tmp_path / 'a.bvh')


@pytest.mark.parametrize('name, num_frames',
                         [('cmu_01_01_cgspeed_fairmotion', 2752),
                          ('cmu_12_01_pybvh', 524), ('cmu_131_01_3dsmax', 994),
                          ('cmu_131_01_metres_bvh11', 995),
                          ('cmu_02_01_retargeted_tmoco', 343),
                          ('cmu_salsa10_daz_papagina', 1198),
                          ('cmu_002_03_iclone_rig', 86), ('pybvh_test3', 100)])
def test_rigs_of_others(data_dir, name, num_frames):
    motion = read_bvh(data_dir / 'bvh_samples' / f'{name}.bvh')
    assert motion.joints.shape == (num_frames, 17, 3)
    length = np.linalg.norm(
        joint(motion, 'left_ankle') - joint(motion, 'left_hip'))
    assert .7 < length < 1
    head, feet = (
        np.median(motion.joints[:, H36M.index(n), 2])
        for n in ('head', 'left_ankle'))
    assert 1 < head - feet < 1.8
    left, right = (
        motion.joints[:, H36M.index(f'{s}_hip')] for s in ('left', 'right'))
    neck = motion.joints[:, H36M.index('neck')]
    knees = motion.joints[:, H36M.index('left_knee')]
    # not mirrored: knees bend forwards
    forward = np.cross(left - right, neck - left)
    ankle = motion.joints[:, H36M.index('left_ankle')]
    bend = ((knees - (left + ankle) / 2) * forward).sum(1)
    assert np.median(bend) > 0


def test_known_conversion(data_dir):
    """The legs of CMU's data to 0.1 mm, above the chest a mended bone."""
    motion = read_bvh(data_dir / 'bvh_samples' /
                      'cmu_01_01_cgspeed_fairmotion.bvh')
    with np.load(data_dir / 'cmu_mocap' / 'cmu_mocap_train.npz') as known:
        i = known['clip_name'].tolist().index('01_01')
        start, length = known['clip_start'][i], known['clip_length'][i]
        joints = known['joints_3d'][start:start + length]
    # the first frame is an added T pose
    error = np.linalg.norm(
        motion.joints[1::2][:length] - joints[:1376], axis=-1)
    assert error[:, :8].max() < 1.5e-4
    assert error[:, 8:].max() < 6e-3
