# Copyright (c) The mpm_postometro authors. All rights reserved.
import pickle

import numpy as np
import pytest
from mmpose.registry import DATASETS
from torch.utils.data import DataLoader

from mpm_postometro.datasets.body import SyntheticBodyDataset
from mpm_postometro.datasets.synthesis.cache import SHARD_SIZE

SIZE = 32


def _same(first, second, keys=None):
    for key in keys or first:
        np.testing.assert_array_equal(first[key], second[key], key)


def test_builds_by_name_with_coco_metainfo():
    dataset = DATASETS.build(
        dict(type='SyntheticBodyDataset', length=3, image_size=SIZE))
    assert len(dataset) == 3
    meta = dataset.metainfo
    assert meta['num_keypoints'] == 17
    assert meta['keypoint_id2name'][0] == 'nose'
    assert meta['flip_indices'][5] == 6
    info = dataset.get_data_info(1)
    assert info['img'].shape == (SIZE, SIZE, 3)
    assert info['flip_indices'] == meta['flip_indices']
    assert (info['id'], info['img_id'], info['category_id']) == (1, 1, 1)
    assert len({dataset.get_data_info(i)['id'] for i in range(3)}) == 3


def test_pipeline_and_indices():
    calls = []

    def keep(info):
        calls.append(info['id'])
        return dict(box=info['bbox'])

    dataset = SyntheticBodyDataset(
        length=10, image_size=SIZE, pipeline=[keep], indices=[7, 2])
    assert len(dataset) == 2
    whole = SyntheticBodyDataset(length=10, image_size=SIZE)
    np.testing.assert_array_equal(dataset[0]['box'],
                                  whole.get_data_info(7)['bbox'])
    assert calls == [7]


def test_loader_workers_make_no_difference():
    dataset = SyntheticBodyDataset(length=6, image_size=SIZE)
    expected = [dataset[i] for i in range(6)]
    loader = DataLoader(dataset, batch_size=2, num_workers=2, collate_fn=list)
    items = [item for batch in loader for item in batch]
    for item, other in zip(items, expected):
        _same(item, other, ('img', 'keypoints', 'occlusion', 'betas'))


def test_pickled_dataset_is_the_same():
    dataset = SyntheticBodyDataset(length=2, image_size=SIZE)
    copy = pickle.loads(pickle.dumps(dataset))
    _same(copy[1], dataset[1], ('img', 'keypoints'))


def test_keypoints_only_has_the_same_labels():
    drawn = SyntheticBodyDataset(length=8, image_size=SIZE)
    bare = SyntheticBodyDataset(length=8, image_size=SIZE, keypoints_only=True)
    for index in range(8):
        one, other = drawn[index], bare[index]
        assert 'img' not in other
        _same(one, other, set(other) - {'occlusion', 'keypoints_occluded'})


def test_load_parameters_are_those_of_the_items():
    dataset = SyntheticBodyDataset(
        length=20, image_size=SIZE, indices=[3, 11, 4])
    parameters = dataset.load_parameters()
    assert parameters['betas'].shape == (3, 10)
    assert parameters['body_pose'].shape == (3, 23, 3)
    for key in ('betas', 'body_pose', 'global_orient', 'transl', 'joints_3d'):
        for row in range(3):
            np.testing.assert_array_equal(parameters[key][row],
                                          dataset[row][key][0])


def test_cache_gives_the_same_items(tmp_path):
    settings = dict(length=40, image_size=SIZE, split='val')
    live = SyntheticBodyDataset(**settings)
    cached = SyntheticBodyDataset(cache_dir=tmp_path, **settings)
    told = []
    cached.build_cache(progress=lambda done, total: told.append((done, total)))
    assert told[0] == (0, 40) and told[-1] == (40, 40)
    assert told == sorted(told)
    cached.generator.item = None  # must come from the disk
    cached.cache.make_item = None
    for index in (39, 0, 17):
        _same(cached[index], live[index], set(live[index]))
    # A longer data set uses the same shards.
    longer = SyntheticBodyDataset(
        cache_dir=tmp_path, **{
            **settings, 'length': 70
        })
    assert longer.cache.missing(70) == [2]
    # Other settings do not.
    other = SyntheticBodyDataset(
        cache_dir=tmp_path, occlusion_probability=.1, **settings)
    assert other.cache.missing(40) == [0, 1]


def test_cache_fills_itself(tmp_path):
    dataset = SyntheticBodyDataset(
        length=SHARD_SIZE, image_size=SIZE, cache_dir=tmp_path)
    first = dataset[3]
    assert dataset.cache.missing(SHARD_SIZE) == []
    _same(dataset[3], first, ('img', 'keypoints_occluded'))


def test_parallel_build_goes_on_where_it_stopped(tmp_path):
    settings = dict(length=3 * SHARD_SIZE, image_size=SIZE, cache_dir=tmp_path)
    dataset = SyntheticBodyDataset(**settings)
    dataset.cache.build(1)
    stamp = next(tmp_path.glob('*/000001.npz')).stat().st_mtime_ns
    told = []
    dataset.build_cache(
        num_workers=2, progress=lambda done, _: told.append(done))
    assert told == [SHARD_SIZE, 2 * SHARD_SIZE, 3 * SHARD_SIZE]
    assert next(tmp_path.glob('*/000001.npz')).stat().st_mtime_ns == stamp
    live = SyntheticBodyDataset(length=3 * SHARD_SIZE, image_size=SIZE)
    for index in (1, 2 * SHARD_SIZE + 5):
        _same(dataset[index], live[index], ('img', 'betas'))


def test_progress_bar(tmp_path, capsys):
    dataset = SyntheticBodyDataset(
        length=5, image_size=SIZE, cache_dir=tmp_path)
    dataset.build_cache(progress=True)
    shown = capsys.readouterr().out
    assert '5/5' in shown and 'ETA' in shown
    dataset.build_cache(progress=True)  # nothing left to do
    assert capsys.readouterr().out == ''


def test_real_motion_gives_the_poses(data_dir):
    file = data_dir / 'cmu_mocap' / 'cmu_mocap_val.npz'
    dataset = SyntheticBodyDataset(
        length=16, image_size=SIZE, split='val', motion_file=file)
    with np.load(file) as arrays:
        frames = arrays['pose'][:, 1:].reshape(-1, 69)
    upright = 0
    for item in (dataset[i] for i in range(len(dataset))):
        # A frame of the file, but for a perturbation of 3 degrees.
        away = frames - item['body_pose'].reshape(1, 69)
        assert np.degrees(np.sqrt((away**2).mean(1).min())) < 4.5
        assert item['img'].std() > 5
        joints = item['joints_3d'][0]
        assert .7 < np.ptp(joints, axis=0).max() < 2.1  # metres
        pixels = joints @ item['intrinsics'][0].T
        np.testing.assert_allclose(
            pixels[:, :2] / pixels[:, 2:], item['joints_2d'][0], atol=.01)
        upright += joints[13, 1] < joints[[0, 5], 1].min()  # head, ankles
    assert upright >= 14  # they walk, run and dance


def test_errors(tmp_path):
    with pytest.raises(ValueError, match='length'):
        SyntheticBodyDataset(length=0)
    with pytest.raises(ValueError, match='cache_dir'):
        SyntheticBodyDataset(length=1, image_size=SIZE).build_cache()
    with pytest.raises(FileNotFoundError, match='nowhere'):
        SyntheticBodyDataset(length=1, motion_file=str(tmp_path / 'nowhere'))
    with pytest.raises(TypeError, match='metainfo'):
        SyntheticBodyDataset(length=1, metainfo='coco')
