# Copyright (c) The mpm_postometro authors. All rights reserved.
import numpy as np
import pytest
from motion_samples import amc_text, asf_text
from scipy.spatial.transform import Rotation

from mpm_postometro.bodies.skeletons import SKELETONS
from mpm_postometro.datasets.body.motion_files import read_asf_amc

H36M, SMPL = SKELETONS['h36m17'], SKELETONS['smpl24']
SCALE = .0254 / .45


@pytest.fixture
def read(tmp_path):

    def read(asf=None, amc=None, **kwargs):
        (tmp_path / '1.asf').write_text(asf_text() if asf is None else asf)
        (tmp_path / '1_2.amc').write_text(amc_text() if amc is None else amc)
        return read_asf_amc(tmp_path / '1.asf', tmp_path / '1_2.amc', **kwargs)

    return read


def joint(motion, name):
    return motion.joints[:, H36M.index(name)]


def test_rest_pose_by_hand(read):
    motion = read()
    assert motion.fps == 120 and motion.joints.shape == (4, 17, 3)
    leg = np.array([.5, 0, -.8660254])
    hip = np.array([1.2, 0, -1.6])
    expected = dict(  # x left, z up; the file's units
        pelvis=[0, 0, -1.6],
        left_hip=hip,
        left_knee=hip + 8 * leg,
        left_ankle=hip + 15 * leg,
        right_ankle=(hip + 15 * leg) * [-1, 1, 1],
        torso=[0, 0, 2],
        neck=[0, 0, 6],
        jaw=[0, 0, 8],
        head=[0, 0, 9],
        left_shoulder=[3, 0, 6],
        left_elbow=[8, 0, 6],
        left_wrist=[14, 0, 6],
        right_wrist=[-14, 0, 6])
    for name, place in expected.items():
        np.testing.assert_allclose(
            joint(motion, name),
            np.tile(np.array(place) * SCALE, (4, 1)),
            atol=1e-6,
            err_msg=name)


def test_motion_by_hand(read):
    motion = read(
        amc=amc_text(
            6,
            root=lambda f: [f, 10, 2, 0, 90, 0],  # turned to its left
            lradius=lambda f: [15 * f],
            head=lambda f: [0, 0, 0]))
    assert motion.trans[3] == pytest.approx(
        [3 * SCALE, -2 * SCALE, 10 * SCALE])
    # the left shoulder was along +x, and is now along -z of y up
    relative = joint(motion, 'left_shoulder') - joint(motion, 'neck')
    np.testing.assert_allclose(relative[0], [0, 3 * SCALE, 0], atol=1e-6)
    # a joint turns about its bone's own axes: here about x, turned by 30
    # degrees about z
    axis = Rotation.from_euler('z', 30, degrees=True).apply([1, 0, 0])
    for frame in range(6):
        bend = Rotation.from_rotvec(np.radians(15 * frame) * axis)
        arm = bend.apply([4 + 2, 0, 0])  # with the wrist
        arm = Rotation.from_euler('y', 90, degrees=True).apply(arm) * SCALE
        found = (joint(motion, 'left_wrist') -
                 joint(motion, 'left_elbow'))[frame]
        np.testing.assert_allclose(found, [arm[0], -arm[2], arm[1]], atol=1e-6)


def test_pose_places_the_joints(read):
    """SMPL's rotations and rest offsets give the same joints again."""
    rng = np.random.default_rng(0)
    angles = {
        name: rng.uniform(-40, 40, (5, n)).round(2)
        for name, n in (('root', 6), ('lowerback', 3), ('thorax', 3),
                        ('lfemur', 3), ('ltibia', 1), ('rhumerus', 3),
                        ('rradius', 1), ('upperback', 3), ('lowerneck', 3))
    }
    motion = read(
        amc=amc_text(5, **{
            k: v.__getitem__
            for k, v in angles.items()
        }))
    local = Rotation.from_rotvec(motion.pose.reshape(-1, 3)).as_matrix()
    local = local.reshape(5, 24, 3, 3)
    world, places = [local[:, 0]], [motion.trans]
    for i, parent in enumerate(SMPL.parents[1:], 1):
        world.append(world[parent] @ local[:, i])
        places.append(places[parent] + world[parent] @ motion.rest_offsets[i])
    for name in ('left_hip', 'left_knee', 'left_ankle', 'right_ankle', 'neck',
                 'left_shoulder', 'right_elbow', 'left_wrist', 'right_wrist'):
        np.testing.assert_allclose(
            places[SMPL.index(name)],
            joint(motion, name),
            atol=1e-5,
            err_msg=name)
    np.testing.assert_allclose(  # a T pose at rest
        motion.rest_offsets[SMPL.index('left_knee')], [0, -8 * SCALE, 0],
        atol=1e-6)


