# Copyright (c) The mpm_postometro authors. All rights reserved.
import math
import os

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from mmengine.evaluator import Evaluator
from mmengine.logging import MMLogger
from mmengine.structures import InstanceData
from mmpose.registry import METRICS
from mmpose.structures import PoseDataSample
from two_ranks import in_group_of_two

from mpm_postometro.evaluation import PoseSequenceMetric

J = 17
ALL = ('mpjpe', 'pa_mpjpe', 'n_mpjpe', 'mpjve', 'pck_150', 'auc')


def make_sample(index,
                pred,
                true,
                action='Walking',
                sequence='S9/Walking/0',
                frame=None,
                hidden=None,
                visible=1,
                numpy=False,
                **meta):
    """One clip of 3 frames, as the estimator returns it."""
    frame = index if frame is None else frame
    pred = torch.as_tensor(pred, dtype=torch.float32)[None]
    sample = PoseDataSample(
        metainfo=dict(
            id=index,
            action=action,
            sequence=sequence,
            frame_indices=np.arange(frame - 1, frame + 2),
            target_index=1,
            **meta))
    sample.gt_instances = InstanceData(
        keypoints_3d=np.array(true, np.float32)[None],
        keypoints_3d_visible=np.full((1, J), visible, np.float32))
    sample.pred_instances = InstanceData(
        keypoints_3d=pred.numpy() if numpy else pred)
    if hidden is not None:
        mask = torch.zeros(1, J, dtype=torch.bool)
        mask[0, hidden] = True
        sample.pred_instances.keypoints_hidden = (
            mask.numpy() if numpy else mask)
    return sample


def make_samples(numpy=False, noise=0.05):
    """Two actions, 5 and 2 frames long; the second is worse."""
    rng = np.random.default_rng(0)
    samples = []
    for i in range(7):
        action = 'Walking' if i < 5 else 'Eating'
        true = rng.normal(0, .4, (J, 3))
        pred = true + rng.normal(0, noise * (1 + (i >= 5)), (J, 3))
        samples.append(
            make_sample(
                i,
                pred,
                true,
                action,
                f'S9/{action}/0',
                hidden=[4, 5, 6][:1 + i % 3],
                subject='S9',
                numpy=numpy))
    return samples


def run(samples, size=None, batch=3, **kwargs):
    evaluator = Evaluator(
        [METRICS.build(dict(type='PoseSequenceMetric', **kwargs))])
    for start in range(0, len(samples), batch):
        evaluator.process(samples[start:start + batch])
    metrics = evaluator.evaluate(size or len(samples))
    assert all(key.startswith('pose3d/') for key in metrics)
    return {key[len('pose3d/'):]: value for key, value in metrics.items()}


def by_hand(samples):
    """The errors of each frame, in numpy, one at a time."""
    rows = []
    for sample in samples:
        p = np.asarray(sample.pred_instances.keypoints_3d[0], np.float64)
        t = np.asarray(sample.gt_instances.keypoints_3d[0], np.float64)
        hidden = np.asarray(sample.pred_instances.keypoints_hidden[0])
        distance = np.linalg.norm(p - t, axis=-1)
        # Umeyama, written out
        pc, tc = p - p.mean(0), t - t.mean(0)
        u, s, vh = np.linalg.svd(tc.T @ pc)
        d = np.array([1, 1, np.linalg.det(u @ vh)])
        aligned = (s * d).sum() / (pc**2).sum() * pc @ ((u * d) @ vh).T
        scale = (p * t).sum() / (p * p).sum()
        thresholds = np.linspace(0, .15, 31)
        rows.append(
            dict(
                mpjpe=1000 * distance.mean(),
                pa_mpjpe=1000 * np.linalg.norm(aligned - tc, axis=-1).mean(),
                n_mpjpe=1000 * np.linalg.norm(scale * p - t, axis=-1).mean(),
                pck_150=100 * (distance < .15).mean(),
                auc=100 * (distance[:, None] < thresholds).mean(),
                mpjpe_hidden=1000 * distance[hidden].mean(),
                offset=p - t))
    return {key: np.array([row[key] for row in rows]) for key in rows[0]}


