# Copyright (c) The mpm_postometro authors. All rights reserved.
import importlib.util
import json

import cv2
import numpy as np
import pytest
from labelled_people import SIZE, make_people
from labelled_people import take as take_joints
from labelled_people import weighted

from mpm_postometro.datasets.body import METRODataset, SPINDataset

COUNT = 7
PEOPLE = make_people(COUNT, seed=9)


@pytest.fixture(scope='module')
def tool(repo_root):
    spec = importlib.util.spec_from_file_location(
        'people_to_tsv',
        repo_root / 'tools/dataset_converters/people_to_tsv.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def folder(tmp_path):
    """People in a file of SPIN's, two of them without some labels; one JPEG
    file is cut off, one picture is missing, one is none, one is a .png."""
    side = (PEOPLE.bbox[:, 2:] - PEOPLE.bbox[:, :2]).max(1)
    names = [f'{i}.jpg' for i in range(COUNT)]
    names[1] = '1.png'
    joints = weighted(take_joints(PEOPLE.joints, 'j24'))
    joints[2] = 0
    np.savez(
        tmp_path / 'labels.npz',
        imgname=np.array(names),
        center=(PEOPLE.bbox[:, :2] + PEOPLE.bbox[:, 2:]) / 2,
        scale=1.2 * side / 200,
        part=weighted(take_joints(PEOPLE.points, 'j24')),
        S=joints,
        pose=PEOPLE.pose.reshape(COUNT, 72),
        shape=PEOPLE.betas,
        has_smpl=np.arange(COUNT) != 3,
        gender=np.array(list('mffmmff')))
    rng = np.random.RandomState(0)
    for name in names:
        picture = rng.randint(0, 255, (SIZE[1], SIZE[0], 3), np.uint8)
        cv2.imwrite(str(tmp_path / name), cv2.GaussianBlur(picture, (0, 0), 5))
    raw = (tmp_path / '4.jpg').read_bytes()
    (tmp_path / '4.jpg').write_bytes(raw[:-200])
    (tmp_path / '5.jpg').unlink()
    (tmp_path / '6.jpg').write_bytes(b'<html>not found</html>')
    return tmp_path


def arguments(folder, name='out/people'):
    return [
        str(folder / name), 'SPINDataset', '--cfg-options',
        f'ann_file={folder}/labels.npz', f'data_prefix.img={folder}'
    ]


def outcome(folder):
    return {
        path.name: path.read_bytes()
        for path in (folder / 'out').iterdir()
    }


def test_people_and_pictures_come_back(tool, folder, capsys):
    assert tool.main(arguments(folder)) == 0
    text = capsys.readouterr().out
    assert '4 people written' in text
    assert 'left out         3  picture is missing or broken' in text
    report = json.loads((folder / 'out/people.report.json').read_text())
    assert report['written'] == 4 and report['people'] == COUNT
    dropped, = report['left_out_by_the_converter'].values()
    for number, (line, reason) in enumerate(
            zip(dropped, ('cut off', 'No such file', 'no picture')), 4):
        assert f'{number}.jpg: ' in line and reason in line
    before = SPINDataset(
        f'{folder}/labels.npz', data_prefix=dict(img=str(folder)))
    after = METRODataset(str(folder / 'out/people.yaml'))
    assert len(after) == 4
    for i in range(4):
        old, new = before[i], after[i]
        for key in ('bbox', 'keypoints', 'joints_2d', 'joints_3d',
                    'global_orient', 'body_pose', 'betas'):
            np.testing.assert_allclose(new[key], old[key], atol=1e-3)
            if f'{key}_visible' in old:
                np.testing.assert_array_equal(new[f'{key}_visible'],
                                              old[f'{key}_visible'])
        for key in ('has_smpl', 'has_joints_3d', 'gender'):
            assert new[key] == old[key]
        picture = cv2.imread(old['img_path'])
        assert new['img_shape'] == picture.shape[:2]
        off = np.abs(new['img'].astype(int) - picture).max()
        assert off == 0 if i != 1 else off < 20  # the .png file
    # JPEG files are taken as they are, everything is said once.
    assert sorted(outcome(folder)) == sorted(
        f'people.{x}'
        for x in ('img.tsv', 'img.lineidx', 'label.tsv', 'label.lineidx',
                  'hw.tsv', 'hw.lineidx', 'yaml', 'report.json'))


def test_tables_into_tables(tool, folder, capsys):
    """JPEG files go from table to table as they are."""
    tool.main(arguments(folder))
    people = folder / 'out/people'
    keys, pictures = zip(
        *(line.split(b'\t')
          for line in people.with_suffix('.img.tsv').read_bytes().split(b'\n')
          if line))
    table = people.with_suffix('.img.tsv')
    table.write_bytes(b''.join(
        key + b'\t' + (b'bm8gcGljdHVyZQ==' if i == 2 else picture) + b'\n'
        for i, (key, picture) in enumerate(zip(keys, pictures))))
    table.with_suffix('.lineidx').unlink()
    command = [
        str(folder / 'again/people'), 'METRODataset', '--cfg-options',
        f'ann_file={people}.yaml'
    ]
    capsys.readouterr()
    assert tool.main(command) == 0
    assert 'left out         1  picture is miss' in capsys.readouterr().out
    rows = (folder / 'again/people.img.tsv').read_bytes().splitlines()
    assert [row.split(b'\t')[1]
            for row in rows] == [pictures[i] for i in (0, 1, 3)]
    again = METRODataset(str(folder / 'again/people.yaml'))
    assert [x['img_shape'] for x in again] == [SIZE[::-1]] * 3
    report = json.loads((folder / 'again/people.report.json').read_text())
    (line, ), = report['left_out_by_the_converter'].values()
    assert line.startswith(f'{table}:') and 'row 2 has a file that' in line


@pytest.mark.parametrize('error', [KeyboardInterrupt, MemoryError])
@pytest.mark.parametrize('after', [0, 1, 2, 3, 6])
def test_interrupted_anywhere_and_gone_on_with(tool, folder, monkeypatch,
                                               capsys, error, after):
    monkeypatch.setattr(tool, 'STEP', 2)
    tool.main(arguments(folder))
    whole = outcome(folder)
    for path in (folder / 'out').iterdir():
        path.unlink()
    read, calls = tool.read_picture, []

    def interrupted(*args):
        calls.append(args)
        if len(calls) == after + 1:
            raise error
        return read(*args)

    with monkeypatch.context() as patch:
        patch.setattr(tool, 'read_picture', interrupted)
        if error is KeyboardInterrupt:
            assert tool.main(arguments(folder)) == 130
            assert 'the same command goes on' in capsys.readouterr().out
        else:
            with pytest.raises(error):
                tool.main(arguments(folder))
    assert not (folder / 'out/people.yaml').exists()
    for part in (folder / 'out').glob('*.part'):  # rows that do not count
        part.write_bytes(part.read_bytes() + b'half a row' * 10**5)
    assert tool.main(arguments(folder)) == 0
    text = capsys.readouterr().out
    assert (f'Goes on after {after // 2 * 2} of 7' in text) == (after > 1)
    assert outcome(folder) == whole


def test_interrupted_while_finishing(tool, folder, monkeypatch):
    tool.main(arguments(folder))
    whole = outcome(folder)
    for path in (folder / 'out').iterdir():
        path.unlink()
    replace = tool.os.replace

    def interrupted(old, new):
        if str(new).endswith('people.label.tsv'):
            raise MemoryError
        replace(old, new)

    with monkeypatch.context() as patch:
        patch.setattr(tool.os, 'replace', interrupted)
        with pytest.raises(MemoryError):
            tool.main(arguments(folder))
    assert tool.main(arguments(folder)) == 0
    assert outcome(folder) == whole


def test_what_cannot_be_converted(tool, folder, capsys):
    (folder / 'out').mkdir()
    tables = tool.Tables(folder / 'out/people', dict(people=3))
    assert tool.main(arguments(folder)) == 2
    assert 'is of other people' in capsys.readouterr().out
    tables.path('state.json').unlink()
    tool.main(arguments(folder))
    assert tool.main(arguments(folder)) == 2
    assert 'people.yaml is there already' in capsys.readouterr().out
    (folder / 'labels.npz').unlink()
    assert tool.main(arguments(folder, 'out/other')) == 2
    assert 'labels.npz does not exist' in capsys.readouterr().out
    assert tool.main([str(folder / 'x'), 'CocoDataset']) == 2
    assert 'no data set of labelled people' in capsys.readouterr().out


def test_nobody_with_a_picture(tool, folder, capsys):
    for i in range(COUNT):
        for path in folder.glob(f'{i}.*'):
            path.unlink()
    assert tool.main(arguments(folder)) == 2
    assert 'nobody has a picture' in capsys.readouterr().out
    assert not (folder / 'out/people.yaml').exists()
