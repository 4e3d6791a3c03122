# Copyright (c) The mpm_postometro authors. All rights reserved.
import numpy as np
import pytest

from mpm_postometro.datasets.transforms import ChannelGain, SyntheticOcclusion


@pytest.mark.parametrize('dtype', [np.uint8, np.float32])
def test_channel_gain(dtype):
    np.random.seed(0)
    rng = np.random.RandomState(1)
    img = rng.randint(0, 150, (40, 50, 3)).astype(dtype)
    kept = img.copy()
    out = ChannelGain(0.6, 1.4)(dict(img=img))['img']
    np.testing.assert_array_equal(img, kept)
    assert out.dtype == dtype and out.shape == img.shape
    bright = img > 60
    gains = [
        np.median(out[..., c][bright[..., c]].astype(float) /
                  img[..., c][bright[..., c]]) for c in range(3)
    ]
    assert all(0.58 < g < 1.42 for g in gains)
    assert max(gains) - min(gains) > 0.02  # each channel its own
    for c in range(3):
        np.testing.assert_allclose(
            out[..., c], np.minimum(img[..., c] * gains[c], 255), atol=2.5)


def test_channel_gain_clips_and_can_be_off():
    img = np.full((4, 4, 3), 200, np.uint8)
    assert (ChannelGain(2., 2.)(dict(img=img))['img'] == 255).all()
    assert (ChannelGain(2., 2., prob=0.)(dict(img=img))['img'] == img).all()
    with pytest.raises(ValueError, match='low <= high'):
        ChannelGain(1.2, 0.8)


@pytest.mark.parametrize('fill', ['color', 'noise'])
@pytest.mark.parametrize('cropped', [False, True])
def test_occlusion_labels_match_the_pixels(fill, cropped):
    np.random.seed(2)
    y, x = np.mgrid[4:96:8, 4:96:8]
    points = np.stack([x, y], -1).reshape(1, -1, 2).astype(np.float32)
    labelled = np.ones(points.shape[:2], np.float32)
    labelled[0, ::5] = 0
    before = np.zeros_like(labelled)
    before[0, 1] = 1
    hidden_total = 0
    for _ in range(10):
        img = np.full((96, 96, 3), 7, np.uint8)
        sample = dict(
            img=img,
            keypoints_occluded=before,
            occlusion=np.array([0.2], np.float32))
        if cropped:
            sample.update(
                warp_mat=np.eye(2, 3),
                transformed_keypoints=points,
                keypoint_weights=labelled,
                keypoints=np.full_like(points, -1))
        else:
            sample.update(keypoints=points, keypoints_visible=labelled)
        out = SyntheticOcclusion(prob=1., fill=fill)(sample)
        assert (img == 7).all()
        changed = (out['img'] != 7).any(-1)[y.ravel(), x.ravel()]
        expected = (changed & (labelled[0] > 0)) | (before[0] > 0)
        assert out['keypoints_occluded'][0].astype(bool).tolist() == \
            expected.tolist()
        share = ((expected & (labelled[0] > 0) & (before[0] == 0)).sum() /
                 ((labelled[0] > 0) & (before[0] == 0)).sum())
        np.testing.assert_allclose(
            out['occlusion'], 1 - 0.8 * (1 - share), rtol=1e-5)
        hidden_total += changed.sum()
    assert 0 < hidden_total < 10 * points.shape[1]
    assert before.sum() == 1


def test_occlusion_off_and_wrong_arguments():
    img = np.zeros((8, 8, 3), np.uint8)
    out = SyntheticOcclusion(prob=0.)(dict(img=img))
    assert out['img'] is img and set(out) == {'img'}
    for wrong in (dict(fill='x'), dict(num_shapes=(0, 2)), dict(size=(.5,
                                                                      .1))):
        with pytest.raises(ValueError):
            SyntheticOcclusion(**wrong)
