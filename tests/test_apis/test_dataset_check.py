# Copyright (c) The mpm_postometro authors. All rights reserved.
import importlib.util
import json

import cv2
import numpy as np
import pytest
from labelled_people import draw_people, make_people, pose_body, take, weighted
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mpm_postometro.apis.dataset_check import (check_dataset, find_datasets,
                                               landing_points)
from mpm_postometro.bodies import load_body
from mpm_postometro.datasets.body import PersonDataset
from mpm_postometro.datasets.body.person_table import NameList, PersonTable

PEOPLE = make_people(6, seed=4)
NAMES = [f'{i}.png' for i in range(6)]
PINK = (255, 60, 255)


@pytest.fixture(autouse=True)
def scope():
    init_default_scope('mmpose')


@pytest.fixture
def folder(tmp_path):
    """An .npz file of SPIN's and its pictures."""
    draw_people(tmp_path, PEOPLE, NAMES)
    write_spin(tmp_path)
    return tmp_path


def write_spin(folder, **changes):
    centers = (PEOPLE.bbox[:, :2] + PEOPLE.bbox[:, 2:]) / 2
    sides = (PEOPLE.bbox[:, 2:] - PEOPLE.bbox[:, :2]).max(1)
    joints = take(PEOPLE.joints, 'j24') - PEOPLE.joints['h36m17'][:, :1]
    arrays = dict(
        imgname=np.array(NAMES),
        center=centers,
        scale=1.2 * sides / 200,
        part=weighted(take(PEOPLE.points, 'j24')),
        S=weighted(joints),
        pose=PEOPLE.pose.reshape(6, 72),
        shape=PEOPLE.betas,
        has_smpl=np.array([1, 1, 1, 1, 0, 0]),
        annot_id=np.array([1, 2, 3, 4, 4, -1]),
        gender=np.array(list('mmfmmm')))
    np.savez(folder / 'labels.npz', **dict(arrays, **changes))


def spin(folder):
    return dict(
        type='SPINDataset',
        ann_file=str(folder / 'labels.npz'),
        data_prefix=dict(img=str(folder)))


def test_counts_of_a_good_data_set(folder):
    told = []
    check = check_dataset(spin(folder), 'mine', report=told.append)
    assert check.ok and not check.problems
    assert (check.people, check.pictures, check.tried) == (6, 6, 6)
    assert check.labels == {
        'keypoints': 6,
        '2D joints': 6,
        '3D joints': 6,
        'SMPL bodies': 4,
        'of gender male': 5,
        'of gender female': 1,
        'annotation ids': 5
    }
    # Weak perspective is not exact, but these people stand 4 m away.
    assert 0 < check.landed < 2
    assert check.notes == [
        '1 people have an annotation id that another has too'
    ]
    assert told == sorted(told) and len(told) == 6
    text = str(check)
    assert 'mine' in text and 'all right' in text and '6 in 6 pic' in text
    assert json.loads(json.dumps(check.asdict()))['people'] == 6


def test_missing_and_broken_pictures(folder):
    (folder / '1.png').unlink()
    (folder / '3.png').write_bytes(b'no picture')
    (folder / '4.png').write_bytes(b'')
    whole = cv2.imencode('.jpg', cv2.imread(str(folder / '5.png')))[1]
    (folder / '5.png').write_bytes(whole.tobytes()[:-9])
    check = check_dataset(spin(folder), number=None)
    assert not check.ok and check.tried == 6
    assert check.problems[:3] == [
        '1 of 6 pictures are missing', f'{folder}/1.png',
        '3 of 6 items cannot be read'
    ]
    for problem, text in zip(
            check.problems[3:],
        (f'{folder}/3.png is no picture', f'{folder}/4.png is no picture',
         f'{folder}/5.png is a JPEG of {len(whole) - 9} bytes that is cut')):
        assert problem.startswith(text)
    assert len(check.problems) == 6
    assert 'BROKEN' in str(check) and 'not all right' in str(check)
    (folder / '5.png').write_bytes(whole.tobytes())
    some = check_dataset(spin(folder), number=2)  # the first and the last
    assert some.ok and some.tried == 2


