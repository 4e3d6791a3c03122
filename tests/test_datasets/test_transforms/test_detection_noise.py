# Copyright (c) The mpm_postometro authors. All rights reserved.
import numpy as np
import pytest
from clips import make_clip
from mmpose.registry import TRANSFORMS

from mpm_postometro.datasets.transforms import DetectionNoise

NONE = dict(jitter=0, drift=0, miss_rate=0)


def still_clip(num_frames=2000, key=(0, 0, 0)):
    """Nobody moves, and the person is 400 pixels large."""
    clip = make_clip(num_frames, key=key)
    x = np.linspace(100, 500, 17)
    clip['keypoints_2d'] = np.tile(
        np.stack([x, x / 2], -1), (num_frames, 1, 1)).astype(np.float32)
    del clip['keypoints_2d_scores']
    return clip


def errors(key=(0, 0, 0), num_frames=2000, **settings):
    """Errors as parts of the person's size, and scores."""
    clip = still_clip(num_frames, key)
    true = clip['keypoints_2d'].copy()
    found = DetectionNoise(**settings)(clip)
    return ((found['keypoints_2d'] - true) / 400, found['keypoints_2d_scores'])


def correlation(x, lag):
    return (x[lag:] * x[:-lag]).mean() / (x**2).mean()


def test_jitter_is_new_in_each_frame():
    found, scores = errors(**{**NONE, 'jitter': .01})
    assert found.std() == pytest.approx(.01, rel=.02)
    assert abs(correlation(found, 1)) < .02
    assert scores.min() > .4 and scores.mean() > .9


def test_drift_lasts():
    found, _ = errors(**{**NONE, 'drift': .01}, drift_frames=20)
    assert found.std() == pytest.approx(.01, rel=.1)
    assert correlation(found, 20) == pytest.approx(np.exp(-1), abs=.1)
    # from the first frame on
    first = [
        errors((0, 0, i), 3, **{
            **NONE, 'drift': .01
        })[0][0] for i in range(60)
    ]
    assert np.std(first) == pytest.approx(.01, rel=.1)


def test_lost_joints():
    found, scores = errors(**{**NONE, 'miss_rate': .1}, miss_frames=12)
    lost = (found != 0).any(-1)
    assert lost.mean() == pytest.approx(.1, abs=.02)
    starts = (lost[1:] & ~lost[:-1]).sum()
    assert lost.sum() / starts == pytest.approx(12, rel=.15)
    assert found[lost].std() == pytest.approx(.15, rel=.1)
    assert (np.diff(found, axis=0)[lost[1:] & lost[:-1]] == 0).mean() > .95
    assert np.median(scores[lost]) < .1 and scores[~lost].min() >= .9


def test_nothing_and_another_picture_size():
    found, scores = errors(**NONE)
    assert not found.any() and (scores >= .9).all()
    small = still_clip(50)
    small['keypoints_2d'] /= 4
    true = small['keypoints_2d'].copy()
    small = DetectionNoise()(small)
    found, _ = errors(num_frames=50)
    np.testing.assert_allclose((small['keypoints_2d'] - true) / 100,
                               found, atol=1e-6)  # yapf: disable


def test_depends_on_seed_epoch_and_clip_alone():
    first, _ = errors((3, 1, 7), 9)
    np.random.seed(5)
    again, _ = errors((3, 1, 7), 9)
    np.testing.assert_array_equal(first, again)
    for other in (errors((3, 2, 7), 9), errors(
        (3, 1, 8), 9), errors((3, 1, 7), 9, seed=1)):
        assert (other[0] != first).any()


def test_repeated_frames_and_what_stays():
    clip = still_clip(6)
    clip['frame_indices'] = np.array([4, 4, 4, 5, 6, 6])
    before = {k: np.copy(v) for k, v in clip.items()}
    source = clip['keypoints_2d']
    clip = TRANSFORMS.build(dict(type='DetectionNoise'))(clip)
    for key in ('keypoints_2d', 'keypoints_2d_scores'):
        np.testing.assert_array_equal(clip[key][0], clip[key][2])
        np.testing.assert_array_equal(clip[key][4], clip[key][5])
        assert (clip[key][2] != clip[key][3]).any()
    assert clip['keypoints_2d'].dtype == np.float32
    np.testing.assert_array_equal(source, before['keypoints_2d'])
    for key in ('keypoints_3d', 'camera', 'frame_indices'):
        np.testing.assert_array_equal(clip[key], before[key])
    clip['has_2d'] = False
    keypoints = clip['keypoints_2d']
    assert DetectionNoise()(clip)['keypoints_2d'] is keypoints


@pytest.mark.parametrize('setting', [
    dict(jitter=-1), dict(drift=-.1), dict(drift_frames=0),
    dict(miss_rate=1.), dict(miss_frames=.5), dict(miss_size=-1)
])  # yapf: disable
def test_settings_out_of_range(setting):
    with pytest.raises(ValueError, match='must'):
        DetectionNoise(**setting)
