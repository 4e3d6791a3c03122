# Copyright (c) The mpm_postometro authors. All rights reserved.
import numpy as np
import pytest
from clips import make_clip
from mmpose.registry import TRANSFORMS

from mpm_postometro.datasets.transforms import (ConfidenceMask, FlipSequence,
                                                GivenMask, NormalizeScreen,
                                                RandomSpatioTemporalMask,
                                                TubeMask)

KEYS = ('joint_mask_2d', 'joint_mask_3d', 'frame_mask_2d', 'frame_mask_3d')
LEGS = [[1, 2, 3], [4, 5, 6]]


def masks(transform, **kwargs):
    results = transform(make_clip(**kwargs))
    return {key: results[key] for key in KEYS if key in results}


@pytest.mark.parametrize('num_frames, hidden_frames', [(9, 5), (27, 16),
                                                       (81, 48), (243, 145),
                                                       (351, 210)])
def test_exact_counts(num_frames, hidden_frames):
    transform = TRANSFORMS.build(dict(type='RandomSpatioTemporalMask'))
    every = [
        masks(transform, num_frames=num_frames, key=(0, 0, i))
        for i in range(20)
    ]
    for found in every:
        for modality in ('2d', '3d'):
            joints = found[f'joint_mask_{modality}']
            frames = found[f'frame_mask_{modality}']
            assert joints.dtype == frames.dtype == bool
            assert frames.sum() == hidden_frames
            assert (joints.sum(1) == 5).all()
        # 2D and 3D are masked independently
        assert (found['joint_mask_2d'] != found['joint_mask_3d']).any()
    # each joint and each frame has its turn, in different clips others
    joints = np.mean([m['joint_mask_2d'] for m in every], 0)
    assert np.abs(joints.mean(0) - 5 / 17).max() < .15
    assert len({m['frame_mask_2d'].tobytes() for m in every}) > 10


def test_718_permille_are_hidden():
    found = masks(RandomSpatioTemporalMask(0.6, 5), num_frames=250)
    for modality in ('2d', '3d'):
        hidden = (
            found[f'joint_mask_{modality}']
            | found[f'frame_mask_{modality}'][:, None])
        assert hidden.mean() == pytest.approx(.718, abs=5e-4)


def test_depends_on_seed_epoch_and_index_alone():
    transform = RandomSpatioTemporalMask()
    first = masks(transform, key=(3, 1, 7))
    np.random.seed(123)
    masks(transform, key=(3, 1, 8))  # another clip in between
    again = masks(RandomSpatioTemporalMask(), key=(3, 1, 7), seed=5)
    for key in KEYS:
        np.testing.assert_array_equal(first[key], again[key])
    others = [masks(transform, key=k) for k in ((4, 1, 7), (3, 2, 7))]
    others.append(masks(RandomSpatioTemporalMask(seed=1), key=(3, 1, 7)))
    for other in others:
        assert (other['joint_mask_2d'] != first['joint_mask_2d']).any()
    clip = make_clip()
    del clip['item_key']
    with pytest.raises(KeyError, match="S1/Walking/0 has no 'item_key'"):
        transform(clip)


def test_nothing_hidden_and_bad_settings():
    found = masks(RandomSpatioTemporalMask(0., 0))
    assert not any(m.any() for m in found.values())
    for setting in (dict(frame_ratio=1.), dict(num_joints=-1),
                    dict(modalities=('4d', )), dict(modalities=())):
        with pytest.raises(ValueError, match='must'):
            RandomSpatioTemporalMask(**setting)
    with pytest.raises(ValueError, match='18 of 17 joints'):
        masks(RandomSpatioTemporalMask(num_joints=18))


@pytest.mark.parametrize('skeleton, limb, joints',
                         [('h36m17', 'left_leg', [4, 5, 6]),
                          ('h36m17', 'right_leg', [1, 2, 3]),
                          ('h36m17', 'left_arm', [11, 12, 13]),
                          ('h36m17', 'right_arm', [14, 15, 16]),
                          ('h36m17',
                           ('left_arm', 'left_leg'), [4, 5, 6, 11, 12, 13]),
                          ('h36m17', 'right_wrist', [16]),
                          ('h36m16', 'left_arm', [10, 11, 12]),
                          ('h36m16', 'right_arm', [13, 14, 15])])
