# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Real motion through body and skeleton mappings: bounds on the figures."""
import importlib.util

import numpy as np
import pytest
import torch


@pytest.fixture(scope='module')
def tool(repo_root):
    file = repo_root / 'tools/analysis_tools/compare_mocap_body.py'
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def motion(tool, data_dir):
    file = data_dir / 'cmu_mocap' / 'cmu_mocap_val.npz'
    return tool.load_motion(str(file), stride=100)


def test_mocap_follows_the_body(tool, motion, open_body):
    result = tool.compare(open_body, motion)
    assert result['frames'] == len(motion.pose) == 148
    # Rotations, tree and joint names: the person's bones give the joints.
    assert result['rig_fk'] < .2 and result['rig_fk_max'] < 1.
    # With other bones the error is centimetres, but fixed in the body.
    assert 40 < result['mpjpe'] < 85
    assert result['rig_explained'] < 4
    assert result['mesh_to_tree'] < 6
    for name, row in result['joints'].items():
        if name.endswith(('knee', 'ankle', 'elbow', 'wrist')):
            assert row['angle'] < 8, name
            assert row['rig_explained'] < 4, name


def test_a_wrong_rotation_is_not_explained_by_the_rig(tool, motion, open_body):
    """The bounds can fail: left and right arms swapped."""
    pose = motion.pose.clone()
    pose[:, [18, 19]] = pose[:, [19, 18]]
    result = tool.compare(open_body, motion._replace(pose=pose))
    assert result['rig_fk'] > 10
    assert result['joints']['left_wrist']['angle'] > 8


def test_person_and_body_are_the_same(tool, open_body):
    """A motion made with the body itself leaves no error at all."""
    generator = torch.Generator().manual_seed(0)
    pose = .4 * torch.randn(6, 24, 3, generator=generator)
    trans = torch.randn(6, 3, generator=generator)
    rest = open_body(
        torch.zeros(1, 10), torch.zeros(1, 23, 3), torch.zeros(1, 3)).joints
    offsets = rest - rest[:, [max(p, 0) for p in open_body.parents]]
    motion = tool.Motion(pose, trans, torch.zeros(6, 17, 3),
                         offsets.expand(6, -1, -1), np.zeros(6, int), ('me', ))
    own = tool.pose_body(open_body, motion, batch_size=4)
    torch.testing.assert_close(
        own['tree'],
        tool.pose_rig(open_body, motion)['joints'],
        rtol=0,
        atol=1e-5)
    result = tool.compare(open_body, motion._replace(joints=own['h36m17']))
    assert result['mpjpe'] < .01 and result['rig_explained'] < .01
    assert result['lengths_replaced'] < .01


def test_a_file_without_motion_is_named(tool, tmp_path):
    np.savez(tmp_path / 'motion.npz', pose=np.zeros((2, 24, 3)))
    with pytest.raises(ValueError, match=r"motion\.npz.*'trans'"):
        tool.load_motion(str(tmp_path / 'motion.npz'))
