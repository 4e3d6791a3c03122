# Copyright (c) The mpm_postometro authors. All rights reserved.
import os.path as osp
import runpy

import pytest
import torch

TOOL = osp.join(
    osp.dirname(__file__), '../../tools/analysis_tools/benchmark_tokenizer.py')
SMALL = (
    '--batch-size 3 --joints 5 --tokens 6 --codes 16 --token-dim 8 '
    '--rounds 1 --threads 1 --freed-memory returned --device cpu').split()


@pytest.fixture
def tool(monkeypatch):
    monkeypatch.syspath_prepend(osp.dirname(TOOL))
    threads = torch.get_num_threads()
    yield runpy.run_path(TOOL)
    torch.set_num_threads(threads)


def test_prints_both_methods_and_their_memory(tool, capsys):
    tool['main'](SMALL)
    lines = capsys.readouterr().out.splitlines()
    rows = [line.split('|') for line in lines if line.startswith('|')][2:]
    assert [(row[1].strip(), row[2].strip()) for row in rows] == [
        (task, name) for task in ('encode', 'decode', 'training step')
        for name in ('plain', 'ours')
    ]
    assert all(float(row[3]) > 0 and float(row[7]) > 0 for row in rows)
    assert 'peak memory' in lines[-1]


def test_plain_training_step_is_the_same_step(tool):
    """What is compared computes the same: losses, weights, codebook."""
    args = tool['parse_args'](SMALL)
    results = []
    for method in ('Plain', 'Ours'):
        tokenizer, joints, visible = tool['build'](args)
        # Not Adam, which turns the noise of zero gradients into steps.
        optimizer = torch.optim.SGD(tokenizer.train().parameters(), 1e-3)
        for _ in range(3):
            torch.manual_seed(0)  # which joints are dropped
            tool['train_step'](tool[method](tokenizer), optimizer, joints,
                               visible)
        results.append(tokenizer.state_dict())
    for key, value in results[0].items():
        torch.testing.assert_close(
            value, results[1][key], rtol=1e-4, atol=1e-5, msg=key)
    start = tool['build'](args)[0].state_dict()
    still = [k for k, v in results[0].items() if v.equal(start[k])]
    # These have no gradient: a normalisation follows.
    assert all(k.endswith('MLP_token.ff.3.bias') for k in still), still


def test_check_sees_a_difference(tool):
    tokenizer, joints, visible = tool['build'](tool['parse_args'](SMALL))
    tokenizer.eval()
    plain, ours = tool['Plain'](tokenizer), tool['Ours'](tokenizer)
    tool['check'](ours, plain, joints, visible)
    with pytest.raises(AssertionError):
        tool['check'](lambda j, v: ours(j.flip(0), v), plain, joints, visible)
