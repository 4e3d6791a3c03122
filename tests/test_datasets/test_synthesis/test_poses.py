# Copyright (c) The mpm_postometro authors. All rights reserved.
import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from mpm_postometro.bodies.body_io import read_body
from mpm_postometro.datasets.synthesis import limbs
from mpm_postometro.datasets.synthesis.gestures import GESTURES, USUAL
from mpm_postometro.datasets.synthesis.motion import MotionPoses
from mpm_postometro.datasets.synthesis.poses import (PENETRATION_LIMIT,
                                                     PoseSampler)
from mpm_postometro.datasets.synthesis.skinning import NumpyBody
from mpm_postometro.datasets.synthesis.stances import STANCES

L_KNEE, L_SHOULDER, L_ELBOW, L_WRIST, R_ELBOW = 4, 16, 18, 20, 19


@pytest.fixture(scope='module')
def body():
    return NumpyBody(read_body(None))


@pytest.fixture(scope='module')
def sampler(body):
    return PoseSampler(body)


def test_anatomical_angles_move_limbs_where_they_say():
    forward, left, down = np.eye(3)[2], np.eye(3)[0], -np.eye(3)[1]
    # A thigh hangs down: flexion brings it forward, abduction outwards.
    np.testing.assert_allclose(
        limbs.thigh_rotation(90, 0, 0) @ down, forward, atol=1e-12)
    np.testing.assert_allclose(
        limbs.thigh_rotation(0, 90, 0) @ down, left, atol=1e-12)
    # The trunk bends forward and to the left, and turns to the left.
    np.testing.assert_allclose(
        limbs.trunk_rotation(90, 0, 0) @ -down, forward, atol=1e-12)
    np.testing.assert_allclose(
        limbs.trunk_rotation(0, 90, 0) @ -down, left, atol=1e-12)
    np.testing.assert_allclose(
        limbs.trunk_rotation(0, 0, 90) @ forward, left, atol=1e-12)
    # An arm rests along x; 90 degrees up, sideways, is its rest direction.
    for elevation, azimuth, expected in ((90, 90, left), (90, 0, forward),
                                         (0, 0, down)):
        shoulder, elbow = limbs.arm_from_angles(elevation, azimuth, 0, 0)
        np.testing.assert_allclose(shoulder @ left, expected, atol=1e-12)
        np.testing.assert_allclose(elbow, np.eye(3), atol=1e-12)
    # With a hanging arm, the elbow bends the forearm forward.
    shoulder, elbow = limbs.arm_from_angles(0, 0, 0, 90)
    np.testing.assert_allclose(shoulder @ elbow @ left, forward, atol=1e-12)


def test_arm_reaches_its_target():
    shoulder, pole = np.array([.2, .2, 0]), (1., -1., 0)
    for target in ((.1, .1, .4), (.3, .5, .1), (-.1, 0, .25)):
        rotation, elbow = limbs.arm_to_target(shoulder, target, pole, .28, .26)
        x = np.array([1., 0, 0])
        wrist = shoulder + rotation @ (.28 * x + elbow @ (.26 * x))
        np.testing.assert_allclose(wrist, target, atol=1e-9)
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(rotation) == pytest.approx(1)


def test_limit_angle_shortens_only_what_is_too_long():
    rotation = Rotation.from_rotvec([.3, -.9, .4]).as_matrix()
    limited = limbs.limit_angle(rotation, 30)
    vector = Rotation.from_matrix(limited).as_rotvec()
    assert np.degrees(np.linalg.norm(vector)) == pytest.approx(30)
    np.testing.assert_allclose(
        vector / np.linalg.norm(vector),
        np.array([.3, -.9, .4]) / np.linalg.norm([.3, -.9, .4]))
    assert limbs.limit_angle(rotation, 70) is rotation


def test_every_gesture_exists():
    named = {'walk', 'jog', 'free', *GESTURES}
    assert set(USUAL) <= named
    rng = np.random.default_rng(0)
    for _, draw in STANCES.values():
        for _ in range(5):
            assert set(draw(rng).gestures) <= named


