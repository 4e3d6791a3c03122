# Copyright (c) The mpm_postometro authors. All rights reserved.
import json
import os
import pickle

import cv2
import numpy as np
import pytest
import yaml
from labelled_people import (SIZE, draw_people, make_people, project, take,
                             weighted)
from mmengine.registry import init_default_scope
from tiny_tsv import write_images, write_tsv

from mpm_postometro.datasets.body import METRODataset, table_file

PEOPLE = make_people(4, seed=2)
SKELETON = take(PEOPLE.joints, 'j24')
PELVIS = PEOPLE.joints['h36m17'][:, :1]
PIPELINE = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale', padding=1.2),
    dict(type='MeshAffine', input_size=(64, 64)),
    dict(type='PackMeshInputs')
]


def label(i, **changes):
    """A label of METRO's; None leaves a key out."""
    middle = (PEOPLE.bbox[i, :2] + PEOPLE.bbox[i, 2:]) / 2
    side = (PEOPLE.bbox[i, 2:] - PEOPLE.bbox[i, :2]).max()
    person = dict(
        center=middle.tolist(),
        scale=float(1.2 * side / 200),
        has_2d_joints=1,
        has_3d_joints=1,
        has_smpl=1,
        pose=PEOPLE.pose[i].ravel().tolist(),
        betas=PEOPLE.betas[i].tolist())
    # leading dimensions as some of the published files have them
    person['2d_joints'] = weighted(take(PEOPLE.points,
                                        'j24'))[i:i + 1].tolist()
    person['3d_joints'] = weighted(SKELETON - PELVIS)[i:i + 1].tolist()
    person.update(changes)
    return {k: v for k, v in person.items() if v is not None}


@pytest.fixture(scope='module')
def images(tmp_path_factory):
    folder = tmp_path_factory.mktemp('pictures')
    draw_people(folder, PEOPLE, [f'{i}.jpg' for i in range(4)])
    return [cv2.imread(str(folder / f'{i}.jpg')) for i in range(4)]


def write(root, images, people=None, name='train', config=None, hw='json'):
    """The files of one table, and its .yaml file."""
    root.mkdir(exist_ok=True)
    people = [[label(i)] for i in range(4)] if people is None else people
    write_images(root / f'{name}.img.tsv', images[:len(people)])
    rows = [(f'images/{i}.jpg', json.dumps(p)) for i, p in enumerate(people)]
    write_tsv(root / f'{name}.label.tsv', rows)
    files = dict(img=f'{name}.img.tsv', label=f'{name}.label.tsv')
    if hw:
        size = dict(height=SIZE[1], width=SIZE[0])
        size = json.dumps([size]) if hw == 'json' else f'{SIZE[1]} {SIZE[0]}'
        write_tsv(root / f'{name}.hw.tsv', [(row[0], size) for row in rows])
        files['hw'] = f'{name}.hw.tsv'
    path = root / f'{name}.yaml'
    path.write_text(yaml.safe_dump({**files, **(config or {})}))
    return str(path)


@pytest.mark.parametrize('hw', ['json', 'plain', None])
def test_table(tmp_path, images, hw):
    dataset = METRODataset(write(tmp_path, images, hw=hw))
    assert len(dataset) == 4
    for i, item in enumerate(dataset):
        # JPEG twice
        assert np.abs(item['img'].astype(int) - images[i]).mean() < 3
        assert item['img_shape'] == SIZE[::-1]
        landed = project(item['joints_3d'] + PELVIS[i], PEOPLE.intrinsics)
        np.testing.assert_allclose(landed, item['joints_2d'], atol=1e-2)
        assert item['joints_3d_visible'].all()
        np.testing.assert_allclose(
            item['joints_2d'][0], PEOPLE.points['j14'][i], rtol=1e-5)
        np.testing.assert_allclose(
            item['keypoints'][0], PEOPLE.points['coco17'][i], rtol=1e-5)
        np.testing.assert_allclose(
            item['global_orient'][0], PEOPLE.pose[i, 0], rtol=1e-6)
        np.testing.assert_allclose(
            item['body_pose'][0], PEOPLE.pose[i, 1:], rtol=1e-6)
        np.testing.assert_allclose(
            item['betas'][0], PEOPLE.betas[i], rtol=1e-6)
        assert item['has_smpl'] == item['has_joints_3d'] == 1
        box, true = item['bbox'][0], PEOPLE.bbox[i]
        np.testing.assert_allclose((box[:2] + box[2:]),
                                   true[:2] + true[2:],
                                   rtol=1e-4)
        side = (true[2:] - true[:2]).max()
        np.testing.assert_allclose(box[2:] - box[:2], side, rtol=1e-4)
        assert item['img_path'].endswith(f'train.img.tsv:images/{i}.jpg')
        assert 'transl' not in item and item['gender'] == 'neutral'
    assert (dataset.table.image_size is None) == (hw is None)


