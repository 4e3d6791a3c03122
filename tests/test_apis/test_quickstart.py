# Copyright (c) The mpm_postometro authors. All rights reserved.
"""The whole quick start at tiny size: it runs, is interrupted, resumes."""
import contextlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpose.registry import DATASETS

from mpm_postometro.apis.progress import ProgressLine, format_seconds
from mpm_postometro.apis.quickstart import (OUTPUTS, STAGES, QuickStart,
                                            available_cores)
from mpm_postometro.apis.quickstart_report import enlarge, true_mesh
from mpm_postometro.bodies import load_body
from mpm_postometro.bodies.cameras import perspective_project
from mpm_postometro.files import read_json

SET_UP_SECONDS = 1000.
METRICS = {'mpjpe', 'pa_mpjpe', 'mpvpe'}


def _run(repo_root, work_dir, interrupt_when=None):
    """Output of the quick start, interrupted as soon as a condition holds."""
    process = subprocess.Popen([
        sys.executable, 'tools/quickstart.py', '--smoke', '--work-dir',
        str(work_dir), '--setup-seconds',
        str(SET_UP_SECONDS)
    ],
                               cwd=repo_root,
                               stdout=subprocess.PIPE,
                               stderr=subprocess.STDOUT,
                               text=True,
                               start_new_session=True,
                               preexec_fn=_hear_interrupts)
    try:
        if interrupt_when is not None:
            while process.poll() is None and not interrupt_when():
                time.sleep(.01)
            if process.poll() is None:
                # As a terminal sends Ctrl-C: to the workers too.
                os.killpg(process.pid, signal.SIGINT)
        output = process.communicate(timeout=600)[0]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    expected = 0 if interrupt_when is None else 130
    assert process.returncode == expected, output
    return output


def _hear_interrupts():
    # Shells start background jobs with SIGINT ignored, and children inherit.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@pytest.fixture(scope='module')
def outputs(repo_root, work_dir):
    """One command three times: Ctrl-C while rendering, Ctrl-C in the middle
    of the classifier's training, and to the end."""
    workers = min(2, available_cores())

    def renders():
        claims = work_dir.glob('data/cache/train-*/*.lock')
        return len(list(claims)) >= workers

    first = _run(repo_root, work_dir, renders)
    assert not (work_dir / 'data' / 'done.json').exists()

    def trains():
        epoch_1 = work_dir / 'classifier' / 'last_checkpoint'
        return epoch_1.exists() and epoch_1.read_text()

    second = _run(repo_root, work_dir, trains)
    assert not (work_dir / 'classifier' / 'done.json').exists()
    return first, second, _run(repo_root, work_dir)


@pytest.fixture(scope='module')
def work_dir(tmp_path_factory):
    return tmp_path_factory.mktemp('quickstart')


@pytest.fixture
def finished(work_dir, outputs):
    """Work directory of the finished run."""
    return work_dir


def test_interrupt_says_how_to_go_on(outputs):
    for output in outputs[:2]:
        assert 'run the same command again to resume' in output
        assert 'Traceback' not in output


def test_same_command_goes_on_where_it_stopped(finished, outputs):
    last = outputs[-1]
    for number in (1, 2, 3):
        assert re.search(rf'\[{number}/7\] .* done before', last)
    assert re.search(r'\[4/7\] .* done in', last)
    logs = [p.read_text() for p in finished.glob('classifier/*/*.log')]
    assert len(logs) == 2 and sum('resumed epoch: 1' in log for log in logs)
    assert not any('settings changed' in output for output in outputs)


def test_summary_has_the_promised_form(finished):
    summary = json.loads((finished / 'summary.json').read_text())
    assert set(summary) == {
        'constant', 'image_only', 'postometro', 'seconds', 'images'
    }
    for name in ('constant', 'image_only', 'postometro'):
        assert set(summary[name]) == METRICS
        assert all(0 < value < 5000 for value in summary[name].values())
    assert summary['images'] == 16
    spent = [
        read_json(str(finished / stage.name / 'spent.json'))['seconds']
        for stage in STAGES
    ]
    assert summary['seconds'] == pytest.approx(
        SET_UP_SECONDS + sum(spent), abs=3)


def test_report_shows_everything(finished):
    page = (finished / 'report.html').read_text()
    for text in ('PostoMETRO', 'best constant', 'By occlusion',
                 'Training loss: classifier', 'Validation MPJPE',
                 'ground truth', 'set-up'):
        assert text in page, text
    assert 'http://' not in re.sub(r'http://www\.w3\.org/\S+', '', page)


def test_browser_shows_the_report(finished, browser):
    page = browser(finished / 'report.html')
    assert page.console == []
    (viewer, ) = page.attributes('mv')
    assert int(viewer['drawn']) > 1000 and 'error' not in viewer


def test_another_run_does_nothing(finished, repo_root):
    before = (finished / 'summary.json').read_bytes()
    output = _run(repo_root, finished)
    assert output.count('done before') == len(STAGES)
    assert (finished / 'summary.json').read_bytes() == before


