# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Base of the data sets of labelled people in pictures."""
import os.path as osp
import pickle
from copy import deepcopy
from typing import Callable, Dict, List, Optional, Sequence, Union

import numpy as np
from mmengine.dataset import BaseDataset, force_full_init
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.registry import DATASETS

from mpm_postometro.bodies.skeletons import metainfo as skeleton_metainfo
from .person_table import GENDERS, PersonTable, merge_without_duplicates

__all__ = ['MergedPersonDataset', 'PersonDataset']

_METAINFO_KEYS = ('dataset_name', 'upper_body_ids', 'lower_body_ids',
                  'flip_pairs', 'dataset_keypoint_weights', 'flip_indices',
                  'skeleton_links')


class _RowList:
    """A list of rows of a table, a few bytes for each."""

    def __init__(self, rows: np.ndarray) -> None:
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, item: Union[int, slice]) -> Union['_RowList', int]:
        if isinstance(item, slice):
            return _RowList(self._rows[item])
        return int(self._rows[item])


class PersonDataset(BaseDataset):
    """One labelled person an item; one subclass for a format.

    Labels lie in one :class:`PersonTable`, whose memory forked workers share.
    Items are made of it when asked for: the sample of docs/design.md, "One
    sample, on its way". Labels that a person has not are zeros, and their
    weights or flags 0; ``transl``, ``intrinsics``, ``img_shape`` are only
    there where they are known. ``gender`` is 'neutral', 'male' or 'female';
    ``sequence``, ``frame`` and ``annotation_id`` are there where known.
    ``label_body`` is None: which SMPL file labels belong to is not written in
    them.

    Pictures are read by ``LoadImage`` from ``img_path``, or by
    :meth:`read_image` of a data set that holds them otherwise.

    Args:
        ann_file (str): The file or folder; see the subclass.
        metainfo, data_root, data_prefix, pipeline, test_mode, indices,
            lazy_init, max_refetch: As in
            :class:`mmengine.dataset.BaseDataset`; ``data_prefix['img']`` is
            the folder of the pictures.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If a file is not what was expected; says which and where.
    """

    METAINFO: dict = skeleton_metainfo('coco17')

    def __init__(self,
                 ann_file: str = '',
                 metainfo: Optional[dict] = None,
                 data_root: str = '',
                 data_prefix: Optional[dict] = None,
                 pipeline: Sequence[Union[dict, Callable]] = (),
                 test_mode: bool = False,
                 indices: Union[None, int, Sequence[int]] = None,
                 lazy_init: bool = False,
                 max_refetch: int = 1000) -> None:
        self.table: Optional[PersonTable] = None
        super().__init__(
            ann_file=ann_file,
            metainfo=metainfo,
            data_root=data_root,
            data_prefix={
                'img': '',
                **(data_prefix or {})
            },
            indices=indices,
            serialize_data=False,  # nothing to serialize: see _RowList
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
        return parse_pose_metainfo(
            deepcopy(cls.METAINFO if metainfo is None else metainfo))

    def load_people(self) -> PersonTable:
        """Read the file.

        Returns:
            PersonTable: The labels; its ``drop_report`` says who was left
            out.
        """
        raise NotImplementedError

    def read_image(self, row: int) -> Optional[np.ndarray]:
        """The picture of a person, where it is no file of its own.

        Args:
            row (int): Of ``self.table``.

        Returns:
            np.ndarray | None: (H, W, 3) uint8 BGR; None if the pipeline
            reads it from ``img_path``.
        """
        return None

    def image_path(self, row: int) -> str:
        """Where the picture of a person is.

        Args:
            row (int): Of ``self.table``.

        Returns:
            str: The file, or a name that tells the picture apart.
        """
        if self.table.image_names is None:
            return f'{self.ann_file}:{self.table.image[row]}'
        return osp.join(self.data_prefix['img'], self.table.image_name(row))

    def load_data_list(self) -> _RowList:
        """Read the file; rows of its table."""
        people = self.load_people()
        width, height = (people.bbox[:, 2:] - people.bbox[:, :2]).T
        self.table = people.select((width > 0) & (height > 0),
                                   'box without area')
        if not len(self.table):
            raise ValueError(f'{self.ann_file}: has nobody to show; left out: '
                             f'{dict(self.table.drop_report) or "nobody"}')
        return _RowList(np.arange(len(self.table)))

    def rows(self) -> np.ndarray:
        """Rows of ``self.table`` that are items, (len(self), )."""
        return np.array([self.data_list[i] for i in range(len(self))])

    @force_full_init
    def get_data_info(self, idx: int) -> Dict:
        """A person.

        Args:
            idx (int): Position in the data set.

        Returns:
            dict: See the class.
        """
        row = self.data_list[idx]
        table = self.table
        info = dict(
            id=row,
            sample_idx=int(idx) % len(self),
            img_id=int(table.image[row]),
            img_path=self.image_path(row),
            category_id=1,
            iscrowd=0,
            label_body=None,
            gender=GENDERS[0 if table.gender is None else table.gender[row]],
            bbox=table.bbox[row:row + 1].copy(),
            bbox_score=np.ones(1, np.float32))
        for key, count, dims in (('keypoints', 17, 2), ('joints_2d', 14, 2),
                                 ('joints_3d', 14, 3)):
            points = getattr(table, key)
            points = np.zeros(
                (1, count, dims + 1),
                np.float32) if points is None else points[row:row + 1].copy()
            info[key] = points[..., :-1]
            info[f'{key}_visible'] = points[..., -1]
        for key, shape in (('global_orient', (3, )), ('body_pose', (23, 3)),
                           ('betas', (10, ))):
            values = getattr(table, key)
            info[key] = np.zeros(
                (1,
                 *shape), np.float32) if values is None else values[row:row +
                                                                    1].copy()
        for key in ('has_smpl', 'has_joints_3d'):
            info[key] = getattr(table, key)[row:row + 1].astype(np.float32)
        for key in ('transl', 'intrinsics'):
            values = getattr(table, key)
            if values is not None and np.isfinite(values[row]).all():
                info[key] = values[row:row + 1].copy()
        self._add_names(info, row)
        if table.image_size is not None and table.image_size[row].all():
            width, height = table.image_size[row].tolist()
            info['img_shape'] = info['ori_shape'] = (height, width)
        image = self.read_image(row)
        if image is not None:
            info['img'] = image
            info['img_shape'] = info['ori_shape'] = image.shape[:2]
        info.update(pickle.loads(self._metainfo_copy))
        return info

    def _add_names(self, info: Dict, row: int) -> None:
        table = self.table
        for key in ('annotation_id', 'frame'):
            values = getattr(table, key)
            if values is not None and values[row] >= 0:
                info[key] = int(values[row])
        if table.sequence is not None and table.sequence[row] >= 0:
            info['sequence'] = table.sequence_names[table.sequence[row]]


@DATASETS.register_module()
class MergedPersonDataset(PersonDataset):
    """Labels of the same people from several files, each person once.

    CLIFF and EFT both label people of COCO. Of those in several of the data
    sets the first one's labels are taken; annotation ids tell who is who.

    Args:
        datasets (list[dict]): Configs of the data sets, without pipelines;
            all with annotation ids of one and the same data set.
        **kwargs: See :class:`PersonDataset`; ``ann_file`` is not used.

    Raises:
        FileNotFoundError: Names what is missing of all data sets.
        ValueError: If one of them holds its pictures otherwise than in
            files, or has no annotation ids.
    """

    def __init__(self, datasets: List[dict], **kwargs) -> None:
        self._configs = datasets
        super().__init__(ann_file='', **kwargs)

    def load_people(self) -> PersonTable:
        """Read all files."""
        tables, missing = [], []
        for config in self._configs:
            try:
                dataset = DATASETS.build(config)
                dataset.full_init()
            except FileNotFoundError as error:
                missing.append(str(error))
                continue
            table = dataset.table.select(dataset.rows())
            if table.image_names is None:
                raise ValueError(f'{table.source}: its pictures are no files; '
                                 'MergedPersonDataset merges those in files')
            prefix = osp.join(dataset.data_prefix['img'], '')
            tables.append(
                table.replace(
                    image_names=table.image_names.with_prefix(prefix)))
        if missing:  # not one at a time
            raise FileNotFoundError('; '.join(missing))
        return merge_without_duplicates(tables)