def test_through_the_pipeline_in_another_process(tmp_path, images):
    init_default_scope('mmpose')
    dataset = METRODataset(write(tmp_path, images), pipeline=PIPELINE)
    dataset = pickle.loads(pickle.dumps(dataset))
    sample = dataset[1]
    assert sample['inputs'].shape == (3, 64, 64)
    labels = sample['data_samples'].gt_instance_labels
    assert labels['has_smpl'].item() == 1
    assert labels['joints_2d_weights'].sum() == 14


def test_labels_that_are_not_there(tmp_path, images):
    people = [
        [
            label(
                0,
                has_smpl=0,
                pose=None,
                betas=[[float('nan')] * 10],
                gender='f')
        ],
        [label(1, has_3d_joints=0, **{'3d_joints': [0]}),
         label(2)],
        [],
        [label(3, has_2d_joints=[0], scale=[1.5], gender='m')],
    ]
    people[1][0]['2d_joints'][0][0] = [float('nan'), 3, 0]
    dataset = METRODataset(write(tmp_path, images, people))
    table = dataset.table
    assert table.has_smpl.tolist() == [False, True, True]
    assert table.has_joints_3d.tolist() == [True, False, True]
    assert table.gender.tolist() == [2, 0, 1]
    assert table.drop_report == {
        'not the first person of a row': 1,
        'nobody in the row': 1
    }
    assert not dataset[0]['betas'].any()
    item = dataset[1]
    assert item['joints_2d_visible'].sum() == 13
    assert not item['joints_2d'][0, 0].any()
    assert not item['joints_3d_visible'].any()
    item = dataset[2]  # the picture is the row's, not the person's number
    assert np.abs(item['img'].astype(int) - images[3]).mean() < 3
    assert item['img_path'].endswith('images/3.jpg')
    assert not item['keypoints_visible'].any()
    np.testing.assert_allclose(item['bbox'][0, 2:] - item['bbox'][0, :2], 250)


def test_linelist(tmp_path, images):
    path = write(tmp_path, images, config=dict(linelist='few.linelist.tsv'))
    (tmp_path / 'few.linelist.tsv').write_text('3\n1\n')
    dataset = METRODataset(path)
    assert [x['img_path'][-5] for x in dataset] == ['3', '1']
    np.testing.assert_allclose(
        dataset[0]['betas'][0], PEOPLE.betas[3], rtol=1e-6)
    assert np.abs(dataset[1]['img'].astype(int) - images[1]).mean() < 3
    (tmp_path / 'few.linelist.tsv').write_text('3\n4\n')
    with pytest.raises(
            ValueError,
            match='few.linelist.tsv, line 2: there is '
            'no row 4 in .*img.tsv, which has 4'):
        METRODataset(path)


def _composite(tmp_path, images, linelist, **changes):
    for name in ('coco', 'muco'):
        write(tmp_path, images, name=name)
    config = {
        key: [f'{name}.{key}.tsv' for name in ('coco', 'muco')]
        for key in ('img', 'label', 'hw')
    }
    config.update(composite=True, linelist='mixed.linelist.tsv', **changes)
    (tmp_path / 'mixed.linelist.tsv').write_text(linelist)
    path = tmp_path / 'mixed.yaml'
    path.write_text(yaml.safe_dump(config))
    return str(path)


def test_composite(tmp_path, images):
    dataset = METRODataset(
        _composite(tmp_path, images, '1\t2\n0\t0\n1\t0\n1\t2\n'))
    names = [x['img_path'].split('/')[-3:] for x in dataset]
    assert len(dataset) == 4
    found = [(x['img_path'].split('.img.tsv')[0][-4:], x['img_path'][-5])
             for x in dataset]
    assert found == [('muco', '2'), ('coco', '0'), ('muco', '0'),
                     ('muco', '2')], names
    for item, i in zip(dataset, (2, 0, 0, 2)):
        assert np.abs(item['img'].astype(int) - images[i]).mean() < 3
        np.testing.assert_allclose(
            item['betas'][0], PEOPLE.betas[i], rtol=1e-6)