def test_rates_and_line_ends(read):
    steps = dict(root=lambda f: [f, 0, 0, 0, 0, 0])
    motion = read(
        asf_text(end='\r\n'), amc_text(5, end='\r\n', **steps), fps=60)
    assert motion.fps == 60
    np.testing.assert_allclose(motion.trans[:, 0], [0, 2 * SCALE, 4 * SCALE])
    assert len(read(amc=amc_text(9), fps=30).joints) == 3
    assert len(read(amc=amc_text(9), fps=60, amc_fps=60).joints) == 9
    with pytest.raises(ValueError, match='no whole step makes 50'):
        read(fps=50)


def drop(text, start):
    """Without the lines that begin so."""
    return '\n'.join(
        x for x in text.split('\n') if not x.strip().startswith(start))


@pytest.mark.parametrize('asf, amc, message', [
    (asf_text().replace('lowerneck', 'giraffe'), None,
     r"1.asf: lacks the bones \['lowerneck'\]"),
    (asf_text().replace('length 8', 'length long'), None,
     "1.asf: line .* cannot be read: 'length long'"),
    (asf_text().replace('angle deg', 'angle rad'), None, 'must be in degrees'),
    (asf_text().replace('order TX', 'order QX'), None, "'order'.*expected TX"),
    (None, amc_text(0), '1_2.amc: has no frames'),
    (None, drop(amc_text(), 'lfemur'), "'lfemur' is missing in 4 frames"),
    (None, amc_text(ltibia=lambda f: [1, 2]),
     "line .*: 'ltibia' has 2 values, expected 1"),
    (None, amc_text() + 'tail 1 2\n',
     "'tail' has 2 values, but is no moving bone of .*1.asf"),
    (None, amc_text(ltibia=lambda f: ['nan'] if f == 2 else [0]),
     "'ltibia' is not finite in 1 frames, the first 3"),
    (None, amc_text(ltibia=lambda f: ['x']), "'ltibia' has values that are"),
    (None, amc_text().replace('DEGREES', 'RADIANS'), 'must be in degrees'),
    (None, 'root 1 2 3 4 5 6\n', 'line 1 is before the first frame'),
])
def test_what_is_wrong_is_named(read, asf, amc, message):
    with pytest.raises(ValueError, match=message):
        read(asf, amc)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match='1.asf'):
        read_asf_amc(tmp_path / '1.asf', tmp_path / '1_2.amc')


@pytest.mark.parametrize('trial, split',
                         [('02_03', 'test'), ('09_01', 'train'),
                          ('127_10', 'val'), ('135_08', 'train')])
def test_known_conversion(data_dir, trial, split):
    folder = data_dir / 'bvh_samples' / 'asf_amc'
    subject = trial.split('_')[0]
    motion = read_asf_amc(
        folder / f'{subject}.asf', folder / f'{trial}.amc', fps=60)
    with np.load(data_dir / 'cmu_mocap' / f'cmu_mocap_{split}.npz') as known:
        i = known['clip_name'].tolist().index(trial)
        start, length = known['clip_start'][i], known['clip_length'][i]
        rows = slice(start, start + length)
        assert len(motion.joints) == length  # 0.1 mm, rounded
        np.testing.assert_allclose(
            motion.joints, known['joints_3d'][rows], atol=6e-5)
        np.testing.assert_allclose(
            motion.trans, known['trans'][rows], atol=6e-5)
        np.testing.assert_allclose(motion.pose, known['pose'][rows], atol=6e-5)
        rest = known['rest_offsets'][known['subjects'].tolist().index(subject)]
        np.testing.assert_allclose(motion.rest_offsets, rest, atol=1e-6)