@pytest.mark.parametrize('numpy', [False, True])
def test_values(numpy):
    samples = make_samples(numpy)
    expected = by_hand(samples)
    offset = expected.pop('offset')
    metrics = run(samples)
    for key, values in expected.items():
        walking, eating = values[:5].mean(), values[5:].mean()
        assert metrics[key] == pytest.approx(values.mean(), rel=1e-6)
        assert metrics[f'{key}_Walking'] == pytest.approx(walking, rel=1e-6)
        assert metrics[f'{key}_Eating'] == pytest.approx(eating, rel=1e-6)
        assert metrics[f'{key}_action_mean'] == pytest.approx(
            (walking + eating) / 2, rel=1e-6)
    assert abs(metrics['mpjpe_action_mean'] / metrics['mpjpe'] - 1) > .05
    motion = 1000 * np.linalg.norm(np.diff(offset, axis=0), axis=-1).mean(1)
    walking, eating = motion[:4].mean(), motion[5]  # 4 is between the two
    assert metrics['mpjve'] == pytest.approx(
        np.delete(motion, 4).mean(), rel=1e-5)
    assert metrics['mpjve_action_mean'] == pytest.approx(
        (walking + eating) / 2, rel=1e-5)
    assert metrics['frames'] == 7
    # nothing else is reported
    names = {*ALL, 'mpjpe_hidden'}
    assert set(metrics) == names | {'frames'} | {
        f'{name}_{which}'
        for name in names
        for which in ('Walking', 'Eating', 'action_mean')
    }


def test_perfect_prediction():
    metrics = run(make_samples(noise=0.))
    for key in ('mpjpe', 'pa_mpjpe', 'n_mpjpe', 'mpjve', 'mpjpe_hidden'):
        assert metrics[key] < 1e-3
    assert metrics['pck_150'] == 100
    assert metrics['auc'] == pytest.approx(100 * 30 / 31, abs=.01)


def test_known_errors():
    """160 mm off at one joint of 17; twice too big; turned."""
    true = np.random.default_rng(0).normal(0, .4, (J, 3))
    true[0] = 0
    off = true.copy()
    off[3, 1] += .16
    metrics = run([make_sample(0, off, true)])
    assert metrics['mpjpe'] == pytest.approx(160 / J, rel=1e-5)
    assert metrics['pck_150'] == pytest.approx(100 * 16 / J)
    metrics = run([make_sample(0, 2 * true, true)])
    assert metrics['mpjpe'] > 100 and metrics['n_mpjpe'] < 1e-3
    turned = true[:, [1, 2, 0]]
    metrics = run([make_sample(0, turned, true)])
    assert metrics['n_mpjpe'] > 100 and metrics['pa_mpjpe'] < 1e-3
    # the threshold itself is outside
    edge = true.copy()
    edge[:, 2] = true[:, 2].astype(np.float32) + np.float32(.15)
    true[:, 2] = edge[:, 2] - np.float32(.15)
    edge[:], true[:] = 0, 0
    edge[:, 2] = .15
    near = run([make_sample(0, edge - 1e-6, true)])
    assert near['pck_150'] == 100
    assert run([make_sample(0, edge + 1e-6, true)])['pck_150'] == 0


def constant_motion(frames, speed=.01, **kwargs):
    """Predictions that slip away by ``speed`` metres from frame to frame."""
    rng = np.random.default_rng(0)
    samples = []
    for i, frame in enumerate(frames):
        true = rng.normal(0, .4, (J, 3))
        pred = true + np.array([speed * frame, .3, 0])
        samples.append(make_sample(i, pred, true, frame=frame, **kwargs))
    return samples


def test_velocity():
    samples = constant_motion(range(6))
    metrics = run(samples)
    assert metrics['mpjve'] == pytest.approx(10, rel=1e-4)
    assert metrics['mpjve_Walking'] == pytest.approx(10, rel=1e-4)
    shuffled = [samples[i] for i in (3, 0, 5, 1, 4, 2)]
    assert run(shuffled) == metrics
    # repeated frames, as samplers repeat them, follow nothing
    assert run(
        samples + samples[2:4], size=8)['mpjve'] == pytest.approx(
            10, rel=1e-4)


