# Copyright (c) The mpm_postometro authors. All rights reserved.
import os

import numpy as np
import pytest
import test_h36m_person_dataset
import test_muco_dataset
import test_threedoh_dataset
import test_threedpw_dataset
from labelled_people import write_smpl

from mpm_postometro.datasets.body import (H36MPersonDataset, MuCoDataset,
                                          ThreeDOHDataset, ThreeDPWDataset,
                                          h36m_person_dataset, muco_dataset,
                                          table_file, threedoh_dataset,
                                          threedpw_dataset)
from mpm_postometro.datasets.body.person_table import NameList, PersonTable
from mpm_postometro.datasets.body.smpl_labels import LabelBodies
from mpm_postometro.datasets.body.table_file import (files_stamp, load_table,
                                                     save_table)


def table():
    rng = np.random.RandomState(0)
    points = np.ones((3, 14, 4))
    points[..., :3] = rng.normal(0, 1, (3, 14, 3))
    return PersonTable(
        image=np.array([1, 0, 1]),
        image_names=NameList(['a/1.jpg', 'ü/2.jpg']),
        bbox=rng.uniform(0, 9, (3, 4)),
        joints_3d=points,
        transl=np.array([[1, 2, 3], [np.nan] * 3, [4, 5, 6.]]),
        gender=np.array([0, 1, 2]),
        annotation_id=np.array([7, -1, 9]),
        sequence=np.zeros(3),
        sequence_names=NameList(['walk']),
        drop_report={'too far': 2},
        source='train.yaml')


def test_round_trip(tmp_path):
    path = tmp_path / 'a.people.npz'
    assert load_table(path, [1]) is None
    save_table(path, table(), [1, ['x', 2]])
    assert load_table(path, [1, ['x', 3]]) is None
    found, expected = load_table(path, [1, ['x', 2]]), table()
    assert found.drop_report == expected.drop_report
    assert found.source == 'train.yaml' and found.body_pose is None
    for name in ('image', 'bbox', 'joints_3d', 'transl', 'gender',
                 'annotation_id', 'sequence', 'has_smpl', 'has_joints_3d'):
        left, right = getattr(found, name), getattr(expected, name)
        np.testing.assert_array_equal(left, right)
        assert left.dtype == right.dtype
    assert list(found.image_names) == ['a/1.jpg', 'ü/2.jpg']
    assert list(found.sequence_names) == ['walk']
    assert os.listdir(tmp_path) == ['a.people.npz']


