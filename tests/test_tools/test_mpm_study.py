# Copyright (c) The mpm_postometro authors. All rights reserved.
import importlib
import json

import numpy as np
import pytest
import torch
from mmengine.runner import Runner

TINY = ('--epochs', '2', '--pretrain-epochs', '1', '--ablation-epochs', '1',
        '--clip-step', '6', '--val-step', '12', '--test-step', '4')


@pytest.fixture(scope='module')
def modules(repo_root):
    """The tool, and what it measures."""
    with pytest.MonkeyPatch.context() as patch:
        folder = repo_root / 'tools' / 'analysis_tools'
        patch.syspath_prepend(folder)  # as for a tool that is started
        yield tuple(map(importlib.import_module, ('mpm_study', 'mpm_methods')))


@pytest.fixture
def tool(modules, tmp_path, monkeypatch):
    """With motion capture of a few frames."""
    joints = np.random.default_rng(0).normal(0, .3, (70, 17, 3))
    for split in ('train', 'val', 'test'):
        np.savez(
            tmp_path / f'cmu_mocap_{split}.npz',
            joints_3d=joints.cumsum(0).astype(np.float32) / 20,
            clip_start=[0],
            clip_length=[70],
            clip_name=['01_01'],
            clip_subject=['01'],
            clip_action=['walk'])
    monkeypatch.setenv('MPM_POSTOMETRO_MOCAP', str(tmp_path))
    monkeypatch.setattr(modules[0], 'HOLES', (5, ))
    monkeypatch.setattr(modules[1], 'RIDGES', (1e-3, ))
    monkeypatch.setattr(modules[0], 'FRAME_RATIOS', (0.3, ))
    monkeypatch.setattr(modules[0], 'NUM_JOINTS', (0, 2))
    return modules[0]


@pytest.fixture
def trained(monkeypatch):
    """Names of the runs that are trained, in order."""
    names = []
    train = Runner.train
    monkeypatch.setattr(
        Runner, 'train',
        lambda self: names.append(self.work_dir.split('/')[-1]) or train(self))
    return names


def cells(text):
    """Rows of Markdown tables, without their headers."""
    lines = [[cell.strip() for cell in line.strip('|').split('|')]
             for line in text.splitlines() if line.startswith('|')]
    return [
        row for row, below in zip(lines, lines[1:] + [['']])
        if row[0] != '---' and below[0] != '---'
    ]


def test_comparison_is_run_and_measured_once(tool, tmp_path, trained,
                                             monkeypatch, capsys):
    monkeypatch.setattr(tool, 'KINDS', ('noisy', ))
    command = ['comparison', '--work-dir', str(tmp_path), *TINY]
    tool.main(command)
    assert trained == [
        'pretrain_seed0', 'tcn_noisy_seed0', 'scratch_noisy_seed0',
        'finetuned_noisy_seed0', 'longer_noisy_seed0'
    ]
    rows = cells((tmp_path / 'comparison' / 'table.md').read_text())
    assert [row[1] for row in rows] == list(tool.COMPARED.values())
    assert all(float(row[5]) > 0 for row in rows)
    assert (tmp_path / 'comparison' / 'comparison.png').stat().st_size > 5000
    assert 'noisy: linear map of the ' in capsys.readouterr().out

    def never(*args, **kwargs):
        raise AssertionError('measured again')

    monkeypatch.setattr(tool, 'measure', never)
    tool.main(command)
    assert len(trained) == 5
    with pytest.raises(AssertionError, match='measured again'):
        tool.main([*command, '--test-step', '5'])


def test_completion_tells_limbs_and_holes(tool, tmp_path, trained):
    tool.main(['completion', '--work-dir', str(tmp_path), *TINY])
    rows = cells((tmp_path / 'completion' / 'table.md').read_text())
    assert len(rows) == 5 + 4 + 2
    # 3 of 17 joints are hidden, and the others count as right.
    for cell in rows[0][1:]:
        hidden, everything = map(float, cell.strip(')').split(' ('))
        assert everything == pytest.approx(hidden * 3 / 17, abs=.1)
    limbs = [float(cell.split()[0]) for cell in rows[-7][1:]]
    assert len(set(limbs)) == 4
    assert (tmp_path / 'completion' / 'completion.png').is_file()