def test_velocity_over_no_gap(tmp_path):
    """Not over frames left out, nor from one sequence to the next."""
    path = tmp_path / 'frames.npz'
    first = constant_motion([0, 5, 10, 20, 25])
    second = constant_motion([30, 90], sequence='S9/Walking/1')
    other = constant_motion([92, 94],
                            sequence='S9/Walking/1',
                            dataset_name='Other')
    metrics = run(first + second + other, dump=str(path))
    with np.load(path) as file:
        follows = ~np.isnan(file['mpjve'])
        np.testing.assert_allclose(
            file['mpjve'][follows], [50, 50, 50, 20], rtol=1e-4)
    assert follows.tolist() == [
        False, True, True, False, True, False, False, False, True
    ]
    assert metrics['mpjve'] == pytest.approx(170 / 4, rel=1e-4)
    assert math.isnan(run(second[:1])['mpjve'])
    # a frame without 3D leaves a gap
    gap = constant_motion(range(4))
    gap[1].gt_instances.keypoints_3d_visible[:] = 0
    assert run(gap, dump=str(path))['mpjve'] == pytest.approx(10, rel=1e-4)
    with np.load(path) as file:
        assert np.isnan(file['mpjve']).tolist() == [True, True, True, False]
    gap = constant_motion(range(3))
    gap[1].gt_instances.keypoints_3d_visible[:] = 0
    gap += constant_motion([7, 8], speed=.02, sequence='S9/Walking/1')
    assert run(gap)['mpjve'] == pytest.approx(20, rel=1e-4)


def test_hidden_joints():
    true = np.zeros((J, 3))
    pred = true.copy()
    pred[4:7, 0] = .17  # a leg
    pred[1, 0] = .34
    samples = [
        make_sample(0, pred, true, hidden=[4, 5, 6], mask_name='left_leg'),
        make_sample(1, pred, true, hidden=[1], mask_name='right_hip'),
        make_sample(2, pred, true, hidden=[], mask_name='')
    ]
    metrics = run(samples, group_by='mask_name')
    # over the joints of a frame, then over frames that hide some
    assert metrics['mpjpe_hidden'] == pytest.approx((170 + 340) / 2)
    assert metrics['mpjpe'] == pytest.approx((3 * 170 + 340) / 17)
    assert metrics['mpjpe_hidden_left_leg'] == pytest.approx(170)
    assert metrics['mpjpe_hidden_right_hip'] == pytest.approx(340)
    assert metrics['mpjpe_hidden_mask_name_mean'] == pytest.approx(255)
    assert not any('_hidden' in key for key in run(samples[2:]))
    assert not any('_hidden' in key
                   for key in run(samples, metrics=['pa_mpjpe']))


def test_groups():
    samples = make_samples()
    assert set(run(samples, group_by=None,
                   metrics=['mpjpe'])) == {'mpjpe', 'mpjpe_hidden', 'frames'}
    metrics = run(samples, group_by='subject', metrics=['mpjpe'])
    assert metrics['mpjpe_S9'] == metrics['mpjpe_subject_mean'] == metrics[
        'mpjpe']


def test_missing_labels_are_left_out(tmp_path):
    expected = by_hand(make_samples())
    samples = make_samples()
    labels = samples[5].gt_instances
    labels.keypoints_3d_visible[:] = 0
    labels.keypoints_3d[:] = float('nan')
    samples[2].gt_instances.keypoints_3d_visible[0, 7] = 0
    samples[2].gt_instances.keypoints_3d[0, 7] = float('nan')
    metrics = run(samples, dump=str(tmp_path / 'frames.npz'))
    assert metrics['frames'] == 6
    assert metrics['mpjpe_Eating'] == pytest.approx(
        expected['mpjpe'][6], rel=1e-6)
    joints = np.linalg.norm(expected['offset'][2], axis=-1)
    with np.load(tmp_path / 'frames.npz') as file:
        assert np.isnan(file['mpjpe']).tolist() == [i == 5 for i in range(7)]
        assert file['mpjpe'][2] == pytest.approx(
            1000 * np.delete(joints, 7).mean(), rel=1e-5)
    assert all(map(math.isfinite, metrics.values()))
    metrics = run(samples[5:6])
    assert metrics['frames'] == 0 and math.isnan(metrics['mpjpe'])