@pytest.mark.parametrize('break_it', [
    lambda raw: raw[:len(raw) // 2],
    lambda raw: b'',
    lambda raw: b'no archive' * 100,
])
def test_broken_files_are_none(tmp_path, break_it):
    path = tmp_path / 'a.npz'
    save_table(path, table(), [1])
    path.write_bytes(break_it(path.read_bytes()))
    assert load_table(path, [1]) is None


@pytest.mark.parametrize('changes', [
    dict(bbox=np.zeros((2, 4))),
    dict(bbox=np.full((3, 4), np.nan)),
    dict(bbox=np.array([[None] * 4] * 3)),
    dict(about=np.array('{}')),
    dict(other=np.zeros(3)),
    {
        'image_names.ends': np.array([0, 7, 99])
    },
])
def test_files_with_something_else_are_none(tmp_path, changes):
    path = tmp_path / 'a.npz'
    save_table(path, table(), [1])
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    np.savez(path, **arrays)
    assert load_table(path, [1]) is not None
    np.savez(path, **{**arrays, **changes})
    assert load_table(path, [1]) is None


def test_stamp_tells_files_apart(tmp_path):
    path = tmp_path / 'x.tsv'
    stamps = [files_stamp([path])]
    path.write_text('a')
    stamps.append(files_stamp([path]))
    os.utime(path, ns=(1, 1))
    stamps.append(files_stamp([path]))
    path.write_text('ab')
    os.utime(path, ns=(1, 1))
    stamps.append(files_stamp([path]))
    assert files_stamp([path]) == stamps[-1]
    assert all(a != b for i, a in enumerate(stamps) for b in stamps[:i])


@pytest.mark.parametrize('reader, files, changes', [
    (lambda root, **kw: H36MPersonDataset(
        data_root=test_h36m_person_dataset.write(root),
        **{
            'split': 'P2',
            'fits': 'smpl_param',
            **kw
        }), 'annotations', [
            dict(interval=1),
            dict(split='P1'),
            dict(fits=None),
            dict(body=dict()),
            dict(max_fit_error=9.)
        ]),
    (lambda root, **kw: MuCoDataset(
        test_muco_dataset.write(root), **{
            'fits': 'smpl_param.json',
            **kw
        }), '.', [
            dict(fits=None),
            dict(body=dict()),
            dict(nearest_only=False),
            dict(max_fit_error=9.)
        ]),
    (lambda root, **kw: ThreeDOHDataset(
        test_threedoh_dataset.write(
            root / 'annots.json', test_threedoh_dataset.annotations()), **kw),
     '.', [dict(body=dict())]),
    (lambda root, **kw: ThreeDPWDataset(
        data_root=str(test_threedpw_dataset.write(root)),
        **{
            'body':
            dict(
                path=write_smpl(
                    root / 'smpl', neutral=1., male=1.1, female=.9)),
            **kw
        }), 'sequenceFiles', [
            dict(split='ALL'),
            dict(body=None),
            dict(body=dict()),
            dict(gender='neutral'),
            dict(regressor='j24'),
            dict(keypoints='projected'),
            dict(min_keypoints=1)
        ]),
])
def test_readers_keep_their_tables(tmp_path, monkeypatch, reader, files,
                                   changes):
    monkeypatch.setattr(table_file, 'KEEP_FROM', 1)
    made = reader(tmp_path)
    kept, = (tmp_path / files).glob('*.people.npz')
    # Files are written anew each time: as if they were those of before.
    monkeypatch.setattr(table_file, 'files_stamp', lambda paths: ['same'])
    for module in (h36m_person_dataset, muco_dataset, threedoh_dataset,
                   threedpw_dataset):
        monkeypatch.setattr(module, 'files_stamp', lambda paths: ['same'])
        monkeypatch.setattr(module, 'kept_table', table_file.kept_table)
    kept.unlink()
    reader(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(type(made), '_read_all', None)
        again = reader(tmp_path)
        for one, other in zip(made, again):
            for key in one:
                np.testing.assert_equal(one[key], other[key])
        assert len(made) == len(again) > 0
        assert made.table.drop_report == again.table.drop_report
        for change in changes:  # is made anew
            with pytest.raises(TypeError):
                reader(tmp_path, **change)
    for change in changes:
        reader(tmp_path, **change)
    number = len(list((tmp_path / files).glob('*.people.npz')))
    assert number == 1 + len(changes)


def test_bodies_are_told_apart(tmp_path, monkeypatch):
    """By what is read, wherever it lies and however old it is."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('MPM_POSTOMETRO_BODY_MODELS', str(tmp_path / 'bodies'))
    smpl = tmp_path / 'bodies/smpl'  # a bare name finds it

    def stamp():
        body = LabelBodies(dict(path='smpl'))
        assert body.settings == '{"path": "smpl"}'  # names stay
        return body.stamp('neutral')

    with pytest.raises(FileNotFoundError, match="'smpl' .neutral. not"):
        stamp()
    write_smpl(smpl, neutral=1.)
    stamps = [LabelBodies({}).stamp('neutral'), stamp()]
    write_smpl(smpl, neutral=1.1)
    stamps.append(stamp())
    # regressors beside the model, then in the folder above
    for folder, name in ((smpl, 'J_regressor_h36m_correct.npy'),
                         (smpl.parent, 'J_regressor_extra.npy')):
        (smpl / name).rename(folder / name)
        assert stamp() == stamps[-1]
        status = (folder / name).stat()
        np.save(folder / name, np.load(folder / name) * .9)
        os.utime(folder / name, ns=(status.st_atime_ns, status.st_mtime_ns))
        stamps.append(stamp())
    write_smpl(smpl, neutral=1.1, male=2.)
    file = dict(path='smpl/SMPL_NEUTRAL.npz')
    stamps.append(LabelBodies(file).stamp('neutral', 'male'))
    write_smpl(smpl, neutral=1.1, male=3.)
    stamps.append(LabelBodies(file).stamp('neutral', 'male'))
    assert all(a != b for i, a in enumerate(stamps) for b in stamps[:i])


def test_other_bodies_take_the_place_of_kept_tables(tmp_path, monkeypatch):
    monkeypatch.setattr(table_file, 'KEEP_FROM', 1)
    path = test_threedoh_dataset.write(tmp_path / 'annots.json',
                                       test_threedoh_dataset.annotations())
    heights = []
    for size in (1., 1.2, 1.2):
        smpl = write_smpl(tmp_path / 'smpl', neutral=size)
        table = ThreeDOHDataset(path, body=dict(path=smpl)).table
        heights.append(np.ptp(table.joints_3d[0, :, 1]))
        assert len(list(tmp_path.glob('*.people.npz'))) == 1
    assert heights[1] == heights[2] > 1.1 * heights[0]
    monkeypatch.setattr(ThreeDOHDataset, '_read_all', None)
    ThreeDOHDataset(path, body=dict(path=smpl))


def test_bodies_of_both_genders_count(tmp_path, monkeypatch):
    monkeypatch.setattr(table_file, 'KEEP_FROM', 1)
    root = str(test_threedpw_dataset.write(tmp_path))
    joints = []
    for male, female in ((1.1, .9), (1.1, .8), (1.2, .8)):
        smpl = write_smpl(tmp_path / 'smpl', male=male, female=female)
        dataset = ThreeDPWDataset(data_root=root, body=dict(path=smpl))
        joints.append(dataset.table.joints_3d)
    changed = [(a != b).any((1, 2)).tolist()
               for a, b in zip(joints, joints[1:])]
    number = len(dataset) // 2  # the man comes first
    assert changed == [[False] * number + [True] * number,
                       [True] * number + [False] * number]
