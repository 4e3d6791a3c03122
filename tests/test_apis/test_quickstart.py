# Copyright (c) The mpm_postometro authors. All rights reserved.
"""The whole quick start at tiny size: it runs, is interrupted, resumes."""
import io
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from mpm_postometro.apis.progress import ProgressLine, format_seconds
from mpm_postometro.apis.quickstart import (STAGES, QuickStart, read_json,
                                            write_json)

METRICS = {'mpjpe', 'pa_mpjpe', 'mpvpe'}


def _start(repo_root, work_dir, *options):
    return subprocess.Popen([
        sys.executable, 'tools/quickstart.py', '--smoke', '--work-dir',
        str(work_dir), *options
    ],
                            cwd=repo_root,
                            stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT,
                            text=True,
                            preexec_fn=_hear_interrupts)


def _hear_interrupts():
    # Shells start background jobs with SIGINT ignored, and children inherit.
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _finish(process):
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    return output


@pytest.fixture(scope='module')
def interrupted(repo_root, tmp_path_factory):
    """Ctrl-C in the fourth stage, then the same command again."""
    work_dir = tmp_path_factory.mktemp('quickstart')
    process = _start(repo_root, work_dir)
    first = ''
    deadline = time.monotonic() + 240
    while not re.search(r'\[3/7\] .* done in', first):
        assert time.monotonic() < deadline, first
        line = process.stdout.readline()
        assert line, first
        first += line
    process.send_signal(signal.SIGINT)
    first += process.communicate(timeout=120)[0]
    code = process.returncode
    return work_dir, code, first, _finish(_start(repo_root, work_dir))


def test_interrupt_says_how_to_go_on(interrupted):
    work_dir, code, first, _ = interrupted
    assert code == 130
    assert 'run the same command again to resume' in first
    assert 'Traceback' not in first


def test_second_run_reuses_what_is_done(interrupted):
    *_, second = interrupted
    for number in (1, 2, 3):
        assert re.search(rf'\[{number}/7\] .* done before', second)
    assert re.search(r'\[4/7\] .* done in', second)


def test_summary_has_the_promised_form(interrupted):
    work_dir = interrupted[0]
    summary = json.loads((work_dir / 'summary.json').read_text())
    assert set(summary) == {
        'constant', 'image_only', 'postometro', 'seconds', 'images'
    }
    for name in ('constant', 'image_only', 'postometro'):
        assert set(summary[name]) == METRICS
        assert all(0 < value < 5000 for value in summary[name].values())
    assert summary['images'] == 16
    spent = [
        read_json(str(work_dir / stage.name / 'spent.json'))['seconds']
        for stage in STAGES
    ]
    assert summary['seconds'] == pytest.approx(sum(spent), abs=3)


def test_report_shows_everything(interrupted):
    page = (interrupted[0] / 'report.html').read_text()
    for text in ('PostoMETRO', 'best constant', 'By occlusion',
                 'Training loss: classifier', 'Validation MPJPE',
                 'ground truth'):
        assert text in page, text
    assert 'http://' not in re.sub(r'http://www\.w3\.org/\S+', '', page)


def test_third_run_does_nothing(interrupted, repo_root):
    work_dir = interrupted[0]
    before = (work_dir / 'summary.json').read_bytes()
    output = _finish(_start(repo_root, work_dir))
    assert output.count('done before') == len(STAGES)
    assert (work_dir / 'summary.json').read_bytes() == before


def test_checkpoints_hold_no_geometry(interrupted):
    import torch

    from mpm_postometro.bodies import load_body
    sizes = set(load_body().levels.sizes[:2])
    start = QuickStart(str(interrupted[0]), smoke=True)
    for name in ('image_only', 'postometro'):
        state = torch.load(start.checkpoint(name), weights_only=False)
        shapes = [tuple(v.shape) for v in state['state_dict'].values()]
        assert shapes
        assert not [s for s in shapes if sizes & set(s)]


def test_another_setting_runs_anew(tmp_path):
    first = QuickStart(str(tmp_path), smoke=True)
    other = QuickStart(str(tmp_path), smoke=True, seed=1)
    stage = STAGES[1]
    for start in (first, other):
        start.signatures[stage.name] = start._signature(stage)
    folder = tmp_path / stage.name
    folder.mkdir()
    write_json(
        str(folder / 'done.json'),
        dict(signature=first.signatures[stage.name], seconds=1, result={}))
    assert first._done(stage)
    assert other._done(stage) is None


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


def test_json_is_written_whole(tmp_path):
    path = str(tmp_path / 'a.json')
    write_json(path, dict(a=1))
    with pytest.raises(TypeError):
        write_json(path, dict(a=object()))
    assert read_json(path) == dict(a=1)
    assert read_json(str(tmp_path / 'none.json')) is None
    assert os.path.exists(path)
