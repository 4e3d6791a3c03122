# Copyright (c) The mpm_postometro authors. All rights reserved.
import json
import runpy
import sys

import numpy as np
import pytest

from mpm_postometro.datasets.body import MocapSequenceDataset
from mpm_postometro.datasets.body.motion_files import asf_amc

TOOL = 'dataset_converters/mocap.py'


@pytest.fixture
def convert(repo_root, monkeypatch, capsys):
    """Run the tool in this process; returns what it prints."""

    def convert(*arguments):
        tool = str(repo_root / 'tools' / TOOL)
        monkeypatch.setattr(sys, 'argv', [tool, *map(str, arguments)])
        runpy.run_path(tool, run_name='__main__')
        return capsys.readouterr().out

    return convert


@pytest.fixture
def source(tmp_path, repo_root, monkeypatch):
    """A folder as CMU's: two people, one trial with a jump, one broken."""
    monkeypatch.syspath_prepend(repo_root / 'tests' / 'test_datasets' /
                                'test_body' / 'test_motion_files')
    from motion_samples import amc_text, asf_text, bvh_text
    folder = tmp_path / 'subjects'

    def jumping(frame):
        return [frame / 100 + (8 if frame >= 90 else 0), 0, 0, 0, 0, 0]

    for subject, trials in {
            '01': dict(t01=amc_text(80), t02=amc_text(180, root=jumping)),
            '02': dict(t01=amc_text(80), t05='oh no')
    }.items():
        (folder / subject).mkdir(parents=True)
        (folder / subject / f'{subject}.asf').write_text(asf_text())
        for name, text in trials.items():
            path = folder / subject / f'{subject}_{name[1:]}.amc'
            path.write_text(text)
    (tmp_path / 'rig_1.bvh').write_text(bvh_text(40))
    return folder


def test_a_folder(convert, source, tmp_path):
    out = tmp_path / 'out' / 'mocap.npz'
    index = tmp_path / 'index.txt'
    index.write_text('Subject #1\n01_01\tjump, turn\n')
    printed = convert(out, source, '--index', index, '--min-frames', 20)
    with np.load(out) as file:
        arrays = dict(file)
    assert arrays['clip_name'].tolist() == [
        '01_01', '01_02.0', '01_02.1', '02_01'
    ]
    # the two frames about the jump are gone
    assert arrays['clip_length'].tolist() == [40, 44, 44, 40]
    assert arrays['clip_start'].tolist() == [0, 40, 84, 128]
    assert arrays['clip_subject'].tolist() == ['01', '01', '01', '02']
    assert arrays['clip_action'].tolist() == ['jump, turn', '', '', '']
    assert arrays['subjects'].tolist() == ['01', '02']
    assert arrays['rest_offsets'].shape == (2, 24, 3)
    assert arrays['fps'] == 60
    for key, shape in (('joints_3d', (17, 3)), ('pose', (24, 3)), ('trans',
                                                                   (3, ))):
        assert arrays[key].shape == (168, *shape)
        assert arrays[key].dtype == np.float32
    step = np.linalg.norm(
        np.diff(arrays['joints_3d'][84:128], axis=0), axis=-1)
    assert step.max() < .01
    report = json.loads(out.with_suffix('.json').read_text())
    assert (report['clips'], report['frames']) == (4, 168)
    reasons = {r['trial']: r for r in report['dropped']}
    assert set(reasons) == {'01_02', '02_05'}
    assert reasons['01_02']['frames'] == 2
    assert '02_05.amc: line 1 is before' in reasons['02_05']['reason']
    assert 'dropped 02_05: ' in printed and 'cut 01_02: 2 frames' in printed
    assert '4 clips, 168 frames; 1 of 4 trials dropped' in printed
    assert not (out.parent / 'mocap.npz.parts').exists()
    assert len(MocapSequenceDataset(str(out), seq_len=9)) == 4 * 168