@pytest.mark.parametrize('name', STANCES)
def test_stances_stay_within_joint_limits(body, name):
    sampler = PoseSampler(body, stances={name: 1.})
    rng = np.random.default_rng(3)
    poses = [sampler.sample(rng) for _ in range(12)]
    assert {pose.name for pose in poses} == {name}
    angles = np.stack([pose.body_pose for pose in poses])  # (N, 23, 3)
    assert angles.dtype == np.float32 and np.isfinite(angles).all()
    # Knees are hinges: only forwards-backwards, never over-stretched.
    knees = np.degrees(angles[:, [3, 4]])
    assert (knees[..., 0] > -1e-3).all() and (knees[..., 0] < 151).all()
    assert abs(knees[..., 1:]).max() < 1e-3
    # No limb lies inside another one, with rare small exceptions.
    touching = [pose.penetration > PENETRATION_LIMIT for pose in poses]
    assert np.mean(touching) < .35
    assert max(pose.penetration for pose in poses) < .25
    for pose in poses:
        np.testing.assert_allclose(
            pose.root @ pose.root.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(pose.root) == pytest.approx(1)


def test_standing_people_stand_and_lying_people_lie(body):
    rng = np.random.default_rng(0)
    for name, low, high in (('standing', .85, 1.), ('walking', .85, 1.),
                            ('lying', -.5, .5)):
        sampler = PoseSampler(body, stances={name: 1.})
        ups = [sampler.sample(rng).root[1, 1] for _ in range(20)]
        assert low <= np.mean(ups) <= high, name


def test_both_sides_are_used_alike(body, sampler):
    rng = np.random.default_rng(5)
    poses = np.stack([sampler.sample(rng).body_pose for _ in range(600)])
    bent = np.linalg.norm(poses[:, [L_ELBOW - 1, R_ELBOW - 1]], axis=-1)
    left, right = np.degrees(bent.mean(0))
    assert abs(left - right) < 6
    assert bent.std() > .4


def test_mirrored_pose_is_the_mirror_image(body, sampler):
    rng = np.random.default_rng(2)
    pose = sampler.sample(rng).body_pose
    mirrored = sampler._mirror_pose(pose)
    rest = body.joints_template.astype(np.float64)
    rest = (rest + rest[_FLIP] * [-1, 1, 1]) / 2  # symmetric skeleton

    def joints(p):
        rotations = Rotation.from_rotvec(
            np.concatenate([np.zeros((1, 3)), p])).as_matrix()
        return body.forward_kinematics(rotations, rest)[1]

    expected = joints(pose)[_FLIP] * [-1, 1, 1]
    np.testing.assert_allclose(joints(mirrored), expected, atol=1e-6)


def test_unknown_stance_is_refused(body):
    with pytest.raises(ValueError, match='swimming'):
        PoseSampler(body, stances=dict(swimming=1))


def test_penetration_sees_a_hand_in_the_belly(sampler):
    rotations = np.tile(np.eye(3), (24, 1, 1))
    free = sampler.penetration(rotations)
    # The left wrist in the middle of the chest.
    shoulder = sampler.rest[L_SHOULDER] - sampler.rest[9]
    rotations[L_SHOULDER], rotations[L_ELBOW] = limbs.arm_to_target(
        shoulder, np.array([0, -.05, .02]), (1, -1, 0), sampler._upper,
        sampler._lower)
    assert free < PENETRATION_LIMIT < sampler.penetration(rotations)


def _motion(tmp_path, **arrays):
    path = tmp_path / 'motion.npz'
    np.savez(path, **arrays)
    return path


def test_motion_takes_the_heading_out(tmp_path):
    # Upright people (z up) who face every direction.
    stand = Rotation.from_euler('x', 90, degrees=True)
    headings = Rotation.from_euler('z', np.arange(0, 360, 30), degrees=True)
    pose = np.zeros((12, 24, 3), np.float32)
    pose[:, 0] = (headings * stand).as_rotvec()
    pose[:, 5] = .3
    motion = MotionPoses(_motion(tmp_path, pose=pose), noise=0.)
    rng = np.random.default_rng(0)
    for _ in range(20):
        sample = motion.sample(rng)
        np.testing.assert_allclose(sample.root, np.eye(3), atol=1e-6)
        np.testing.assert_allclose(sample.body_pose[4], .3, atol=1e-6)
        assert sample.body_pose.shape == (23, 3)


def test_motion_file_errors_name_file_and_key(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere.npz'):
        MotionPoses(tmp_path / 'nowhere.npz')
    with pytest.raises(ValueError, match="'pose'.*joints"):
        MotionPoses(_motion(tmp_path, joints=np.zeros(3)))
    with pytest.raises(ValueError, match=r'\(N, 24, 3\).*\(5, 22, 3\)'):
        MotionPoses(_motion(tmp_path, pose=np.zeros((5, 22, 3))))
    with pytest.raises(ValueError, match='finite'):
        MotionPoses(_motion(tmp_path, pose=np.full((5, 24, 3), np.nan)))


_FLIP = [
    0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21,
    20, 23, 22
]