def test_broken_prediction_is_seen():
    samples = make_samples()
    samples[2].pred_instances.keypoints_3d[0, 8, 0] = float('nan')
    metrics = run(samples)
    for key in ('mpjpe', 'pa_mpjpe', 'n_mpjpe', 'mpjve'):
        assert math.isnan(metrics[key])
        assert math.isfinite(metrics[f'{key}_Eating'])
    assert metrics['frames'] == 7


def test_dump(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(MMLogger.get_current_instance(), 'info', said.append)
    samples = make_samples()
    expected = by_hand(samples)
    path = tmp_path / 'new' / 'frames.npz'
    run(samples, dump=str(path))
    assert said == [f'PoseSequenceMetric: wrote 7 frames to {path}']
    with np.load(path, allow_pickle=False) as file:
        for key in ('mpjpe', 'pa_mpjpe', 'auc', 'mpjpe_hidden'):
            np.testing.assert_allclose(file[key], expected[key], rtol=1e-6)
        assert file['group'].tolist() == ['Walking'] * 5 + ['Eating'] * 2
        assert file['sequence'][6] == 'S9/Eating/0'
        assert file['frame'].tolist() == file['id'].tolist() == list(range(7))
    assert os.listdir(path.parent) == ['frames.npz']


@in_group_of_two
def _rank(rank, folder, splits):
    for name, split in splits.items():
        metric = PoseSequenceMetric(collect_dir=f'{folder}/{name}')
        samples = make_samples()
        metric.process(None, [samples[i].to_dict() for i in split[rank]])
        torch.save(metric.evaluate(len(samples)), f'{folder}/{name}_{rank}.pt')


def test_two_processes_give_what_one_gives(tmp_path):
    splits = dict(
        # more on the first rank, more on the second, and as MMEngine pads
        # 7 to 8 by showing the first clip again
        first=([0, 2, 4, 6], [1, 3, 5]),
        second=([5, 1], [6, 2, 4, 0, 3]),
        padded=([0, 2, 4, 6], [1, 3, 5, 0]))
    mp.spawn(_rank, (str(tmp_path), splits), nprocs=2)
    expected = run(make_samples(), batch=7)
    assert expected['frames'] == 7
    for name in splits:
        for rank in range(2):
            metrics = torch.load(tmp_path / f'{name}_{rank}.pt')
            assert metrics == {
                f'pose3d/{key}': pytest.approx(value, rel=1e-6)
                for key, value in expected.items()
            }, name


@pytest.mark.parametrize('wrong, message', [
    (dict(metrics=['mpjpe', 'mpvpe']), 'mpvpe'),
    (dict(metrics='mpjpe'), "'mpjpe'"),
    (dict(metrics=[]), r'\[\]'),
    (dict(dump='frames.txt'), 'frames.txt'),
])
def test_wrong_arguments(wrong, message):
    with pytest.raises(ValueError, match=message):
        METRICS.build(dict(type='PoseSequenceMetric', **wrong))


def test_errors_name_the_field():
    pose = np.zeros((J, 3))
    metric = PoseSequenceMetric()
    sample = make_sample(3, pose, pose)
    del sample.gt_instances.keypoints_3d_visible
    with pytest.raises(KeyError, match='keypoints_3d_visible.*sample 3'):
        metric.process(None, [sample.to_dict()])
    sample = make_sample(3, pose[:16], pose)
    with pytest.raises(ValueError, match=r'sample 3.*\(1, 16, 3\)'):
        metric.process(None, [sample.to_dict()])
    samples = [make_sample(0, pose, pose), make_sample(1, pose[:16], pose)]
    with pytest.raises(ValueError, match='same joints: pred_instances'):
        metric.process(None, [s.to_dict() for s in samples])
    sample = make_sample(3, pose, pose).to_dict()
    sample['pred_instances']['keypoints_3d'] = torch.zeros(2, J, 3)
    with pytest.raises(ValueError, match='one pose a sample'):
        metric.process(None, [sample])
    sample = make_sample(3, pose, pose).to_dict()
    with pytest.raises(KeyError, match="'mask_name'.*sample 3"):
        PoseSequenceMetric(group_by='mask_name').process(None, [sample])
    del sample['frame_indices']
    with pytest.raises(KeyError, match="'frame_indices'"):
        metric.process(None, [sample])
    # which no other metric needs
    PoseSequenceMetric(['mpjpe']).process(None, [sample])
    assert not metric.results
