# Copyright (c) The mpm_postometro authors. All rights reserved.
import multiprocessing
import time

import numpy as np
import pytest

from mpm_postometro.datasets.synthesis.cache import SHARD_SIZE, ShardCache


class Maker:
    """Cheap items that count how often they are made."""

    def __init__(self, log=None, delay=0.):
        self.log, self.delay = log, delay

    def __call__(self, index):
        if self.log is not None:
            with open(self.log, 'a') as file:
                file.write(f'{index}\n')
        time.sleep(self.delay)
        rng = np.random.default_rng(index)
        return dict(
            img=rng.integers(0, 256, (8, 8, 3), dtype=np.uint8),
            betas=rng.normal(size=(1, 10)).astype(np.float32))

    def made(self):
        if not self.log.exists():
            return []
        return [int(line) for line in self.log.read_text().split()]


@pytest.fixture
def maker(tmp_path):
    return Maker(tmp_path / 'log.txt')


def _same(item, index):
    expected = Maker()(index)
    assert set(item) == set(expected)
    for key in expected:
        np.testing.assert_array_equal(item[key], expected[key])
        assert item[key].dtype == expected[key].dtype
        item[key][...] = 0  # one's own to write to


def test_reads_what_was_built(tmp_path, maker):
    cache = ShardCache(tmp_path / 'cache', maker)
    assert cache.read(5) is None and cache.missing(2 * SHARD_SIZE) == [0, 1]
    for index in (5, 0, SHARD_SIZE - 1, 5):
        _same(cache.get(index), index)
    assert cache.missing(2 * SHARD_SIZE) == [1]
    assert cache.missing(SHARD_SIZE + 1) == [1]
    _same(cache.get(2 * SHARD_SIZE + 3), 2 * SHARD_SIZE + 3)
    made = maker.made()
    assert len(made) == len(set(made)) == 2 * SHARD_SIZE  # none made twice
    # A new process finds it again.
    _same(ShardCache(tmp_path / 'cache', None).read(5), 5)
    assert not list((tmp_path / 'cache').glob('*.tmp'))


@pytest.mark.parametrize('name', ['000000.img.npy', '000000.npz'])
@pytest.mark.parametrize('damage', ['cut', 'empty', 'gone'])
def test_damaged_shard_is_built_again(tmp_path, maker, name, damage):
    ShardCache(tmp_path / 'cache', maker).build(0)
    path = tmp_path / 'cache' / name
    if damage == 'gone':
        path.unlink()
    else:
        whole = path.read_bytes()
        path.write_bytes(whole[:len(whole) // 2 if damage == 'cut' else 0])
    cache = ShardCache(tmp_path / 'cache', maker)
    assert cache.missing(SHARD_SIZE) == [0]
    assert cache.build(0) and cache.missing(SHARD_SIZE) == []
    _same(cache.read(3), 3)
    assert len(maker.made()) == 2 * SHARD_SIZE


def test_flipped_bits_are_noticed(tmp_path, maker):
    ShardCache(tmp_path / 'cache', maker).build(0)
    path = tmp_path / 'cache' / '000000.img.npy'
    data = bytearray(path.read_bytes())
    data[-1] ^= 255  # the last picture
    path.write_bytes(data)
    cache = ShardCache(tmp_path / 'cache', maker)
    _same(cache.get(2), 2)
    assert len(maker.made()) == SHARD_SIZE
    _same(cache.get(SHARD_SIZE - 1), SHARD_SIZE - 1)
    assert len(maker.made()) == 2 * SHARD_SIZE


def test_interrupted_build_leaves_no_trace(tmp_path, maker):

    def interrupted(index):
        if index == SHARD_SIZE + 3:
            raise KeyboardInterrupt
        return maker(index)

    cache = ShardCache(tmp_path / 'cache', interrupted)
    with pytest.raises(KeyboardInterrupt):
        for number in range(3):
            cache.build(number)
    files = {path.name for path in (tmp_path / 'cache').iterdir()}
    assert {f
            for f in files
            if not f.endswith('.lock')} == {'000000.img.npy', '000000.npz'}
    again = ShardCache(tmp_path / 'cache', maker)
    assert again.missing(3 * SHARD_SIZE) == [1, 2]


def test_interrupted_write_leaves_no_shard(tmp_path, maker, monkeypatch):
    """Pictures are there, labels are not: the shard does not count."""
    cache = ShardCache(tmp_path / 'cache', maker)

    def no_space(*args, **kwargs):
        raise OSError('no space left on device')

    with monkeypatch.context() as patch:
        patch.setattr(np, 'savez', no_space)
        with pytest.raises(OSError, match='no space'):
            cache.build(0)
    assert cache.missing(1) == [0]
    assert not list((tmp_path / 'cache').glob('*.tmp'))
    _same(cache.get(1), 1)


def _build_all(folder, log):
    cache = ShardCache(folder, Maker(log, delay=.002))
    for number in range(4):
        assert cache.build(number)


def test_processes_share_the_work(tmp_path, maker):
    context = multiprocessing.get_context('fork')
    workers = [
        context.Process(target=_build_all, args=(tmp_path / 'c', maker.log))
        for _ in range(3)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
        assert worker.exitcode == 0
    assert sorted(maker.made()) == list(range(4 * SHARD_SIZE))  # once each
    _same(ShardCache(tmp_path / 'c', None).read(70), 70)


def test_busy_shard_does_not_block_a_reader(tmp_path, maker):
    cache = ShardCache(tmp_path / 'cache', maker)
    with cache._claim(0) as mine:
        assert mine
        _same(ShardCache(tmp_path / 'cache', maker).get(4), 4)
    assert maker.made() == [4]  # the item alone, not its shard
