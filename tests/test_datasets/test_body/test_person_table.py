# Copyright (c) The mpm_postometro authors. All rights reserved.
import copy

import numpy as np
import pytest

from mpm_postometro.datasets.body.person_table import (
    NameList, PersonTable, box_from_center, check_points, gather_points,
    gender_codes, merge_without_duplicates, names_of)


def table(count=3, letter='', **columns):
    names, image = NameList.unique(
        [f'{letter}{i:03d}.jpg' for i in range(count)])
    box = np.tile(np.array([0, 0, 10, 20], np.float32), (count, 1))
    columns = {'image': image, 'bbox': box, 'image_names': names, **columns}
    return PersonTable(**columns)


def ids_of(people):
    return people.annotation_id.tolist()


def test_names_are_kept_once_and_found_again():
    names, rows = NameList.unique(['b/ü.jpg', 'a.jpg', 'b/ü.jpg', ''])
    assert len(names) == 3
    assert [names[i] for i in rows] == ['b/ü.jpg', 'a.jpg', 'b/ü.jpg', '']
    joined = names + NameList(['z'])
    assert [joined[i] for i in range(4)] == ['', 'a.jpg', 'b/ü.jpg', 'z']
    assert NameList(['x']).with_prefix('p/')[0] == 'p/x'
    with pytest.raises(IndexError, match='3 of 3'):
        names[3]


def test_what_is_left_out_costs_nothing():
    empty = table(1000)
    with_betas = table(1000, betas=np.zeros((1000, 10)))
    assert with_betas.nbytes - empty.nbytes == 1000 * 10 * 4
    assert not empty.has_smpl.any() and not empty.has_joints_3d.any()
    full = table(
        2,
        betas=np.zeros((2, 10)),
        body_pose=np.zeros((2, 23, 3)),
        global_orient=np.zeros((2, 3)))
    assert full.has_smpl.all()


def test_nobody_can_change_it():
    people = table(betas=np.zeros((3, 10)))
    with pytest.raises(ValueError, match='read-only'):
        people.betas[0] = 1
    assert copy.deepcopy(people) is people


def test_select_says_why():
    people = table(4, annotation_id=np.arange(4))
    some = people.select(np.array([True, False, True, False]), 'too small')
    assert ids_of(some) == [0, 2] and some.image_name(1) == '002.jpg'
    assert some.drop_report == {'too small': 2}
    again = some.select(np.array([1]), 'too small')
    assert again.drop_report == {'too small': 3} and ids_of(again) == [2]
    assert again.select(np.array([True]), 'never').drop_report == {
        'too small': 3
    }
    assert people.drop_report == {}


def test_concatenate_fills_what_some_lack():
    smpl = dict(
        betas=np.ones((2, 10)),
        body_pose=np.ones((2, 23, 3)),
        global_orient=np.ones((2, 3)),
        transl=np.ones((2, 3)),
        gender=np.array([1, 2]),
        sequence=np.array([0, 1]),
        sequence_names=NameList(['walk', 'run']),
        drop_report=dict(a=1))
    first = table(2, **smpl)
    second = table(
        3, 'b', joints_3d=np.ones((3, 14, 4)), drop_report=dict(a=2, b=3))
    both = PersonTable.concatenate([second, first])
    assert both.has_smpl.tolist() == [False] * 3 + [True] * 2
    assert both.has_joints_3d.tolist() == [True] * 3 + [False] * 2
    assert both.gender.tolist() == [0, 0, 0, 1, 2]
    assert np.isnan(both.transl[:3]).all() and (both.transl[3:] == 1).all()
    assert not both.joints_3d[3:].any() and not both.betas[:3].any()
    assert [both.image_name(i) for i in range(5)
            ] == ['b000.jpg', 'b001.jpg', 'b002.jpg', '000.jpg', '001.jpg']
    assert both.sequence.tolist() == [-1, -1, -1, 0, 1]
    assert both.sequence_names[1] == 'run'
    assert both.drop_report == dict(a=3, b=3)
    assert both.keypoints is None
    with pytest.raises(ValueError, match='do not go together'):
        PersonTable.concatenate([first, table(2, image_names=None)])