def test_checkpoints_hold_no_geometry(finished):
    sizes = set(load_body().levels.sizes[:2])
    start = QuickStart(str(finished), smoke=True)
    for name in ('image_only', 'postometro'):
        state = torch.load(start.checkpoint(name), weights_only=False)
        shapes = [tuple(v.shape) for v in state['state_dict'].values()]
        assert shapes
        assert not [s for s in shapes if sizes & set(s)]


def _begin(work_dir, **settings):
    """A run whose stages do nothing but note who ran them."""
    start = QuickStart(str(work_dir), smoke=True, **settings)
    start._run_stage = lambda stage: _note(start, stage, repr(settings))
    start._print_table = lambda summary: None
    start.run()
    return start


def _note(start, stage, text):
    for name in ('note', *OUTPUTS):
        Path(start.folder(stage.name), name).write_text(text)


def _notes(work_dir, suffix=''):
    return {
        stage.name: (work_dir / f'{stage.name}{suffix}' / 'note').read_text()
        for stage in STAGES if (work_dir / f'{stage.name}{suffix}').exists()
    }


def test_another_setting_keeps_what_the_first_did(tmp_path, capsys):
    _begin(tmp_path)
    shard = tmp_path / 'data' / 'cache' / 'shard'
    shard.parent.mkdir()
    shard.touch()
    assert 'settings changed' not in capsys.readouterr().out

    # Another seed: nothing to render, and all trainings afresh.
    _begin(tmp_path, seed=1)
    said = capsys.readouterr().out
    trained = [stage.name for stage in STAGES[1:]]
    for name in trained:
        assert (f'settings changed: {name} starts afresh, the earlier result '
                f'is kept in {tmp_path / name}.old') in said
    assert 'changed: data' not in said
    first, second = '{}', "{'seed': 1}"
    assert _notes(tmp_path) == {
        'data': first,
        **dict.fromkeys(trained, second)
    }
    assert _notes(tmp_path, '.old') == dict.fromkeys(trained, first)
    assert (tmp_path / 'summary.json').read_text() == second

    # More images are rendered beside those that are there; and back.
    _begin(tmp_path, images=41)
    assert _notes(tmp_path)['data'] == "{'images': 41}" and shard.exists()
    assert _notes(tmp_path, '.old') == dict.fromkeys(trained, second)
    capsys.readouterr()
    _begin(tmp_path, seed=1)
    assert capsys.readouterr().out.count('done before') == len(trained)
    assert (tmp_path / 'summary.json').read_text() == second
    assert shard.exists()


def test_images_are_those_of_the_training(tmp_path):
    start = QuickStart(str(tmp_path), images=41)
    lengths = [
        start.config(STAGES[1])[f'{split}_dataloader'].dataset.length
        for split in ('train', 'val', 'test')
    ]
    assert lengths == [41, 300, 1000]
    with pytest.raises(ValueError, match='images must be at least 1, got 0'):
        QuickStart(str(tmp_path), images=0)


def test_time_of_the_set_up_is_no_setting(tmp_path):
    assert (QuickStart(str(tmp_path))._sign() == QuickStart(
        str(tmp_path), setup_seconds=10.)._sign())


def test_true_camera_puts_joints_where_the_labels_are(repo_root):
    cfg = Config.fromfile(repo_root / 'configs' / '_base_' / 'datasets' /
                          'synthetic_body_small.py').test_dataloader.dataset
    # A turned crop: all that the camera depends on.
    cfg.pipeline.insert(
        1, dict(type='RandomBBoxTransform', rotate_factor=40., rotate_prob=1.))
    cfg.update(cache_dir=None, length=2)
    dataset = DATASETS.build(cfg)
    body = load_body()
    for index in range(2):
        np.random.seed(index)
        labels = dataset[index]['data_samples'].gt_instance_labels
        np.random.seed(index)
        vertices, intrinsics = true_mesh(dataset, index, body)
        joints = body.regress_joints(torch.from_numpy(vertices)[None], 'j14')
        points = perspective_project(joints, torch.from_numpy(intrinsics))
        np.testing.assert_allclose(points, labels.joints_2d, atol=1e-2)


def test_enlarged_pixels_lie_where_cameras_scale_to():
    crop = np.zeros((96, 96, 3), np.uint8)
    crop[40:43, 20:25] = 255
    large = enlarge(crop, 256)[..., 0].astype(float)
    rows, columns = np.indices(large.shape)
    found = [(axis * large).sum() / large.sum() for axis in (columns, rows)]
    np.testing.assert_allclose(found, [22 * 256 / 96, 41 * 256 / 96], atol=.1)
    assert large.shape == (256, 256)


def test_progress_line_on_a_pipe():
    stream = io.StringIO()
    line = ProgressLine(stream, interval=0)
    line.update('stage', 0.5, 'epoch 1/2')
    line.say('done')
    assert stream.getvalue() == (f'stage [{"#" * 12}{"-" * 12}]  50 %  '
                                 'epoch 1/2\ndone\n')


@pytest.mark.parametrize('seconds, text', [(0, '0:00'), (75.2, '1:15'),
                                           (3600, '1:00:00')])
def test_format_seconds(seconds, text):
    assert format_seconds(seconds) == text
