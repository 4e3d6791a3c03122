# Copyright (c) The mpm_postometro authors. All rights reserved.
"""The built-in data set: rendered people with exact labels."""
import multiprocessing
import pickle
import signal
import sys
from copy import deepcopy
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Sequence, Union

import cv2
import numpy as np
from mmengine.dataset import BaseDataset, force_full_init
from mmengine.utils import ProgressBar
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.registry import DATASETS

from mpm_postometro.bodies import body_identity
from mpm_postometro.bodies.skeletons import metainfo as skeleton_metainfo
from ..synthesis.cache import SHARD_SIZE, ShardCache
from ..synthesis.generator import ItemGenerator

__all__ = ['SyntheticBodyDataset']

_METAINFO_KEYS = ('dataset_name', 'upper_body_ids', 'lower_body_ids',
                  'flip_pairs', 'dataset_keypoint_weights', 'flip_indices',
                  'skeleton_links')


@DATASETS.register_module()
class SyntheticBodyDataset(BaseDataset):
    """Rendered people in scenes, made as they are asked for.

    An item depends on nothing but the settings and its index: any number of
    workers, in any order, and a resumed run see the same data. See
    docs/synthetic_data.md.

    Args:
        length (int): Number of items.
        split (str): 'train', 'val' or 'test'; their items never coincide.
        seed (int): Another seed, other items.
        image_size (int): Side of the square picture in pixels.
        keypoints_only (bool): Items have no ``img``. Without a cache nothing
            is drawn, and occlusion knows only of the picture's edge; all
            other labels are those of the drawn items.
        cache_dir (str, optional): Folder in which rendered items are kept,
            in a subfolder named by a hash of all settings. Shards are built
            when first wanted, or all at once by :meth:`build_cache`.
        occlusion_probability (float): Share of pictures with something that
            hides part of the person.
        max_occlusion (float): Largest wanted hidden fraction.
        frontal_probability (float): Share of people within
            ``max_frontal_yaw`` of facing the camera.
        max_frontal_yaw (float): Degrees.
        betas_std (float): Standard deviation of the shape coefficients.
        motion_file (str, optional): Motion-capture ``.npz`` with ``pose``
            (N, 24, 3) to take poses from instead of motion primitives.
        supersample (float, optional): Pixels of people are drawn this many
            times finer.
        body (dict, optional): ``path``, ``gender``, ``num_betas`` and so on,
            as for :func:`mpm_postometro.bodies.load_body`. Default: the
            built-in body.
        metainfo, pipeline, test_mode, indices, serialize_data, lazy_init,
            max_refetch: As in :class:`mmengine.dataset.BaseDataset`.

    Raises:
        ValueError: If a setting is outside its range.
    """

    METAINFO: dict = skeleton_metainfo('coco17')

    def __init__(self,
                 length: int,
                 split: str = 'train',
                 seed: int = 0,
                 image_size: int = 256,
                 keypoints_only: bool = False,
                 cache_dir: Union[None, str, Path] = None,
                 occlusion_probability: float = 0.5,
                 max_occlusion: float = 0.7,
                 frontal_probability: float = 0.85,
                 max_frontal_yaw: float = 75.,
                 betas_std: float = 1.,
                 motion_file: Union[None, str, Path] = None,
                 supersample: Optional[float] = None,
                 body: Optional[dict] = None,
                 metainfo: Optional[dict] = None,
                 pipeline: Sequence[Union[dict, Callable]] = (),
                 test_mode: bool = False,
                 indices: Union[None, int, Sequence[int]] = None,
                 serialize_data: bool = True,
                 lazy_init: bool = False,
                 max_refetch: int = 1000) -> None:
        if length < 1:
            raise ValueError(f'length must be at least 1, got {length}')
        self.length = length
        self.keypoints_only = keypoints_only
        self.generator = ItemGenerator(
            split=split,
            seed=seed,
            image_size=image_size,
            occlusion_probability=occlusion_probability,
            max_occlusion=max_occlusion,
            frontal_probability=frontal_probability,
            max_frontal_yaw=max_frontal_yaw,
            betas_std=betas_std,
            motion_file=motion_file,
            supersample=supersample,
            body=body)
        self.label_body = body_identity(self.generator.body.data)
        self.cache: Optional[ShardCache] = None
        if cache_dir is not None:
            folder = Path(cache_dir) / (
                f'{split}-{image_size}-{self.generator.fingerprint()}')
            self.cache = ShardCache(folder, self.generator.item)
        super().__init__(
            metainfo=metainfo,
            indices=indices,
            serialize_data=serialize_data,
            pipeline=list(pipeline),
            test_mode=test_mode,
            lazy_init=lazy_init,
            max_refetch=max_refetch)
        # Every item gets a copy: much faster so than by deepcopy.
        self._metainfo_copy = pickle.dumps(
            {key: self._metainfo[key]
             for key in _METAINFO_KEYS})

    @classmethod
    def _load_metainfo(cls, metainfo: Optional[dict] = None) -> dict:
        metainfo = deepcopy(cls.METAINFO if metainfo is None else metainfo)
        if not isinstance(metainfo, dict):
            raise TypeError(
                f'metainfo should be a dict, but got {type(metainfo)}')
        return parse_pose_metainfo(metainfo)

    def load_data_list(self) -> List[dict]:
        """One small dict for each item; nothing is drawn yet."""
        return [dict(index=index) for index in range(self.length)]

    @force_full_init
    def get_data_info(self, idx: int) -> dict:
        """Make an item, or read it from the cache.

        Args:
            idx (int): Position in the data set.

        Returns:
            dict: See docs/design.md, "One sample, on its way".
        """
        info = super().get_data_info(idx)
        index = info.pop('index')
        info.update(
            self._labels(index) if self.keypoints_only else self._item(index))
        size = self.generator.image_size
        info.update(
            id=index,
            img_id=index,
            category_id=1,
            label_body=self.label_body,
            iscrowd=0,
            img_path=f'{self.generator.split}/{index:08d}',
            img_shape=(size, size),
            ori_shape=(size, size))
        info.update(pickle.loads(self._metainfo_copy))
        return info

    @force_full_init
    def _item(self, index: int) -> Dict[str, np.ndarray]:
        if self.cache is not None:
            return self.cache.get(index)
        return self.generator.item(index)

    def _labels(self, index: int) -> Dict[str, np.ndarray]:
        """From the cache where there is one: reading is quicker than posing.
        """
        if self.cache is None:
            return self.generator.labels(index)
        labels = self.cache.get(index)
        labels.pop('img')
        return labels

    def load_parameters(self) -> Dict[str, np.ndarray]:
        """All labels of the data set; without a cache nothing is drawn.

        Returns:
            dict: ``betas`` (N, 10), ``body_pose`` (N, 23, 3),
            ``global_orient`` (N, 3), ``transl`` (N, 3), ``joints_3d``
            (N, 14, 3) and the other labels of a sample, stacked, without the
            instance axis.
        """
        rows = []
        for idx in range(len(self)):
            index = super().get_data_info(idx)['index']
            rows.append(self._labels(index))
        return {
            key: np.concatenate([row[key] for row in rows])
            for key in rows[0]
        }

    @force_full_init
    def build_cache(
            self,
            num_workers: int = 1,
            progress: Union[bool, Callable[[int, int], Any]] = True) -> None:
        """Render what the cache does not hold yet.

        Several processes may call this at once and share the work; one that
        was interrupted goes on where it stopped.

        Args:
            num_workers (int): Processes that render; 0 or 1 = this one.
            progress (bool | Callable): Whether to show a progress bar, or a
                function that is told the numbers of items done and in all.

        Raises:
            ValueError: If the data set has no ``cache_dir``.
        """
        if self.cache is None:
            raise ValueError('build_cache needs a SyntheticBodyDataset with '
                             'cache_dir=...')
        wanted = sorted({
            super(SyntheticBodyDataset, self).get_data_info(i)['index'] //
            SHARD_SIZE
            for i in range(len(self))
        })
        missing = set(self.cache.missing(self.length)) & set(wanted)
        report = _Report(len(wanted), len(self), progress)
        report(len(wanted) - len(missing))
        missing = sorted(missing)
        if num_workers > 1 and len(missing) > 1:
            self._build_parallel(missing, num_workers, report)
        else:
            for number in missing:
                self.cache.build(number)
                report()
        report.close()

    def _build_parallel(self, numbers: List[int], num_workers: int,
                        report: Callable) -> None:
        # Forked workers need no imports; numpy and cv2 stand it when cv2
        # keeps to one thread.
        method = 'fork' if sys.platform.startswith('linux') else 'spawn'
        context = multiprocessing.get_context(method)
        self.generator.renderer  # made once, before the fork
        with context.Pool(
                min(num_workers, len(numbers)), _start_worker,
            (self.cache, )) as pool:
            for _ in pool.imap_unordered(_build_shard, numbers):
                report()


