# Copyright (c) The mpm_postometro authors. All rights reserved.
import numpy as np
import pytest
import torch

from mpm_postometro.bodies import load_body
from mpm_postometro.datasets.body.motion_files import read_amass


@pytest.fixture(scope='module')
def body():
    return load_body()


@pytest.fixture
def write(tmp_path):

    def write(**changes):
        rng = np.random.default_rng(0)
        arrays = dict(
            poses=rng.normal(0, .2, (7, 156)),
            trans=rng.normal(0, 1, (7, 3)),
            betas=rng.normal(0, 1, 16),
            mocap_framerate=np.array(120.),
            gender=np.array('female'))
        arrays.update(changes)
        kept = {k: v for k, v in arrays.items() if v is not None}
        np.savez(tmp_path / 'poses.npz', **kept)
        return tmp_path / 'poses.npz', arrays

    return write


def test_through_the_body(write, body):
    path, arrays = write()
    motion = read_amass(path, body, fps=60)
    assert motion.fps == 60 and motion.joints.shape == (4, 17, 3)
    pose = torch.zeros(4, 24, 3)
    pose[:, :22] = torch.tensor(arrays['poses'][::2, :66]).view(4, 22, 3)
    output = body(
        torch.tensor(arrays['betas'])[None, :10], pose[:, 1:], pose[:, 0],
        torch.tensor(arrays['trans'][::2]))
    np.testing.assert_allclose(
        motion.joints,
        body.regress_joints(output.vertices, 'h36m17'),
        atol=1e-6)
    np.testing.assert_allclose(motion.trans, output.joints[:, 0], atol=1e-6)
    np.testing.assert_array_equal(motion.pose, pose)
    rest = body(
        torch.tensor(arrays['betas'])[None, :10], torch.zeros(1, 23, 3),
        torch.zeros(1, 3)).joints[0]  # yapf: disable
    np.testing.assert_allclose(
        motion.rest_offsets[4], rest[4] - rest[1], atol=1e-6)
    assert not motion.rest_offsets[0].any()


def test_other_names_of_keys(write, body):
    path, _ = write(
        mocap_framerate=None, mocap_frame_rate=30., poses=np.zeros((7, 165)))
    assert read_amass(path, body).fps == 30


@pytest.mark.parametrize('changes, message', [
    (dict(trans=None), "poses.npz: has no key 'trans', only"),
    (dict(mocap_framerate=None), "has no key 'mocap_framerate'"),
    (dict(poses=np.zeros((7, 63))), r"'poses' must be \(N, 156\), got \(7"),
    (dict(trans=np.zeros((6, 3))), r"'trans' must be \(7, 3\).*got \(6, 3\)"),
    (dict(trans=np.full((7, 3), np.nan)), 'not finite in 7 frames'),
    (dict(poses=np.zeros((0, 156)), trans=np.zeros((0, 3))), 'no frames'),
    (dict(mocap_framerate=100.), 'no whole step makes 60'),
])
def test_what_is_wrong_is_named(write, body, changes, message):
    with pytest.raises(ValueError, match=message):
        read_amass(write(**changes)[0], body, fps=60)


def test_no_file(tmp_path, body):
    with pytest.raises(FileNotFoundError, match='nowhere.npz'):
        read_amass(tmp_path / 'nowhere.npz', body)