def test_some_tables_of_a_composite(tmp_path, images):
    path = _composite(tmp_path, images, '1\t2\n0\t0\n1\t0\n1\t2\n')
    dataset = METRODataset(path, tables=['muco'])
    assert [x['img_path'].split('.img.tsv')[0][-4:]
            for x in dataset] == ['muco'] * 3
    np.testing.assert_allclose(
        dataset[1]['betas'][0], PEOPLE.betas[0], rtol=1e-6)
    assert np.abs(dataset[1]['img'].astype(int) - images[0]).mean() < 3
    assert sum(dataset.table.drop_report.values()) == 1
    assert len(METRODataset(path, tables=['coco', 'muco'])) == 4
    with pytest.raises(ValueError, match="no table with 'h36m' in its path"):
        METRODataset(path, tables=['coco', 'h36m'])


@pytest.mark.parametrize('changes, linelist, message', [
    ({}, '2\t0\n', 'mixed.linelist.tsv, line 1: there is no file 2, only 2'),
    ({}, '3\n', 'mixed.linelist.tsv, line 1: expected 2 row numbers'),
    (dict(label='coco.label.tsv'), '0\t0\n', "'label' must be a list of fil"),
    (dict(hw=['coco.hw.tsv']), '0\t0\n', "'hw' has 1 files, but 'img' has 2"),
])
def test_broken_composites(tmp_path, images, changes, linelist, message):
    with pytest.raises(ValueError, match=message):
        METRODataset(_composite(tmp_path, images, linelist, **changes))


@pytest.mark.parametrize('people, message', [
    ([label(0, center=None)], "row 1 has no 'center', only"),
    ([label(0, scale=0)], "row 1: 'scale' must be positive, got 0"),
    ([label(0, pose=[0] * 69)], r"row 1: 'pose' must be \(72,\), got \(69,\)"),
    ([label(0, betas=['a'] * 10)], "row 1: 'betas' must be numbers"),
    ([label(0, betas=[float('inf')] * 10)], "row 1: 'betas' is not finite"),
    ([label(0, has_smpl=None)], "row 1 has no 'has_smpl'"),
    ([label(0, gender='x')], "row 1: 'gender' must be"),
    ([label(0, **{'3d_joints': [[0] * 3] * 24})], r"'3d_joints' must be \(24"),
    ([label(0, **{'2d_joints': [[[float('nan'), 0, 1]] * 24]})
      ], "'2d_joints' is not finite"),
    ([3], 'row 1 must be a list of dictionaries'),
    (label(0), 'row 1 must be a list of dictionaries'),
])
def test_broken_labels(tmp_path, images, people, message):
    path = write(tmp_path, images, [[label(0)], people])
    with pytest.raises(ValueError, match=f'train.label.tsv, .*{message}'):
        METRODataset(path)


def test_broken_files(tmp_path, images):
    with pytest.raises(FileNotFoundError, match='none.yaml does not exist'):
        METRODataset(str(tmp_path / 'none.yaml'))
    path = write(tmp_path, images, config=dict(label=None))
    with pytest.raises(ValueError, match=r"has no \['label'\], only"):
        METRODataset(path)
    path = write(tmp_path, images, config=dict(label='gone.label.tsv'))
    with pytest.raises(FileNotFoundError, match='gone.label.tsv does not'):
        METRODataset(path)
    write(tmp_path, images, [[label(0)]], name='short')
    path = write(tmp_path, images, config=dict(label='short.label.tsv'))
    with pytest.raises(
            ValueError,
            match='short.label.tsv has 1 rows, but '
            '.*train.img.tsv has 4'):
        METRODataset(path)
    path = write(tmp_path, images)
    write_tsv(tmp_path / 'train.hw.tsv', [('k', '3 x')] * 4)
    with pytest.raises(ValueError, match="hw.tsv, row 0 .*got b'3 x'"):
        METRODataset(path)
    (tmp_path / 'train.yaml').write_text('- a\n')
    with pytest.raises(ValueError, match="must have 'img' and 'label'"):
        METRODataset(path)
    (tmp_path / 'train.yaml').write_text('a: [')
    with pytest.raises(ValueError, match='train.yaml is no YAML file'):
        METRODataset(path)