def test_tube_hides_the_limb_in_all_frames(skeleton, limb, joints):
    transform = TubeMask([limb], modalities=('3d', ))
    found = masks(transform, skeleton=skeleton)
    assert set(found) == {'joint_mask_3d', 'frame_mask_3d'}
    assert not found['frame_mask_3d'].any()
    assert (found['joint_mask_3d'] == found['joint_mask_3d'][:1]).all()
    assert np.flatnonzero(found['joint_mask_3d'][0]).tolist() == joints


def test_tube_takes_each_choice():
    transform = TubeMask(['left_leg', 'right_leg'], num_joints=(1, 2))
    counts = dict(left=0, right=0, random=0)
    joints = np.zeros(17)
    for i in range(300):
        mask = masks(transform, key=(0, 0, i))['joint_mask_2d'][0]
        hidden = np.flatnonzero(mask).tolist()
        which = {
            str(LEGS[1]): 'left',
            str(LEGS[0]): 'right'
        }.get(str(hidden), 'random')
        counts[which] += 1
        if which == 'random':
            assert 1 <= len(hidden) <= 2
            joints[hidden] += 1
    assert min(counts.values()) > 70
    assert joints[0] == 0 and (joints[1:] > 0).all()  # never the root


def test_tube_names_what_it_hides():
    pair = ('left_arm', 'left_leg')
    transform = TubeMask(['right_leg', pair, 'head'], (1, 2),
                         modalities=['2d'])
    joints = {
        'right_leg': {1, 2, 3},
        'left_arm+left_leg': {4, 5, 6, 11, 12, 13},
        'head': {10}
    }
    names = set()
    for i in range(40):
        clip = transform(make_clip(key=(0, 0, i)))
        hidden = set(np.flatnonzero(clip['joint_mask_2d'][0]))
        name = clip['mask_name']
        assert hidden == joints.get(name, hidden)
        assert name in joints or name == 'random_joints' and len(hidden) < 3
        names.add(name)
    assert names == {*joints, 'random_joints'}
    # 2D and 3D: one name if it is the same, else both
    assert TubeMask([pair])(make_clip())['mask_name'] == 'left_arm+left_leg'
    transform = TubeMask(['left_leg', 'right_leg'])
    names = {
        transform(make_clip(key=(0, 0, i)))['mask_name']
        for i in range(40)
    }
    assert names == {
        'left_leg', 'right_leg', 'left_leg|right_leg', 'right_leg|left_leg'
    }


def test_tube_settings():
    with pytest.raises(ValueError, match="has no joint 'left_wing'"):
        TubeMask(['left_wing'])
    with pytest.raises(ValueError, match='needs limbs or num_joints'):
        TubeMask()
    with pytest.raises(ValueError, match="must be a list, got 'left_leg'"):
        TubeMask('left_leg')
    with pytest.raises(ValueError, match='between 1 and 16'):
        TubeMask(num_joints=(0, 3))
    # joint 9 of the 17
    with pytest.raises(ValueError, match="has no joint 'neck_base'"):
        TubeMask(['neck_base'])
    with pytest.raises(ValueError, match=r'of \[16, 17\] joints, got 24'):
        masks(TubeMask(['left_leg']), skeleton='smpl24')


def test_low_confidence_is_hidden():
    clip = make_clip()
    found = ConfidenceMask(0.4)(dict(clip))
    np.testing.assert_array_equal(found['joint_mask_2d'],
                                  clip['keypoints_2d_scores'] < .4)
    assert 'joint_mask_3d' not in found
    del clip['keypoints_2d_scores']
    assert not ConfidenceMask(0.4)(clip)['joint_mask_2d'].any()


