# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Randomness of clips that does not depend on who loads them."""
import zlib
from typing import Dict

import numpy as np

__all__ = ['clip_rng']


def clip_rng(results: Dict, seed: int, stream: str) -> np.random.Generator:
    """The source of randomness of one transform for one clip.

    Args:
        results (dict): The clip; its ``item_key`` is made by the data set:
            its seed, the epoch and the number of the clip.
        seed (int): Of the transform, not negative.
        stream (str): What is drawn; others draw other numbers.

    Returns:
        np.random.Generator: Depends on nothing else, so that any number of
        workers and ranks draws the same.

    Raises:
        KeyError: If the clip has no ``item_key``.
    """
    if 'item_key' not in results:
        raise KeyError(
            f"the clip {results.get('sequence', '')} has no 'item_key' (seed, "
            'epoch, index), which data sets of sequences add to each clip')
    key = (*results['item_key'], zlib.crc32(stream.encode()))
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=key))
