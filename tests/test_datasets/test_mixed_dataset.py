# Copyright (c) The mpm_postometro authors. All rights reserved.
from types import SimpleNamespace

import numpy as np
import pytest
from mmpose.registry import DATASETS
from torch.utils.data import DataLoader

from mpm_postometro.datasets.epoch_hook import DatasetEpochHook
from mpm_postometro.datasets.mixed_dataset import (MixedDataset, _shares,
                                                   _shuffled)


class Numbers:
    """Items that say whose they are."""

    metainfo = dict(name='numbers')

    def __init__(self, name, length):
        self.name, self.length = name, length

    def __len__(self):
        return self.length

    def __getitem__(self, index):
        assert 0 <= index < self.length
        return (self.name, index)

    def get_data_info(self, index):
        return dict(index=index)


def mix(lengths=(10, 100, 7), **kwargs):
    return MixedDataset([Numbers(name, n) for name, n in zip('abc', lengths)],
                        **kwargs)


def count(items):
    names = [name for name, _ in items]
    return [names.count(name) for name in 'abc']


def test_shares_are_exact():
    assert count(list(mix(ratios=(1, 1, 2), length=40))) == [10, 10, 20]
    assert count(list(mix(ratios=(.5, 0, .2), length=70))) == [50, 0, 20]
    assert count(list(mix())) == [10, 100, 7]
    assert _shares([1, 1, 1], 10) == [4, 3, 3]
    assert _shares([.6, .3, .1], 7) == [4, 2, 1]
    for seed in range(20):
        rng = np.random.RandomState(seed)
        ratios, length = rng.rand(5), rng.randint(1, 1000)
        shares = _shares(ratios, length)
        assert sum(shares) == length
        wanted = ratios / ratios.sum() * length
        assert np.abs(shares - wanted).max() < 1


def test_shares_hold_in_each_part_of_an_epoch():
    items = list(mix(ratios=(1, 2, 1), length=400))
    for start in range(0, 400, 20):
        np.testing.assert_allclose(
            count(items[start:start + 20]), [5, 10, 5], atol=1)


@pytest.mark.parametrize('length', [1, 2, 3, 7, 64, 65, 1000])
def test_shuffling_is_a_permutation(length):
    order = [_shuffled(i, length, ('key', )) for i in range(length)]
    assert sorted(order) == list(range(length))
    if length > 60:
        other = [_shuffled(i, length, ('other', )) for i in range(length)]
        assert order != other and order != sorted(order)
        # neither neighbours nor places are kept
        assert np.mean(np.diff(order) == 1) < .1
        assert abs(np.corrcoef(order, range(length))[0, 1]) < .4


def test_every_item_comes_before_any_comes_twice():
    mixed = mix(lengths=(10, 50, 9), ratios=(1, 1, 1), length=30)
    seen = {name: [] for name in 'abc'}
    for epoch in range(5):
        mixed.set_epoch(epoch)
        for index in range(len(mixed)):
            name, item = mixed[index]
            seen[name].append(item)
    assert sorted(seen['b']) == list(range(50))  # 10 an epoch
    assert seen['a'][:10] != seen['a'][10:20]
    counts = np.bincount(seen['c'], minlength=9)
    assert counts.min() >= 5 and counts.max() <= 6


def test_a_function_of_seed_epoch_and_index():
    first, again, other = mix(seed=1), mix(seed=1), mix(seed=2)
    one = list(first)
    assert list(again) == one != list(other)
    DatasetEpochHook().before_train_epoch(
        SimpleNamespace(
            train_dataloader=SimpleNamespace(dataset=first),
            epoch=1,
            seed=0,
            rank=0))
    assert list(first) != one
    assert [again[i] for i in range(len(again))
            ][::-1] == [again[-1 - i] for i in range(len(again))]
    assert len(list(first)) == 117
    with pytest.raises(IndexError, match='117 of 117'):
        first[117]


def test_workers_see_the_epoch():
    mixed = mix()
    loader = DataLoader(
        mixed, num_workers=2, persistent_workers=True, collate_fn=list)
    for epoch in (0, 3):
        mixed.set_epoch(epoch)
        assert [x[0] for x in loader] == [mixed[i] for i in range(len(mixed))]


def test_builds_from_a_config_and_passes_on():
    mixed = DATASETS.build(
        dict(type='MixedDataset', datasets=[Numbers('a', 3)], length=5))
    assert mixed.metainfo == Numbers.metainfo
    mixed.full_init()
    assert mixed.get_data_info(2)['index'] == mixed[2][1]


@pytest.mark.parametrize('arguments, message', [
    (dict(ratios=(1, 2)), 'ratios must be 3 numbers'),
    (dict(ratios=(1, -1, 1)), 'none negative'),
    (dict(ratios=(0, 0, 0)), 'not all 0'),
    (dict(length=0), 'length must be at least 1'),
])
def test_wrong_settings_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        mix(**arguments)
    with pytest.raises(ValueError, match='at least one'):
        MixedDataset([])
