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


def test_says_which_clips_have_a_modality():
    data = make_batch(masked=False, has_3d=[False, True, True, False])
    inputs = SequenceDataPreprocessor()(data)['inputs']
    assert inputs['clips_3d'].tolist() == [1, 2]
    assert 'clips_2d' not in inputs and 'visible_2d' not in inputs


def test_refuses_clips_that_do_not_stack():
    data = make_batch()
    data['inputs']['frame_mask_3d'][1][:] = False
    with pytest.raises(ValueError, match="'frame_mask_3d': all clips"):
        SequenceDataPreprocessor()(data)
    data['inputs']['keypoints_2d'][1] = torch.zeros(3, 5, 2)
    with pytest.raises(ValueError, match="'keypoints_2d' .* do not stack"):
        SequenceDataPreprocessor()(data)