def test_duplicates_are_merged_and_counted():
    first = table(4, annotation_id=np.array([7, 3, -1, 9]))
    second = table(
        5, annotation_id=np.array([3, -1, 8, 7, 8]), source='second')
    merged = merge_without_duplicates([first, second])
    assert ids_of(merged) == [7, 3, -1, 9, -1, 8]
    # Names say from which file each came: 3 and 7 are the first table's.
    assert [merged.image_name(i) for i in range(6)] == [
        '000.jpg', '001.jpg', '002.jpg', '003.jpg', '001.jpg', '002.jpg'
    ]
    assert sum(merged.drop_report.values()) == 3
    with pytest.raises(ValueError, match='no annotation ids'):
        merge_without_duplicates([first, table()])


@pytest.mark.parametrize('columns, message', [
    (dict(betas=np.zeros((3, 9))), r"'betas' must be \(3, 10\), got \(3, 9\)"),
    (dict(betas=np.zeros((2, 10))), r"'betas' must be \(3, 10\)"),
    (dict(betas=np.full((3, 10), np.nan)),
     r'is not finite in 3 of 3 rows, the first \[0, 1, 2\]'),
    (dict(betas=[['a'] * 10] * 3), "'betas' must be numbers"),
    (dict(gender=np.zeros(2)), r"'gender' must be \(3,\)"),
    (dict(has_smpl=np.ones(3, bool)), "'has_smpl' is set, but"),
    (dict(image=np.array([0, 1, 3])), "'image' names row 3 of 3"),
    (dict(joints_2d=np.full((3, 14, 3), 2.)), r'weights outside \[0, 1\]'),
])
def test_wrong_columns_are_refused(columns, message):
    with pytest.raises(ValueError, match=message) as caught:
        table(source='some/file.npz', **columns)
    assert 'some/file.npz' in str(caught.value)


def test_points_without_weight_may_be_anything():
    points = np.ones((2, 14, 3))
    points[1, 3] = np.nan, 5, 0
    checked = check_points(points, 'file', 2, 14, 3)
    assert checked.dtype == np.float32 and not checked[1, 3].any()
    points[0, 2, 0] = np.inf
    with pytest.raises(ValueError, match='file is not finite in 1 of 2'):
        check_points(points, 'file', 2, 14, 3)
    points[0, 2] = 1, 1, np.nan
    with pytest.raises(ValueError, match='weights'):
        check_points(points, 'file', 2, 14, 3)


def test_boxes_of_centers():
    box = box_from_center([[100, 50]], [1.2], 'file')
    np.testing.assert_allclose(box, [[0, -50, 200, 150]], atol=1e-4)
    with pytest.raises(ValueError, match="'scale' is not positive in 1 of 1"):
        box_from_center([[100, 50]], [0.], 'file')


def test_points_of_the_first_skeleton_that_has_them():
    j24, coco = np.zeros((2, 24, 3)), np.zeros((2, 17, 3))
    coco[:, :, 0], coco[:, :, 2] = np.arange(17), .5
    j24[0, :, 0], j24[0, :, 2] = 100 + np.arange(24), 1
    j14 = gather_points([('j24', j24), ('coco17', coco)], 'j14')
    assert j14[0, :, 0].tolist() == [*range(100, 113), 118]
    assert j14[1, :, 0].tolist() == [
        16, 14, 12, 11, 13, 15, 10, 8, 6, 5, 7, 9, 0, 0
    ]
    assert j14[1, :, 2].tolist() == [.5] * 12 + [0, 0]


def test_words_for_genders():
    words = ['m', 'Female', 'neutral', '', b'f', None]
    assert gender_codes(words, 'file', 6).tolist() == [1, 2, 0, 0, 2, 0]
    with pytest.raises(ValueError, match="file must be 1 .* with .'x'"):
        gender_codes(['x'], 'file', 1)
    with pytest.raises(ValueError, match='file must be 2 .* got 1'):
        gender_codes(['m'], 'file', 2)


def test_names_have_forward_slashes():
    values = np.array(['a\\b.jpg', b'c', 'd/e'], object)
    assert names_of(values) == ['a/b.jpg', 'c', 'd/e']