def test_interrupted_run_goes_on(tool, tmp_path, trained, monkeypatch):
    args = tool.parse_args(['masking', *TINY, '--ablation-epochs', '2'])
    run = tool.plan_masking(args)[0]

    def weights(folder):
        result = tool.Study(folder, [run]).run()[0]
        state = torch.load(
            f"{folder}/{run.name}/{result['checkpoint']}", weights_only=False)
        return result, state['state_dict']

    whole, expected = weights(str(tmp_path / 'whole'))
    record = importlib.import_module('study')._Record
    train_step = record.after_train_iter

    epochs = []

    def watch(self, runner, *args, **kwargs):
        train_step(self, runner, *args, **kwargs)
        epochs.append(runner.epoch)

    def stop(self, runner, *args, **kwargs):
        train_step(self, runner, *args, **kwargs)
        if runner.epoch == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(record, 'after_train_iter', stop)
        with pytest.raises(KeyboardInterrupt):
            weights(str(tmp_path / 'parts'))
    monkeypatch.setattr(record, 'after_train_iter', watch)
    result, found = weights(str(tmp_path / 'parts'))
    assert set(epochs) == {1}
    assert trained == 3 * [run.name]
    assert result['steps'] == whole['steps']
    assert len(result['history']) == 1
    assert result['history'][0] == pytest.approx(whole['history'][0])
    for key, value in expected.items():
        torch.testing.assert_close(found[key], value, msg=key)


def test_masks_noise_and_networks_reach_the_runs(tool):
    args = tool.parse_args(['masking', '--seeds', '3', *TINY])
    runs = tool.plan_masking(args)
    study = tool.Study('none', runs)
    assert len(study.runs) == len(runs) == 1 + 2 * 2
    masks = []
    for run in runs[1::2]:
        cfg = study.config(run)
        assert cfg.randomness.seed == 3
        masks.append([(step.frame_ratio, step.num_joints)
                      for split in ('train', 'val')
                      for step in cfg[f'{split}_dataloader'].dataset.pipeline
                      if step.type == 'RandomSpatioTemporalMask'])
    assert masks == [2 * [(0.3, 0)], 2 * [(0.3, 2)]]
    assert [run.needs for run in runs[2::2]] == [{
        tool.START: run.name
    } for run in runs[1::2]]

    runs = tool.plan_comparison(args)
    study = tool.Study('none', runs)
    for run in runs[1:]:
        noise = [
            step['type']
            for split in ('train', 'val', 'test') for step in study.config(
                run, test=True)[f'{split}_dataloader'].dataset.pipeline[:1]
        ] == 3 * ['DetectionNoise']
        assert noise == (run.labels['kind'] == 'noisy')
    for run in tool.plan_occluded(args):
        init = tool.Study('none',
                          [run]).config(run).model.backbone.get('init_cfg')
        assert (init is None) == (not run.needs)


def test_masking_table(tool, tmp_path):
    results = [
        dict(row='scratch', history=[{
            'pose3d/mpjpe': 90.
        }]), *(dict(
            row='finetuned',
            ratio=.3,
            joints=joints,
            history=[{
                'pose3d/mpjpe': 80. + joints
            }]) for joints in (0, 2))
    ]
    text = tool.report_masking(None, None, results, str(tmp_path / 'x.png'))
    assert cells(text) == [['0.3', '80.0', '82.0']]
    assert text.endswith('From scratch: 90.0')
    assert (tmp_path / 'x.png').is_file()


# --------------------------------- methods ----------------------------------
class Clips(torch.utils.data.Dataset):
    """3D poses that are a linear function of the first and the last frame."""

    def __init__(self, seed, num=400):
        rng = torch.Generator().manual_seed(seed)
        self.x = torch.randn(num, 3, 17, 2, generator=rng)
        weights = torch.randn(
            68, 51, generator=torch.Generator().manual_seed(9))
        y = self.x[:, [0, 2]].flatten(1) @ weights / 8 + 1
        self.y = (y.unflatten(1, (17, 3)) - y[:, None, :3])[:, None]
        self.epochs = []

    def set_epoch(self, epoch):
        self.epochs.append(epoch)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, index):
        from mmpose.structures import PoseDataSample
        sample = PoseDataSample(metainfo=dict(target_index=1))
        poses = self.y[index].expand(3, -1, -1)
        return dict(
            inputs=dict(keypoints_2d=self.x[index], keypoints_3d=poses),
            data_samples=sample)