@pytest.mark.parametrize('absent',
                         [['img'], ['label'], ['hw'], ['linelist'],
                          ['img', 'label'], ['label', 'hw', 'linelist']])
def test_absent_files(tmp_path, images, absent):
    """All of them are named at once, and nothing else is."""
    path = write(tmp_path, images, config=dict(linelist='train.linelist.tsv'))
    (tmp_path / 'train.linelist.tsv').write_text('3\n1\n')
    assert len(METRODataset(path)) == 2
    for kind in absent:
        (tmp_path / f'train.{kind}.tsv').unlink()
    names = ', '.join(f'{tmp_path}/train.{kind}.tsv' for kind in absent)
    verb = 'do' if len(absent) > 1 else 'does'
    with pytest.raises(FileNotFoundError, match=f'^{names} {verb} not exist$'):
        METRODataset(path)


def test_absent_files_of_a_composite(tmp_path, images):
    path = _composite(tmp_path, images, '1\t2\n')
    for name in ('coco.img', 'muco.label'):
        (tmp_path / f'{name}.tsv').unlink()
    with pytest.raises(
            FileNotFoundError, match='coco.img.tsv, .*muco.label.tsv do not'):
        METRODataset(path)


def test_picture_that_is_none(tmp_path, images):
    path = write(tmp_path, images)
    rows = [(f'images/{i}.jpg', b'bm8gcGljdHVyZQ==') for i in range(4)]
    write_tsv(tmp_path / 'train.img.tsv', rows)
    dataset = METRODataset(path)
    with pytest.raises(
            ValueError, match='train.img.tsv, row 2 has a file that'):
        dataset.get_data_info(2)


def test_labels_of_large_tables_are_parsed_once(tmp_path, images, monkeypatch):
    monkeypatch.setattr(table_file, 'KEEP_FROM', 3)
    parse, parsed = METRODataset._read_people, []

    def counted(self, labels, sizes, rows, keys):
        parsed.append(len(rows))
        return parse(self, labels, sizes, rows, keys)

    monkeypatch.setattr(METRODataset, '_read_people', counted)
    people = [[label(0, gender='f'), label(1)], [], [label(2)], [label(3)]]
    path = write(tmp_path, images, people)
    first = METRODataset(path)
    again = METRODataset(path)
    assert parsed == [4] and (tmp_path / 'train.people.npz').is_file()
    assert again.table.drop_report == first.table.drop_report == {
        'not the first person of a row': 1,
        'nobody in the row': 1
    }
    for one, other in zip(first, again):
        assert one.keys() == other.keys()
        for key in one:
            np.testing.assert_equal(one[key], other[key])
    assert again[1]['img_path'].endswith('images/2.jpg')
    # Other labels, another index, another linelist: parsed anew.
    write(tmp_path, images, people[::-1])
    os.utime(tmp_path / 'train.label.tsv', (1, 1))  # the clock is coarse
    assert METRODataset(path)[0]['img_path'].endswith('images/0.jpg')
    assert len(parsed) == 2
    (tmp_path / 'l.tsv').write_text('3\n0\n2\n')
    path = write(tmp_path, images, people[::-1], config=dict(linelist='l.tsv'))
    assert METRODataset(path)[0]['img_path'].endswith('images/3.jpg')
    (tmp_path / 'l.tsv').write_text('0\n3\n2\n1\n')
    assert METRODataset(path)[0]['img_path'].endswith('images/0.jpg')
    assert parsed == [4, 4, 3, 4]
    (tmp_path / 'train.people.npz').write_bytes(b'cut off')
    assert len(METRODataset(path)) == 3 and len(parsed) == 5
    monkeypatch.setattr(table_file, 'KEEP_FROM', 4)  # people, not rows
    (tmp_path / 'train.people.npz').unlink()
    METRODataset(path)
    assert not (tmp_path / 'train.people.npz').exists()


def test_labels_that_cannot_be_kept(tmp_path, images, monkeypatch):
    monkeypatch.setattr(table_file, 'KEEP_FROM', 3)
    path = write(tmp_path, images)

    def refuse(*args):
        raise PermissionError('read-only')

    monkeypatch.setattr(table_file, 'save_table', refuse)
    with pytest.warns(UserWarning, match='train.people.npz cannot .*read-on'):
        assert len(METRODataset(path)) == 4
