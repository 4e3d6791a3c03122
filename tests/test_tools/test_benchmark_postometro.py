# Copyright (c) The mpm_postometro authors. All rights reserved.
import copy
import os.path as osp
import runpy

import numpy as np
import pytest
import torch

from mpm_postometro.bodies import load_body
from mpm_postometro.evaluation.functional import pa_mpjpe
from mpm_postometro.models.layers import Dropout

TOOL = osp.join(
    osp.dirname(__file__),
    '../../tools/analysis_tools/benchmark_postometro.py')
SMALL = (
    '--sizes S --batch-sizes 1 2 --hidden-dims 32 16 --in-channels 8 '
    '--persons 20 --rounds 1 --threads 1 --freed-memory returned --device cpu'
).split()


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(osp.dirname(TOOL))
    threads = torch.get_num_threads()
    yield runpy.run_path(TOOL)
    torch.set_num_threads(threads)


@pytest.fixture(scope='module')
def body():
    return load_body()


def test_prints_every_task_and_method(tool, capsys, monkeypatch):
    main = tool['main']
    # Another process for each would take long; the next test looks at it.
    monkeypatch.setitem(main.__globals__, 'printed_by', lambda *_, **__: 12.)
    main(SMALL + ['--precisions', 'fp32', 'bf16'])
    lines = capsys.readouterr().out.splitlines()
    rows = [[cell.strip() for cell in line.split('|')[1:-1]] for line in lines
            if line.startswith('|')][2:]
    assert [tuple(row[:5]) for row in rows] == [
        ('S', task, count, precision, method)
        for task, counts, methods in (('inference', '12', tool['METHODS'][:2]),
                                      ('training step', '2', tool['METHODS']))
        for count in counts for precision in ('fp32', 'bf16')
        for method in methods
    ]
    for row in rows:
        assert float(row[5]) > 0 and float(row[9]) > 0
        assert (row[10] == '12') == (row[2] == '2' and row[3] == 'fp32')
    assert 'torch.mm fp32' in lines[-2] and 'linear bf16' in lines[-2]
    assert lines[-1].startswith('PA-MPJPE of 20 persons')


def test_prints_peak_memory_in_a_process_of_its_own(tool):
    args = tool['parse_args'](SMALL)
    found = tool['printed_by'](
        TOOL,
        args,
        '--memory-of',
        'ours, checkpointed',
        'training step',
        memory_of=None,
        compile=None)
    assert found >= 0


@pytest.mark.parametrize('method', ['ours', 'ours, checkpointed'])
def test_plain_training_step_is_the_same_step(tool, body, method, monkeypatch):
    """Without dropout, whose random numbers are drawn differently."""
    args = tool['parse_args'](SMALL)
    # Not Adam, which turns the noise of zero gradients into steps.
    monkeypatch.setitem(tool['make_work'].__globals__, 'optimizer_of',
                        lambda m: torch.optim.SGD(m.parameters(), 1e-4))
    results = []
    for name in ('plain', method):
        head = tool['build'](args, name, 'S', body)
        start = copy.deepcopy(head.state_dict())
        for module in head.modules():
            if isinstance(module, (torch.nn.Dropout, Dropout)):
                module.p = 0.
            elif hasattr(module, 'dropout') and isinstance(
                    module.dropout, float):
                module.dropout = 0.
        step = tool['make_work'](args, head, 'training step', 2, body)
        for _ in range(2):
            step()
        results.append(head.state_dict())
    assert results[0].keys() == results[1].keys()
    for key, value in results[0].items():
        torch.testing.assert_close(
            value, results[1][key], rtol=1e-4, atol=1e-5, msg=key)
    still = [k for k, v in results[0].items() if v.equal(start[k])]
    # These have no gradient: a normalisation follows, or the origin is moved.
    assert all(
        k.endswith('MLP_token.ff.3.bias') or k == 'coordinate_head.bias'
        for k in still), still


def test_check_sees_a_difference(tool, body, monkeypatch):
    args = tool['parse_args'](SMALL)
    for size in tool['LAYERS']:
        tool['check'](args, size, body)
    build = tool['build']

    def other(args, method, *rest):
        head = build(args, method, *rest)
        if method == 'plain':
            head.mask[20:30] = False
        return head

    monkeypatch.setitem(tool['check'].__globals__, 'build', other)
    with pytest.raises(AssertionError):
        tool['check'](args, 'M', body)


def test_one_by_one_is_the_same_measure(tool):
    rng = np.random.default_rng(0)
    pred, target = rng.normal(size=(2, 30, 14, 3))
    pred[:5, :, 2] *= -1  # mirrored, which no rotation undoes
    torch.testing.assert_close(
        tool['one_by_one'](pred, target),
        pa_mpjpe(torch.tensor(pred), torch.tensor(target)))
