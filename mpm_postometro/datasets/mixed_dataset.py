# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Data sets mixed with ratios."""
import hashlib
from copy import deepcopy
from typing import Any, List, Optional, Sequence, Tuple, Union

import numpy as np
import torch
from mmengine.dataset import BaseDataset
from mmpose.registry import DATASETS
from torch.utils.data import Dataset

__all__ = ['MixedDataset']

_ROUNDS = 4


@DATASETS.register_module()
class MixedDataset(Dataset):
    """Several data sets as one, each with its share of every epoch.

    Which item an index stands for is a function of the seed, the epoch and
    the index alone: any number of workers and ranks, in any order, and a
    resumed training see the same. Shares are exact to one item, in the whole
    epoch and, spread evenly, in each part of it. A data set's items come in
    shuffled order, each one once before any comes twice, from one epoch on
    into the next; with :class:`DatasetEpochHook` in the config an epoch goes
    on where the one before ended.

    Args:
        datasets (list[dict | BaseDataset]): The data sets, with pipelines
            that give samples which stack.
        ratios (Sequence[float], optional): Their shares, of any sum; 0 leaves
            one out. Defaults to their lengths.
        length (int, optional): Items of an epoch. Defaults to the sum of the
            lengths.
        seed (int): Another seed, another order. Defaults to 0.

    Raises:
        ValueError: If a ratio is negative, or there is not one for each.
    """

    def __init__(self,
                 datasets: Sequence[Union[dict, BaseDataset]],
                 ratios: Optional[Sequence[float]] = None,
                 length: Optional[int] = None,
                 seed: int = 0) -> None:
        if not datasets:
            raise ValueError('datasets must hold at least one data set')
        self.datasets: List[BaseDataset] = [
            DATASETS.build(d) if isinstance(d, dict) else d for d in datasets
        ]
        self._lengths = [len(dataset) for dataset in self.datasets]
        ratios = self._lengths if ratios is None else list(ratios)
        if len(ratios) != len(datasets) or min(ratios) < 0 or not sum(ratios):
            raise ValueError(f'ratios must be {len(datasets)} numbers, none '
                             f'negative and not all 0, got {ratios}')
        length = sum(self._lengths) if length is None else length
        if length < 1:
            raise ValueError(f'length must be at least 1, got {length}')
        self.seed = seed
        self.shares = _shares(ratios, length)
        # Every index: which data set, and the how manieth item of it.
        places = np.concatenate([(np.arange(share) + .5) / max(share, 1)
                                 for share in self.shares])
        which = np.repeat(np.arange(len(self.shares)), self.shares)
        turns = np.concatenate([np.arange(share) for share in self.shares])
        order = np.argsort(places, kind='stable')
        self._which = which[order].astype(np.int16)
        self._turns = turns[order].astype(np.int32)
        # Shared: workers that live for several epochs see it change.
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()

    @property
    def metainfo(self) -> dict:
        """dict: That of the first data set."""
        return deepcopy(self.datasets[0].metainfo)

    def full_init(self) -> None:
        """Nothing is left to do: lengths are known from the start."""

    def set_epoch(self, epoch: int) -> None:
        """From now on, items of this epoch.

        Args:
            epoch (int): From 0.
        """
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self._which)

    def locate(self, index: int) -> Tuple[int, int]:
        """What an index stands for in the present epoch.

        Args:
            index (int): Position in this data set; may count from the end.

        Returns:
            tuple[int, int]: Which data set, and which of its items.

        Raises:
            IndexError: If it lies outside.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f'{index} of {len(self)} items')
        which = int(self._which[index])
        turn = int(self._epoch) * self.shares[which] + int(self._turns[index])
        round_, place = divmod(turn, self._lengths[which])
        return which, _shuffled(place, self._lengths[which],
                                (self.seed, which, round_))

    def get_data_info(self, idx: int) -> dict:
        """The item before its pipeline."""
        which, item = self.locate(idx)
        return self.datasets[which].get_data_info(item)

    def __getitem__(self, idx: int) -> Any:
        which, item = self.locate(idx)
        return self.datasets[which][item]


def _shares(ratios: Sequence[float], length: int) -> List[int]:
    """Whole numbers of the given sum, as near to the ratios as they get."""
    wanted = np.array(ratios, float) / sum(ratios) * length
    shares = np.floor(wanted).astype(int)
    for i in np.argsort(
            shares - wanted, kind='stable')[:length - shares.sum()]:
        shares[i] += 1
    return shares.tolist()


def _shuffled(place: int, count: int, key: tuple) -> int:
    """Where ``place`` goes in a random order of ``count`` things.

    A Feistel network over the least square of a power of two that holds
    them; values outside walk on until they are inside. Needs no memory,
    where a permutation of each data set would lie in every worker.
    """
    bits = max((count - 1).bit_length() + 1, 2) // 2
    mask = (1 << bits) - 1
    digest = hashlib.blake2b(repr(key).encode(), digest_size=4 * _ROUNDS)
    keys = np.frombuffer(digest.digest(), np.uint32).tolist()
    while True:
        left, right = place >> bits, place & mask
        for k in keys:
            mixed = ((right ^ k) * 0x9E3779B1) & 0xFFFFFFFF
            mixed = ((mixed ^ mixed >> 15) * 0x85EBCA77) & 0xFFFFFFFF
            left, right = right, left ^ ((mixed ^ mixed >> 13) & mask)
        place = left << bits | right
        if place < count:
            return place