def test_files_that_cannot_be_read(folder):
    write_spin(folder, shape=np.zeros((6, 9)))
    check = check_dataset(spin(folder))
    assert not check.ok and check.people == 0
    assert "'shape' must be (6, 10), got (6, 9)" in check.problems[0]
    (folder / 'labels.npz').unlink()
    assert 'does not exist' in check_dataset(spin(folder)).problems[0]


def test_labels_that_do_not_fit(folder):
    joints = weighted(take(PEOPLE.joints, 'j24'))
    write_spin(
        folder,
        S=joints * [1, -1, -1, 1],  # y up
        center=np.full((6, 2), 5000.))
    check = check_dataset(spin(folder))
    assert check.ok  # it can be read
    assert any('do not fit' in note for note in check.notes)
    assert any('6 of 6 boxes lie outside' in note for note in check.notes)


class Small(PersonDataset):
    """Two people with camera and translation; one is left out."""

    def load_people(self):
        names, image = NameList.unique(NAMES[:3])
        table = PersonTable(
            image=image,
            image_names=names,
            bbox=PEOPLE.bbox[:3],
            joints_2d=weighted(PEOPLE.points['j14'][:3]),
            joints_3d=weighted(PEOPLE.joints['j14'][:3]),
            betas=PEOPLE.betas[:3],
            body_pose=PEOPLE.pose[:3, 1:],
            global_orient=PEOPLE.pose[:3, 0],
            transl=PEOPLE.transl[:3],
            image_size=np.tile([9, 9], (3, 1)),
            intrinsics=np.tile(PEOPLE.intrinsics, (3, 1, 1)))
        return table.select(np.array([0, 2]), 'no reason')


def test_cameras_and_drops(folder):
    dataset = Small(data_prefix=dict(img=str(folder)))
    check = check_dataset(dataset)
    assert check.labels['cameras'] == check.labels['translations'] == 2
    assert check.dropped == {'no reason': 1} and check.landed < 1e-2
    assert check.notes == ['2 of 2 pictures are of another size than labelled']
    assert 'no reason' in str(check)
    landed = landing_points(dataset[0])
    np.testing.assert_allclose(landed, PEOPLE.points['j14'][0], atol=1e-2)


class Sequences(PersonDataset):
    """Four sequences of four pictures with the same two people, one person
    after the other, as 3DPW has them."""

    def load_people(self):
        picture = np.arange(16).reshape(4, 1, 4).repeat(2, 1).flatten()
        which = picture % 6
        return PersonTable(
            image=picture,
            image_names=NameList(f'{i}.png' for i in range(16)),
            bbox=PEOPLE.bbox[which],
            joints_2d=weighted(PEOPLE.points['j14'][which]))

    def get_data_info(self, idx):
        self.asked.append(idx)
        return super().get_data_info(idx)