class _Report:
    """Tells how many items are done, as a bar or to a function."""

    def __init__(self, shards: int, total: int, progress) -> None:
        self.shards, self.total = shards, total
        self.done = 0
        self.tell, self.bar, self.show = None, None, False
        if callable(progress):
            self.tell = progress
        elif progress:
            self.show = True

    def __call__(self, shards: int = 1) -> None:
        before = min(self.done * SHARD_SIZE, self.total)
        self.done += shards
        items = min(self.done * SHARD_SIZE, self.total)
        if self.done == self.shards:
            items = self.total
        if self.tell is not None:
            self.tell(items, self.total)
        if self.show and self.bar is None and items < self.total:
            # Rate and remaining time count what is still to be done.
            self.bar = ProgressBar(self.total - items, file=sys.stdout)
        elif self.bar is not None:
            self.bar.update(items - before)

    def close(self) -> None:
        if self.bar is not None:
            print()


_worker_cache: Optional[ShardCache] = None


def _start_worker(cache: ShardCache) -> None:
    global _worker_cache
    # Ctrl-C reaches every process of the terminal; the one that started this
    # pool hears it and ends its workers.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    cv2.setNumThreads(0)
    _worker_cache = cache


def _build_shard(number: int) -> int:
    _worker_cache.build(number)
    return number
