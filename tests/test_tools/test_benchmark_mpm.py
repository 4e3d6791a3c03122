# Copyright (c) The mpm_postometro authors. All rights reserved.
import copy
import os.path as osp
import runpy

import pytest
import torch

TOOL = osp.join(
    osp.dirname(__file__), '../../tools/analysis_tools/benchmark_mpm.py')
SMALL = ('--batch-sizes 1 3 --frames 9 --joints 6 --channels 8 --layers 1 '
         '--rounds 1 --threads 1 --freed-memory returned --device cpu '
         '--workers 0 1 --loaded-clips 20').split()


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(osp.dirname(TOOL))
    threads = torch.get_num_threads()
    yield runpy.run_path(TOOL)
    torch.set_num_threads(threads)


def test_prints_every_task_and_method(tool, capsys, monkeypatch):
    main = tool['main']
    # Another process for each would take long; the next test looks at it.
    monkeypatch.setitem(main.__globals__, 'printed_by', lambda *_, **__: 12.)
    main(SMALL)
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split('|') for line in lines if line.startswith('|')]
    rows, loaders = rows[2:-6], rows[-4:]
    found = [tuple(cell.strip() for cell in row[1:4]) for row in rows]
    assert found == [(task, size, method) for task in tool['TASKS']
                     for size in '13' for method in ('plain', 'ours')
                     if (task, size) != ('lifting training step', '1')]
    assert all(float(row[4]) > 0 and float(row[8]) > 0 for row in rows)
    assert [(row[1].strip(), int(row[2])) for row in loaders] == [
        (name, workers) for name in tool['LOADERS'] for workers in (0, 1)
    ]
    assert all(float(row[3]) > 0 for row in loaders)


def test_prints_peak_memory_in_a_process_of_its_own(tool):
    args = tool['parse_args'](SMALL)
    found = tool['printed_by'](
        TOOL,
        args,
        '--memory-of',
        'ours',
        'lifting',
        batch_sizes=3,
        memory_of=None)
    assert found >= 0


@pytest.mark.parametrize('task',
                         ['pre-training step', 'lifting training step'])
def test_plain_training_step_is_the_same_step(tool, task, monkeypatch):
    """Without dropout and, since hidden frames count in the published
    statistics of BatchNorm and not in ours, with all frames visible."""
    args = tool['parse_args'](SMALL)
    args.attention_dropout = 0.
    # Not Adam, which turns the noise of zero gradients into steps.
    monkeypatch.setitem(tool['make_work'].__globals__, 'optimizer_of',
                        lambda m: torch.optim.SGD(m.parameters(), 1e-2))
    task = tool['TASKS'][task]
    data = tool['make_batch'](args, 3, task['pretraining'], True)
    for key, value in data['inputs'].items():
        if key.startswith('frame_mask'):
            value[:] = False
    results = []
    for method in ('Plain', 'Ours'):
        model = tool['build'](args, task['pretraining'])
        start = copy.deepcopy(model.state_dict())
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.
        step = tool['make_work'](tool[method](model), task, data)
        for _ in range(2):
            step()
        results.append(model.state_dict())
    for key, value in results[0].items():
        torch.testing.assert_close(
            value, results[1][key], rtol=1e-4, atol=1e-5, msg=key)
    still = [k for k, v in results[0].items() if v.equal(start[k])]
    # No gradient: what BatchNorm follows, and the token of hidden frames.
    assert all(k == 'backbone.frame_token' or k.endswith('.bias')
               for k in still), still


def test_check_sees_a_difference(tool, monkeypatch):
    args = tool['parse_args'](SMALL)
    for pretraining in (True, False):
        tool['check'](args, pretraining)
    monkeypatch.setattr(tool['Plain'], 'norm', lambda self, norm, x: x)
    for pretraining in (True, False):
        with pytest.raises(AssertionError):
            tool['check'](args, pretraining)
