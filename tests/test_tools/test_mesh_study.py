# Copyright (c) The mpm_postometro authors. All rights reserved.
import importlib.util
import json

import numpy as np
import pytest
import torch

TINY = ('--seeds', '0', '--tokens', 'pose', 'both, wide branch', '--images',
        '32', '--val-images', '4', '--test-images', '12')


@pytest.fixture(scope='module')
def tool(repo_root):
    path = repo_root / 'tools' / 'analysis_tools' / 'mesh_study.py'
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(path.parent)  # as for a tool that is started
        spec = importlib.util.spec_from_file_location('mesh_study', path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        yield module


def row(text, begin):
    line, = [x for x in text.splitlines() if x.startswith(f'| {begin} |')]
    return [cell.strip() for cell in line.strip('|').split('|')]


def test_gain_and_its_slope(tool):
    rng = np.random.RandomState(0)
    occlusion = rng.uniform(0, 1, 500)
    better = np.stack([rng.normal(80, 10, 500) for _ in range(3)])
    worse = better + 4 + 20 * occlusion + rng.normal(0, 1, 500)
    mean, error = tool.gain(worse, better)
    assert mean == pytest.approx(4 + 20 * occlusion.mean(), abs=3 * error)
    grows, error = tool.slope(occlusion, worse, better)
    assert grows == pytest.approx(2, abs=3 * error)  # for each tenth
    # the standard error that is stated is the spread of repeated estimates
    again = [
        tool.slope(occlusion, better + rng.normal(0, 1, 500), better)
        for _ in range(200)
    ]
    assert np.std([g for g, _ in again]) == pytest.approx(
        np.mean([e for _, e in again]), rel=.15)


def test_halves_and_bins_hold_each_person_once(tool):
    occlusion = np.array([0., 0., .04, .05, .2, .3, .99, 1.])
    halves = tool.halves(occlusion)
    assert halves['clean'].tolist() == [True] * 4 + [False] * 4
    assert (halves['clean'] ^ halves['occluded']).all()
    inside = dict(tool.bins(occlusion))
    assert sum(inside.values()).tolist() == [1] * 8
    assert list(inside) == ['0.00-0.05', '0.05-0.20', '0.20-0.35', '0.50-1.00']


def test_report(tool, tmp_path):
    occlusion = np.linspace(0, .9, 40)
    results = []
    for tokens, error in (('image', 100), ('pose', 90), ('both', 80)):
        for seed in (0, 1):
            name = f'{tokens}_seed{seed}'
            (tmp_path / name).mkdir()
            errors = error + 2 * seed + (40 * occlusion if tokens == 'image'
                                         else 0 * occlusion)
            np.savez(
                tmp_path / name / 'people.npz',
                occlusion=occlusion,
                **{key: errors
                   for key in tool.METRICS})
            results.append(
                dict(network='mesh', tokens=tokens, seed=seed, name=name))
    tokens = np.arange(40) % 20 / 2  # 2D errors of the pose tokens
    text = tool.report(str(tmp_path), results, tokens)
    both = row(text, 'both')
    assert both[1] == '81.0 (80.0 to 82.0)'
    all_ = text.split('MPJPE (mm):')[1]
    cells = row(all_.split('PA-MPJPE')[0], 'all')
    assert cells[1:3] == ['40', '4.8'] and cells[6].startswith('38.0 (')
    assert cells[7] == '10.0 (0.0)'
    quarters = text.split('by their tokens (mm):')[1].strip().splitlines()[2:]
    assert [q.split('|')[1].strip()
            for q in quarters] == ['1.0', '3.5', '6.0', '8.5']
    assert all(q.split('|')[3].strip() == '10' for q in quarters)
    assert 'The gain of both over image grows by 4.00 mm (0.00)' in text
    assert (tmp_path / 'mesh_study.png').stat().st_size > 5000


def test_the_whole_is_run_once(tool, tmp_path, capsys):
    command = [
        '--work-dir',
        str(tmp_path / 'study'), '--cache-dir',
        str(tmp_path / 'cache'), *TINY
    ]
    tool.main(command)
    folder = tmp_path / 'study'
    with np.load(folder / 'both-wide-branch_seed0' / 'people.npz') as file:
        assert len(file['mpjpe']) == 12
    results = json.loads((folder / 'classifier' / 'result.json').read_text())
    with np.load(folder / 'classifier' / 'people.npz') as file:
        assert file['error'].shape == (12, )
        # people have as many labelled joints, more or less
        assert file['error'].mean() == pytest.approx(
            results['test']['keypoint/epe'], rel=.1)
    results = json.loads((folder / 'results.json').read_text())
    assert [r['network'] for r in results] == [
        'heatmap', 'tokenizer', 'classifier', 'heatmap_wide',
        'classifier_wide', 'mesh', 'mesh'
    ]
    # the branch is the classifier that was trained
    states = [
        torch.load(
            folder / name / 'epoch_{}.pth'.format(epoch),
            weights_only=False)['state_dict']
        for name, epoch in (('classifier', 3), ('pose_seed0', 2),
                            ('classifier_wide', 3), ('both-wide-branch_seed0',
                                                     2))
    ]
    for trained, mesh in zip(states[::2], states[1::2]):
        for key, value in trained.items():
            assert torch.equal(mesh[f'pose_branch.{key}'], value), key
    assert not any(k.startswith('backbone.') for k in states[1])
    assert any(k.startswith('backbone.') for k in states[3])
    capsys.readouterr()
    tool.main(command)
    assert 'starts' not in capsys.readouterr().out