def test_linear_map_is_found(modules):
    methods = modules[1]
    train = Clips(0)
    maps = methods.LinearMaps(train, Clips(1, 50), '2d', epochs=2)
    assert train.epochs == [0, 1]
    torch.testing.assert_close(maps.mean_pose(), train.y.mean((0, 1)))
    fit = maps.fit()
    assert (fit.inputs, fit.ridge) == ('clip', methods.RIDGES[0])
    assert fit.error < 1e-4
    test = Clips(2, 5)
    batch = next(methods.batches(test))
    torch.testing.assert_close(
        fit.method(batch), test.y[:, 0], atol=1e-4, rtol=0)
    # Without joint 16 it cannot be exact, and does not look at it.
    fit = maps.fit(range(16))
    assert fit.error > .01
    before = fit.method(batch)
    batch['inputs']['keypoints_2d'][:, :, 16] = 9
    assert fit.method(batch).equal(before)


@pytest.fixture
def batch():
    """Two clips of seven frames that move evenly; the left arm is hidden."""
    from mmpose.structures import PoseDataSample
    rng = torch.Generator().manual_seed(0)
    start, speed = torch.randn(2, 2, 1, 17, 5, generator=rng)
    poses = start + speed * torch.arange(7.)[None, :, None, None]
    hidden = torch.zeros(2, 7, 17, dtype=torch.bool)
    hidden[:, :, 11:14] = True
    samples = [PoseDataSample(metainfo=dict(target_index=3))] * 2
    return dict(
        inputs=dict(
            keypoints_2d=poses[..., :2],
            keypoints_3d=poses[..., 2:],
            joint_mask_2d=hidden.clone(),
            joint_mask_3d=hidden.clone(),
            frame_mask_2d=torch.zeros(2, 7, dtype=torch.bool),
            frame_mask_3d=torch.zeros(2, 7, dtype=torch.bool)),
        data_samples=samples)


def test_limb_hangs_on_what_is_seen(modules, batch):
    pose = torch.randn(17, 3)
    truth = batch['inputs']['keypoints_3d'][:, 3].clone()
    found = modules[1].hung(pose)(batch)
    seen = [*range(11), *range(14, 17)]
    assert found[:, seen].equal(truth[:, seen])
    torch.testing.assert_close(found[:, 11:14],
                               truth[:, 8:9] + pose[11:14] - pose[8])
    assert batch['inputs']['keypoints_3d'][:, 3].equal(truth)


@pytest.mark.parametrize('joints', [True, False])
def test_hole_is_interpolated(modules, batch, joints):
    methods = modules[1]
    truth = batch['inputs']['keypoints_3d'][:, 3].clone()
    methods.hole(3, joints)(batch)
    inputs = batch['inputs']
    middle = [False, False, True, True, True, False, False]
    assert inputs['joint_mask_3d'][0, :, 12].tolist() == (
        middle if joints else 7 * [False])
    assert inputs['frame_mask_3d'][0].tolist() == (7 * [False]
                                                   if joints else middle)
    inputs['keypoints_3d'][:, 2:5, 11:14] = 99  # must not be read
    if not joints:
        inputs['keypoints_3d'][:, 2:5] = 99
    inputs['keypoints_3d'][:, [0, -1]] = 99  # nearer frames are there
    torch.testing.assert_close(methods.interpolated(batch), truth)


def test_hidden_joints_are_put_at_the_body(modules, batch):
    seen = []
    modules[1].filled(lambda x: seen.append(x['inputs']))(batch)
    given, inputs = batch['inputs'], seen[0]
    assert not inputs['joint_mask_2d'].any()
    neck = given['keypoints_2d'][:, :, 8:9].expand(-1, -1, 3, -1)
    assert inputs['keypoints_2d'][:, :, 11:14].equal(neck)
    assert inputs['keypoints_2d'][:, :, 14:].equal(given['keypoints_2d'][:, :,
                                                                         14:])
    assert given['joint_mask_2d'].any()
    assert not given['keypoints_2d'][:, :, 11:14].equal(neck)


def test_results_are_kept_as_numbers(tool, tmp_path):
    args = tool.parse_args(['masking', '--work-dir', str(tmp_path), *TINY])
    study = tool.Study(str(tmp_path / 'runs'), tool.plan_completion(args))
    test = tool.Test(args, study)
    run = study.runs['completion_scratch_seed0']
    data = test.dataset(run, ['left_leg'])
    zero = tool.constant(torch.zeros(17, 3))
    found = test('zero', data, lambda: zero, '3d', inner=True)
    # A clip reaches 13 steps of two frames to either side; four cameras.
    assert found['frames'] == 4 * len([28, 32, 36, 40])
    kept = json.loads((tmp_path / 'measured' / 'zero.json').read_text())
    assert kept['metrics'] == found