def test_all_people_are_looked_at(tmp_path):
    """Those that are not the first in their pictures too."""
    for i in range(16):
        cv2.imwrite(str(tmp_path / f'{i}.png'), np.zeros((9, 9, 3), np.uint8))
    dataset = Sequences(data_prefix=dict(img=str(tmp_path)))
    for number in (None, 8):
        dataset.asked = []
        check = check_dataset(dataset, number=number)
        assert (check.people, check.pictures) == (32, 16)
        assert len(dataset.asked) == (number or 16)
        sequence, person = np.divmod(np.array(dataset.asked) // 4, 2)
        assert set(sequence) == {0, 1, 2, 3} and set(person) == {0, 1}
        again, dataset.asked = dataset.asked, []
        check_dataset(dataset, number=number)
        assert dataset.asked == again


def test_sheet_shows_labels(folder):
    """Rings of the projected joints lie about the 2D joints."""
    dataset = Small(data_prefix=dict(img=str(folder)))
    check_dataset(dataset, sheet=folder / 'out/sheet.png')
    sheet = cv2.imread(str(folder / 'out/sheet.png'))
    assert sheet.shape == (200, 400, 3)
    box = PEOPLE.bbox[2]
    side = (box[2:] - box[:2]).max() * 1.25
    ankle = PEOPLE.points['j14'][2, 0]
    x, y = (ankle - (box[:2] + box[2:]) / 2 + side / 2) * 200 / side
    x, y = int(x) + 200, int(y)  # the second tile
    around = sheet[y - 6:y + 7, x - 6:x + 7].reshape(-1, 3)
    assert (np.abs(around - np.array(PINK)).max(1) < 90).any()
    check_dataset(dataset, sheet=folder / 'body.png', body=load_body())
    outlined = cv2.imread(str(folder / 'body.png'))
    changed = np.abs(outlined.astype(int) - sheet).max(-1) > 40
    assert 100 < changed.sum() < 6000
    # The outline runs where the outermost vertices are.
    vertices = pose_body(PEOPLE.betas[:1], PEOPLE.pose[:1],
                         PEOPLE.transl[:1])[0][0]
    assert vertices.shape[1] == 3
    rows = np.flatnonzero(changed[20:, :200].any(1)) + 20
    box = PEOPLE.bbox[0]
    side = (box[2:] - box[:2]).max() * 1.25
    bottom = (box[3] - (box[1] + box[3]) / 2 + side / 2) * 200 / side
    assert abs(rows.max() - bottom) < 3


def test_any_data_set_can_be_tried():
    check = check_dataset(
        dict(type='SyntheticBodyDataset', length=4, image_size=64), number=2)
    assert check.ok and check.people == 4 and check.tried == 2
    assert check.labels['SMPL bodies'] == 2 and check.landed < 1e-2


def test_data_sets_of_a_config(folder):
    mixed = dict(
        type='MixedDataset',
        datasets=[
            spin(folder),
            dict(
                type='RepeatDataset',
                times=3,
                dataset=dict(
                    type='SyntheticBodyDataset', length=2, pipeline=[1]))
        ])
    merged = dict(type='MergedPersonDataset', datasets=[spin(folder)] * 2)
    config = Config(
        dict(
            train_dataloader=dict(dataset=mixed),
            val_dataloader=dict(dataset=merged),
            test_dataloader=dict(dataset=merged)))
    found = dict(find_datasets(config))
    assert list(found) == [
        'train-0-SPINDataset', 'train-1-SyntheticBodyDataset',
        'val-0-MergedPersonDataset'
    ]
    assert all(d['pipeline'] == [] for d in found.values())
    assert check_dataset(found['val-0-MergedPersonDataset']).dropped


@pytest.fixture
def tool(repo_root):
    spec = importlib.util.spec_from_file_location(
        'tools_check_dataset', repo_root / 'tools/check_dataset.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def test_command(tool, folder, capsys):
    out = folder / 'out'
    arguments = [
        'SPINDataset', '--cfg-options', f'ann_file={folder}/labels.npz',
        f'data_prefix.img={folder}', '--out-dir',
        str(out)
    ]
    assert tool(arguments) == 0
    text = capsys.readouterr().out
    assert 'all right' in text and ' % ' not in text  # it took no time
    assert (out / 'SPINDataset.jpg').is_file()
    report = json.loads((out / 'report.json').read_text())
    assert report[0]['labels']['SMPL bodies'] == 4
    (folder / '2.png').unlink()
    config = folder / 'some.py'
    config.write_text('default_scope = "mmpose"\n'
                      f'train_dataloader = dict(dataset={spin(folder)})\n')
    assert tool([str(config), '--all', '--out-dir', str(out)]) == 1
    assert '1 of 6 pictures are missing' in capsys.readouterr().out
    assert (out / 'some-train-0-SPINDataset.jpg').is_file()