def test_masks_add_up():
    clip = RandomSpatioTemporalMask(0.5, 2)(make_clip())
    frames, joints = clip['frame_mask_2d'], clip['joint_mask_2d']
    clip = TubeMask(['left_leg'])(clip)
    np.testing.assert_array_equal(clip['frame_mask_2d'], frames)
    assert clip['joint_mask_2d'][:, 4:7].all()
    rest = [i for i in range(17) if i not in (4, 5, 6)]
    np.testing.assert_array_equal(clip['joint_mask_2d'][:, rest], joints[:,
                                                                         rest])


def test_given_masks(tmp_path):
    tube = np.zeros(17, bool)
    tube[[2, 9]] = True
    found = masks(GivenMask(tube.tolist()))
    assert (found['joint_mask_2d'] == tube).all()
    each = np.random.default_rng(0).random((9, 17)) < .5
    np.save(tmp_path / 'mask.npy', each)
    found = masks(GivenMask(str(tmp_path / 'mask.npy'), modalities=['3d']))
    np.testing.assert_array_equal(found['joint_mask_3d'], each)
    # by sequence: the clip's frames of it
    whole = np.random.default_rng(0).random((40, 17)) < .5
    np.savez(tmp_path / 'masks.npz', **{'S1/Walking/0': whole})
    clip = make_clip()
    clip['frame_indices'] = np.array([0, 0, 0, 0, 0, 2, 4, 6, 8])
    found = GivenMask(tmp_path / 'masks.npz')(clip)
    np.testing.assert_array_equal(found['joint_mask_2d'],
                                  whole[clip['frame_indices']])
    found['joint_mask_2d'][:] = True  # is the clip's own
    assert not whole.all()


def test_given_masks_that_do_not_fit(tmp_path):
    with pytest.raises(FileNotFoundError, match='nowhere.npz'):
        GivenMask('nowhere.npz')
    with pytest.raises(ValueError, match='must be bool.* got float64'):
        GivenMask(np.zeros(17))
    with pytest.raises(ValueError, match=r'\(9, 16\), but the clip has'):
        masks(GivenMask(np.zeros((9, 16), bool)))
    np.savez(tmp_path / 'masks.npz', S9=np.zeros((5, 17), bool))
    by_sequence = GivenMask(tmp_path / 'masks.npz')
    with pytest.raises(ValueError, match=r"masks.npz: no key 'S1/W.*'S9'"):
        masks(by_sequence)
    clip = {**make_clip(), 'sequence': 'S9'}
    with pytest.raises(ValueError, match="key 'S9' has 5 frames"):
        by_sequence(clip)


@pytest.mark.parametrize('kind', ['array', 'frames', 'sequence'])
def test_given_mask_of_a_mirrored_clip(kind):
    """What is wrong on the left of the data is on the right of the mirror
    image, whichever comes first."""
    mask = np.zeros(17, bool)
    mask[LEGS[1]] = True
    if kind != 'array':
        mask = np.tile(mask, (9, 1))
    if kind == 'sequence':
        mask = {'S1/Walking/0': mask}
    flip, hide = FlipSequence(prob=1.), GivenMask(mask)
    first = hide(flip(NormalizeScreen()(make_clip())))
    last = flip(hide(NormalizeScreen()(make_clip())))
    for results in (first, last):
        for key in ('joint_mask_2d', 'joint_mask_3d'):
            assert (results[key].nonzero()[1].reshape(9, 3) == LEGS[0]).all()
    plain = GivenMask(mask)(
        FlipSequence(prob=0.)(NormalizeScreen()(make_clip())))
    assert plain['joint_mask_2d'][0].nonzero()[0].tolist() == LEGS[1]


def test_the_name_of_a_tube_is_mirrored_with_it():
    clip = TubeMask([['left_arm', 'left_leg']])(NormalizeScreen()(make_clip()))
    assert FlipSequence(prob=1.)(clip)['mask_name'] == 'right_arm+right_leg'
    assert clip['joint_mask_2d'][0].nonzero()[0].tolist() == [
        1, 2, 3, 14, 15, 16
    ]
