# Copyright (c) The mpm_postometro authors. All rights reserved.
import numpy as np
import pytest
import torch
from mmcv.transforms import Compose
from mmpose.registry import KEYPOINT_CODECS, TRANSFORMS

from mpm_postometro.datasets.transforms import PixelLabel

CODEC = dict(type='PixelLabel', input_size=(64, 96))


def test_known_answer_and_round_trip():
    codec = KEYPOINT_CODECS.build(CODEC)
    assert isinstance(codec, PixelLabel)
    points = np.array([[[0., 0], [63.4, 95.4], [63.6, 3], [-0.6, 3], [3, 96],
                        [np.nan, 3], [20, 30]]])
    visible = np.array([[1., 1, 1, 1, 1, 1, 0]])
    encoded = codec.encode(points, visible)
    np.testing.assert_array_equal(encoded['keypoint_weights'],
                                  [[1, 1, 0, 0, 0, 0, 0]])
    np.testing.assert_array_equal(encoded['keypoint_labels'],
                                  points.astype(np.float32))
    assert all(value.dtype == np.float32 for value in encoded.values())
    assert codec.encode(points)['keypoint_weights'].sum() == 3
    decoded, scores = codec.decode(encoded['keypoint_labels'])
    np.testing.assert_array_equal(decoded, encoded['keypoint_labels'])
    assert scores.shape == (1, 7) and (scores == 1).all()

    kept = PixelLabel((64, 96), outside='keep').encode(points, visible)
    np.testing.assert_array_equal(kept['keypoint_weights'],
                                  [[1, 1, 1, 1, 1, 0, 0]])
    np.testing.assert_array_equal(kept['keypoint_labels'],
                                  encoded['keypoint_labels'])
    with pytest.raises(ValueError, match="'hide' or 'keep', got 'drop'"):
        PixelLabel((64, 96), outside='drop')


def sample():
    rng = np.random.RandomState(0)
    return dict(
        img=rng.randint(0, 256, (100, 100, 3)).astype(np.uint8),
        img_path='photo.jpg',
        bbox=np.array([[20., 10, 80, 90]], np.float32),
        bbox_score=np.ones(1, np.float32),
        keypoints=rng.uniform(0, 100, (1, 16, 2)).astype(np.float32),
        keypoints_visible=rng.randint(0, 2, (1, 16)).astype(np.float32))


@pytest.mark.parametrize('outside', ['hide', 'keep'])
def test_with_the_pipeline_of_mmpose(outside):
    """Weights and labels are those of the tokenizer's own inputs."""
    start = [dict(type='GetBBoxCenterScale', padding=1.25)]
    affine = dict(type='MeshAffine', input_size=(64, 96), outside=outside)
    end = [
        dict(type='GenerateTarget', encoder=dict(CODEC, outside=outside)),
        dict(type='PackPoseInputs')
    ]
    mmpose, ours, tokenizer = (
        Compose([TRANSFORMS.build(t) for t in start + steps])(sample())
        for steps in ([dict(type='TopdownAffine', input_size=(64, 96))] + end,
                      [affine] + end,
                      [affine, dict(type='PackKeypointInputs')]))
    expected = mmpose['data_samples'].gt_instance_labels
    assert expected.keypoint_labels.shape == (1, 16, 2)
    visible = torch.from_numpy(sample()['keypoints_visible'])
    if outside == 'keep':
        assert expected.keypoint_weights.equal(visible)
    else:
        assert 3 < expected.keypoint_weights.sum() < visible.sum()
    for packed in (ours, tokenizer):
        labels = packed['data_samples'].gt_instance_labels
        torch.testing.assert_close(
            labels.keypoint_labels,
            expected.keypoint_labels,
            rtol=0,
            atol=1e-3)
        assert labels.keypoint_weights.equal(expected.keypoint_weights)
    assert (ours['inputs'] == mmpose['inputs']).all()
    weights = expected.keypoint_weights[0, :, None]
    torch.testing.assert_close(
        tokenizer['inputs'],
        torch.cat([expected.keypoint_labels[0] * weights, weights], -1),
        rtol=0,
        atol=1e-3)