def test_goes_on_where_it_was(convert, source, tmp_path, monkeypatch):
    whole, out = tmp_path / 'whole.npz', tmp_path / 'mocap.npz'
    convert(whole, source)
    read = asf_amc._read_amc

    def interrupted(path, *args):
        if path.name == '02_01.amc':
            raise KeyboardInterrupt
        return read(path, *args)

    with monkeypatch.context() as patch:
        patch.setattr(asf_amc, '_read_amc', interrupted)
        with pytest.raises(KeyboardInterrupt):
            convert(out, source)
    assert not out.exists()
    assert '2 of 4 trials were there already' in convert(out, source)
    with np.load(whole) as a, np.load(out) as b:
        for key in a:
            np.testing.assert_array_equal(a[key], b[key])


def test_changed_files_are_read_again(convert, source, tmp_path, monkeypatch):
    out = tmp_path / 'mocap.npz'
    monkeypatch.setattr('shutil.rmtree', lambda *a, **k: None)
    convert(out, source)
    (source / '02' / '02_01.amc').touch()
    assert '2 of 4 trials were there already' in convert(out, source)


def test_other_settings_start_anew(convert, source, tmp_path, monkeypatch):
    out = tmp_path / 'mocap.npz'
    monkeypatch.setattr('shutil.rmtree', lambda *a, **k: None)
    convert(out, source)
    printed = convert(out, source, '--fps', 30, '--min-frames', 10)
    assert 'there already' not in printed
    with np.load(out) as file:
        assert file['fps'] == 30


def test_rigs_have_no_pose(convert, source, tmp_path):
    out = tmp_path / 'mocap.npz'
    convert(out, tmp_path / 'rig_1.bvh', source, '--subjects', 'rig', '02')
    with np.load(out) as file:
        assert file['clip_name'].tolist() == ['02_01', 'rig_1']
        assert 'pose' not in file and 'rest_offsets' not in file


def test_amass(convert, tmp_path):
    folder = tmp_path / 'amass' / 'ACCAD' / 'Female1'
    folder.mkdir(parents=True)
    np.savez(
        folder / 'walk_poses.npz',
        poses=np.zeros((40, 156)),
        trans=np.zeros((40, 3)),
        betas=np.zeros(16),
        mocap_framerate=60.)
    np.savez(folder / 'shape.npz', betas=np.zeros(16))
    out = tmp_path / 'amass.npz'
    printed = convert(out, tmp_path / 'amass')
    with np.load(out) as file:
        assert file['clip_name'].tolist() == ['ACCAD/Female1/walk_poses']
        assert file['clip_subject'].tolist() == ['ACCAD/Female1']
        assert file['pose'].shape == (40, 24, 3)
    assert "shape.npz: has no key 'poses'" in printed


def test_wrong_arguments(convert, source, tmp_path):
    for arguments, message in [
        ((tmp_path / 'a.txt', source), 'must end with .npz'),
        ((tmp_path / 'a.npz', tmp_path / 'no'), 'no does not exist'),
        ((tmp_path / 'a.npz', source, '--subjects', '99'), 'no .amc, .bvh'),
        ((tmp_path / 'a.npz', source, source), "two files are trial '01_01'"),
        ((tmp_path / 'a.npz', source, '--min-frames', '999'), 'nothing is'),
        ((tmp_path / 'a.npz', source, '--index', 'no.txt'), 'no.txt does not'),
    ]:
        with pytest.raises(SystemExit, match=message):
            convert(*arguments)


def test_known_conversion(convert, data_dir, tmp_path):
    out = tmp_path / 'cmu.npz'
    convert(out, data_dir / 'bvh_samples' / 'asf_amc', '--subjects', '02',
            '09')
    with np.load(out) as file:
        ours = dict(file)
    assert ours['clip_name'].tolist() == ['02_03', '09_01']
    for i, split in enumerate(('test', 'train')):
        with np.load(data_dir / 'cmu_mocap' / f'cmu_mocap_{split}.npz') as f:
            row = f['clip_name'].tolist().index(ours['clip_name'][i])
            there = slice(f['clip_start'][row],
                          f['clip_start'][row] + f['clip_length'][row])
            here = slice(ours['clip_start'][i],
                         ours['clip_start'][i] + ours['clip_length'][i])
            for key in ('joints_3d', 'pose', 'trans'):
                # rounding at the last digit that is kept
                assert np.abs(ours[key][here] -
                              f[key][there]).max() < 1.1e-4  # yapf: disable
                same = ours[key][here] == f[key][there]
                assert same.mean() > .99
