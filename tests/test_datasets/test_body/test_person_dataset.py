# Copyright (c) The mpm_postometro authors. All rights reserved.
import pickle

import cv2
import numpy as np
import pytest
from labelled_people import (SIZE, assert_projects, draw_people, make_people,
                             weighted)
from mmengine.registry import init_default_scope
from mmpose.registry import DATASETS
from torch.utils.data import DataLoader

from mpm_postometro.datasets.body import MergedPersonDataset, PersonDataset
from mpm_postometro.datasets.body.person_table import NameList, PersonTable

PIPELINE = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale', padding=1.25),
    dict(type='MeshAffine', input_size=(64, 64)),
    dict(type='PackMeshInputs')
]
NAMES = ['a/0.png', 'a/1.png', 'b/2.png', 'b/3.png']
PEOPLE = make_people(4)


def full_table(**changes):
    names, image = NameList.unique(NAMES)
    columns = dict(
        image=image,
        image_names=names,
        bbox=PEOPLE.bbox,
        keypoints=weighted(PEOPLE.points['coco17']),
        joints_2d=weighted(PEOPLE.points['j14']),
        joints_3d=weighted(PEOPLE.joints['j14']),
        global_orient=PEOPLE.pose[:, 0],
        body_pose=PEOPLE.pose[:, 1:],
        betas=PEOPLE.betas,
        transl=PEOPLE.transl,
        intrinsics=np.tile(PEOPLE.intrinsics, (4, 1, 1)),
        gender=np.array([0, 1, 2, 0]),
        annotation_id=np.array([5, 6, 7, -1]),
        frame=np.array([0, 1, 2, -1]),
        sequence=np.array([0, 0, 0, -1]),
        sequence_names=NameList(['walk']))
    columns.update(changes)
    return PersonTable(**columns)


@DATASETS.register_module()
class FourPeople(PersonDataset):

    def load_people(self):
        return full_table()


@DATASETS.register_module()
class BoxesOnly(PersonDataset):

    def load_people(self):
        table = full_table()
        return PersonTable(
            table.image,
            table.bbox,
            table.image_names,
            annotation_id=np.array([6, 8, 9, -1]))


class Held(PersonDataset):
    """Pictures are in the data set."""

    def load_people(self):
        return full_table(image_names=None)

    def read_image(self, row):
        return np.full((20, 30, 3), row, np.uint8)


class Nobody(PersonDataset):

    def load_people(self):
        return full_table().select(np.zeros(4, bool), 'no label')


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmpose')


@pytest.fixture(scope='module')
def pictures(tmp_path_factory):
    folder = tmp_path_factory.mktemp('pictures')
    draw_people(folder, PEOPLE, NAMES)
    return str(folder)


def test_items_are_the_documented_sample(pictures):
    dataset = FourPeople(data_prefix=dict(img=pictures))
    item = dataset[1]
    item.pop('dataset_keypoint_weights')  # MMPose's, as all data sets have it
    shapes = {k: v.shape for k, v in item.items() if isinstance(v, np.ndarray)}
    assert shapes == dict(
        bbox=(1, 4),
        bbox_score=(1, ),
        keypoints=(1, 17, 2),
        keypoints_visible=(1, 17),
        joints_2d=(1, 14, 2),
        joints_2d_visible=(1, 14),
        joints_3d=(1, 14, 3),
        joints_3d_visible=(1, 14),
        global_orient=(1, 3),
        body_pose=(1, 23, 3),
        betas=(1, 10),
        transl=(1, 3),
        intrinsics=(1, 3, 3),
        has_smpl=(1, ),
        has_joints_3d=(1, ))
    assert all(v.dtype == np.float32 for v in item.values()
               if isinstance(v, np.ndarray))
    assert item['img_path'].endswith('/a/1.png')
    assert item['label_body'] is None and item['gender'] == 'male'
    assert (item['annotation_id'], item['frame'], item['sequence']) == (6, 1,
                                                                        'walk')
    assert item['has_smpl'] == 1 and item['has_joints_3d'] == 1
    assert_projects(item)
    np.testing.assert_array_equal(item['body_pose'][0], PEOPLE.pose[1, 1:])
    np.testing.assert_array_equal(item['bbox'][0], PEOPLE.bbox[1])
    assert not {'annotation_id', 'frame', 'sequence'} & set(dataset[3])


def test_items_may_be_changed(pictures):
    dataset = FourPeople(data_prefix=dict(img=pictures))
    before = pickle.dumps(dataset[0])
    item = dataset[0]
    for value in item.values():
        if isinstance(value, np.ndarray):
            value += 1
        elif isinstance(value, list):
            value.clear()
    assert pickle.dumps(dataset[0]) == before


