# Copyright (c) The mpm_postometro authors. All rights reserved.
import pytest
import torch
from mmengine.dataset import pseudo_collate
from mpm_batches import make_batch

from mpm_postometro.models.pose_estimators import SequenceDataPreprocessor


def test_stacks_what_the_loader_collates():
    data = make_batch()
    clips = [
        dict(
            inputs={
                k: v[i]
                for k, v in data['inputs'].items()
            },
            data_samples=sample)
        for i, sample in enumerate(data['data_samples'])
    ]
    out = SequenceDataPreprocessor()(pseudo_collate(clips))
    assert out['data_samples'] == data['data_samples']
    for key, values in data['inputs'].items():
        assert out['inputs'][key].equal(torch.stack(values))
    for name in ('2d', '3d'):
        frame_mask = out['inputs'][f'frame_mask_{name}']
        visible = out['inputs'][f'visible_{name}']
        for row, mask in zip(visible, frame_mask):
            assert row.tolist() == (~mask).nonzero()[:, 0].tolist()
        assert f'clips_{name}' not in out['inputs']


def test_stacked_inputs_stay_as_they_are():
    data = make_batch()
    expected = SequenceDataPreprocessor()(data)['inputs']
    stacked = {k: torch.stack(v) for k, v in data['inputs'].items()}
    actual = SequenceDataPreprocessor()(dict(inputs=stacked))['inputs']
    assert actual.keys() == expected.keys()
    assert all(value.equal(expected[key]) for key, value in actual.items())
    assert 'visible_2d' not in stacked


def test_masks_that_hide_nothing_are_left_out():
    data = make_batch()
    for mask in (data['inputs']['joint_mask_2d'],
                 data['inputs']['frame_mask_3d']):
        for row in mask:
            row[:] = False
    inputs = SequenceDataPreprocessor()(data)['inputs']
    assert 'joint_mask_2d' not in inputs and 'visible_2d' in inputs
    assert 'joint_mask_3d' in inputs
    assert not {'frame_mask_3d', 'visible_3d'} & set(inputs)


def test_says_which_clips_have_a_modality():
    data = make_batch(masked=False, has_3d=[False, True, True, False])
    inputs = SequenceDataPreprocessor()(data)['inputs']
    assert inputs['clips_3d'].tolist() == [1, 2]
    assert 'clips_2d' not in inputs and 'visible_2d' not in inputs


def test_refuses_clips_that_do_not_stack():
    data = make_batch()
    mask = data['inputs']['frame_mask_3d'][1]
    mask[mask.nonzero()[0]] = False
    with pytest.raises(ValueError, match="'frame_mask_3d': all clips"):
        SequenceDataPreprocessor()(data)
    data['inputs']['keypoints_2d'][1] = torch.zeros(3, 5, 2)
    with pytest.raises(ValueError, match="'keypoints_2d' .* do not stack"):
        SequenceDataPreprocessor()(data)
