# Copyright (c) The mpm_postometro authors. All rights reserved.
import numpy as np
import pytest
from mmengine import Config
from mmpose.datasets.datasets.utils import parse_pose_metainfo

from mpm_postometro.bodies import SKELETONS, joint_mapping, metainfo
from mpm_postometro.bodies.skeletons import HUMAN_DATA_POSITIONS

SIZES = dict(
    smpl24=24,
    j24=24,
    j14=14,
    h36m17=17,
    h36m16=16,
    coco17=17,
    openpose18=18,
    openpose25=25)


@pytest.mark.parametrize('name', sorted(SIZES))
def test_skeleton_is_sound(name):
    skeleton = SKELETONS[name]
    count = SIZES[name]
    assert skeleton.num_joints == count == len(set(skeleton.joint_names))
    assert sum(p < 0 for p in skeleton.parents) == 1
    flips = np.array(skeleton.flip_indices)
    np.testing.assert_array_equal(flips[flips], np.arange(count))
    for joint, flip in zip(skeleton.joint_names, flips):
        if joint.startswith('left_'):
            assert skeleton.joint_names[flip] == joint.replace('left', 'right')
        elif not joint.startswith('right_'):
            assert skeleton.joint_names[flip] == joint
    for joint in range(count):  # every joint reaches the root
        steps = 0
        while skeleton.parents[joint] >= 0:
            joint = skeleton.parents[joint]
            steps += 1
            assert steps < count
    # The tree is the same seen in a mirror.
    links = {frozenset(link) for link in skeleton.links}
    assert links == {frozenset(flips[list(link)]) for link in links}


def test_known_mappings():
    assert joint_mapping(
        'h36m17', 'j14') == [3, 2, 1, 4, 5, 6, 16, 15, 14, 11, 12, 13, 8, 10]
    assert joint_mapping('j24', 'j14') == list(range(13)) + [18]
    assert joint_mapping('j24', 'coco17') == [
        19, 20, 21, 22, 23, 9, 8, 10, 7, 11, 6, 3, 2, 4, 1, 5, 0
    ]
    assert joint_mapping('h36m17',
                         'h36m16') == [i for i in range(17) if i != 9]
    assert joint_mapping('j24', 'h36m17') == [
        14, 2, 1, 0, 3, 4, 5, 16, 12, 17, 18, 9, 10, 11, 8, 7, 6
    ]


def test_known_flips():
    assert SKELETONS['j24'].flip_indices == (5, 4, 3, 2, 1, 0, 11, 10, 9, 8, 7,
                                             6, 12, 13, 14, 15, 16, 17, 18, 19,
                                             21, 20, 23, 22)
    h36m = SKELETONS['h36m17']
    left, right = (4, 5, 6, 11, 12, 13), (1, 2, 3, 14, 15, 16)
    for a, b in zip(left, right):
        assert h36m.flip_indices[a] == b
    assert SKELETONS['smpl24'].parents == (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8,
                                           9, 9, 9, 12, 13, 14, 16, 17, 18, 19,
                                           20, 21)


def test_smpl_tree_gives_the_limbs_only():
    mapping = joint_mapping('smpl24', 'h36m17', allow_missing=True)
    assert mapping == [
        -1, 2, 5, 8, 1, 4, 7, -1, -1, -1, -1, 16, 18, 20, 17, 19, 21
    ]
    with pytest.raises(ValueError, match="'pelvis', 'torso', 'neck'"):
        joint_mapping('smpl24', 'h36m17')
    assert joint_mapping('smpl24', 'smpl24') == list(range(24))


def test_openpose_has_the_joints_of_coco():
    assert joint_mapping('openpose18', 'coco17') == [
        0, 15, 14, 17, 16, 5, 2, 6, 3, 7, 4, 11, 8, 12, 9, 13, 10
    ]
    assert joint_mapping('openpose25', 'coco17') == [
        0, 16, 15, 18, 17, 5, 2, 6, 3, 7, 4, 12, 9, 13, 10, 14, 11
    ]
    # Its neck is no neck of ours.
    assert joint_mapping(
        'openpose25', 'j14', allow_missing=True)[12:] == [-1, -1]


def test_positions_in_human_data():
    for name, positions in HUMAN_DATA_POSITIONS.items():
        assert len(positions) == len(set(positions)) == SIZES[name]
        assert 0 <= min(positions) and max(positions) < 190
    # Joints of the limbs are SMPL's for all but OpenPose.
    smpl = HUMAN_DATA_POSITIONS['smpl24']
    for name in ('j24', 'h36m17'):
        mapping = joint_mapping('smpl24', name, allow_missing=True)
        for joint, source in zip(SKELETONS[name].joint_names, mapping):
            same = HUMAN_DATA_POSITIONS[name][SKELETONS[name].index(
                joint)] == smpl[source]
            assert same == (source >= 0 and not joint.endswith('hip'))


def test_unknown_names_are_refused():
    with pytest.raises(ValueError, match='coco17'):
        joint_mapping('coco', 'j14')
    with pytest.raises(ValueError, match="no joint 'nose'"):
        SKELETONS['j14'].index('nose')
    assert SKELETONS['h36m17'].index('head') == 10


@pytest.mark.parametrize('name', sorted(SIZES))
def test_metainfo_is_parsed_by_mmpose(name):
    parsed = parse_pose_metainfo(metainfo(name))
    skeleton = SKELETONS[name]
    assert tuple(parsed['flip_indices']) == skeleton.flip_indices
    assert tuple(parsed['keypoint_id2name'].values()) == skeleton.joint_names
    assert [tuple(x) for x in parsed['skeleton_links']] == list(skeleton.links)
    assert len(parsed['dataset_keypoint_weights']) == skeleton.num_joints


def test_coco_metainfo_agrees_with_mmpose():
    ours = parse_pose_metainfo(metainfo('coco17'))
    theirs = parse_pose_metainfo(
        dict(from_file='configs/_base_/datasets/coco.py'))
    for key in ('dataset_name', 'keypoint_id2name', 'flip_indices',
                'upper_body_ids', 'lower_body_ids'):
        assert ours[key] == theirs[key], key
    np.testing.assert_allclose(ours['sigmas'], theirs['sigmas'])
    np.testing.assert_allclose(ours['dataset_keypoint_weights'],
                               theirs['dataset_keypoint_weights'])
    assert {frozenset(x) for x in ours['skeleton_links']} == {
        frozenset(x) for x in theirs['skeleton_links']
    }  # yapf: disable


def test_metainfo_survives_a_config_file(tmp_path):
    config = Config(dict(metainfo=metainfo('j14')))
    config.dump(tmp_path / 'config.py')
    again = Config.fromfile(tmp_path / 'config.py').metainfo
    assert len(parse_pose_metainfo(again)['flip_indices']) == 14