def test_unknown_labels_are_zeros(pictures):
    item = BoxesOnly(data_prefix=dict(img=pictures))[0]
    assert not item['has_smpl'].any() and not item['has_joints_3d'].any()
    for key in ('keypoints', 'joints_2d', 'joints_3d'):
        assert not item[key].any() and not item[f'{key}_visible'].any()
    assert 'transl' not in item and 'intrinsics' not in item
    assert item['gender'] == 'neutral'


def test_mixed_labels_make_one_batch(pictures):
    batches = [
        cls(data_prefix=dict(img=pictures), pipeline=PIPELINE)[0]
        for cls in (FourPeople, BoxesOnly)
    ]
    labels = [b['data_samples'].gt_instance_labels for b in batches]
    assert [x.has_smpl.tolist() for x in labels] == [[1], [0]]
    assert labels[0].joints_3d.shape == labels[1].joints_3d.shape
    assert batches[0]['inputs'].shape == (3, 64, 64)
    # the joints of the cropped sample lie on the person still
    assert (labels[0].joints_2d_weights == 1).all()


def test_workers_and_subsets(pictures):
    dataset = FourPeople(
        data_prefix=dict(img=pictures), pipeline=PIPELINE, indices=3)
    loader = DataLoader(
        dataset, num_workers=2, collate_fn=lambda batch: batch[0])
    ids = [item['data_samples'].metainfo['id'] for item in loader]
    assert ids == [0, 1, 2]
    subset = dataset.get_subset([2, 0])
    assert [subset.get_data_info(i)['id'] for i in range(2)] == [2, 0]
    assert subset.table is dataset.table
    assert subset.rows().tolist() == [2, 0]
    assert dataset.get_data_info(-1)['id'] == 2
    assert dataset.get_data_info(-1)['sample_idx'] == 2
    assert len(list(dataset)) == 3


def test_pictures_in_the_data_set():
    item = Held()[2]
    assert item['img'].shape == (20, 30, 3) and (item['img'] == 2).all()
    assert item['img_shape'] == (20, 30)
    assert Held(pipeline=PIPELINE)[2]['inputs'].shape == (3, 64, 64)


def test_known_size_without_a_picture():

    class Sized(PersonDataset):

        def load_people(self):
            size = np.tile(SIZE, (4, 1))
            size[1] = 0  # unknown
            return full_table(image_size=size)

    assert Sized()[0]['img_shape'] == (SIZE[1], SIZE[0])
    assert 'img_shape' not in Sized()[1]


def test_broken_pictures_are_named(pictures, tmp_path):
    dataset = FourPeople(
        data_prefix=dict(img=str(tmp_path)), pipeline=PIPELINE)
    with pytest.raises(FileNotFoundError, match='a/1.png'):
        dataset[1]
    (tmp_path / 'a').mkdir()
    (tmp_path / 'a/1.png').write_bytes(b'no picture')
    with pytest.raises(Exception, match='a/1.png'):
        dataset[1]


def test_boxes_without_area_are_left_out():

    class Flat(PersonDataset):

        def load_people(self):
            box = PEOPLE.bbox.copy()
            box[2, 3] = box[2, 1]
            return full_table(bbox=box)

    dataset = Flat()
    assert len(dataset) == 3
    assert dataset.table.drop_report == {'box without area': 1}


def test_a_file_with_nobody():
    with pytest.raises(ValueError, match="left out: {'no label': 4}"):
        Nobody()


def test_merging_data_sets(pictures, tmp_path):
    dataset = DATASETS.build(
        dict(
            type='MergedPersonDataset',
            datasets=[
                dict(type='FourPeople', data_prefix=dict(img=pictures)),
                dict(type='BoxesOnly', data_prefix=dict(img=str(tmp_path))),
            ]))
    assert dataset.table.annotation_id.tolist() == [5, 6, 7, -1, 8, 9, -1]
    assert dataset.table.drop_report == {'labelled in an earlier file too': 1}
    assert cv2.imread(dataset[1]['img_path']) is not None
    assert dataset[4]['img_path'] == str(tmp_path / 'a/1.png')
    assert dataset[1]['has_smpl'] == 1 and dataset[4]['has_smpl'] == 0
    only = MergedPersonDataset(
        [dict(type='FourPeople', indices=[1]),
         dict(type='BoxesOnly')])
    assert only.table.annotation_id.tolist() == [6, 8, 9, -1]


def test_merging_names_all_that_is_missing(tmp_path):
    missing = [
        dict(type='SPINDataset', ann_file=str(tmp_path / 'one.npz')),
        dict(type='EFTDataset', ann_file=str(tmp_path / 'two.json'))
    ]
    with pytest.raises(FileNotFoundError, match=r'one\.npz.*; .*two\.json'):
        MergedPersonDataset([missing[0], dict(type='BoxesOnly'), missing[1]])
