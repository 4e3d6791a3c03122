# Copyright (c) The mpm_postometro authors. All rights reserved.
import dataclasses
import math
import os

import numpy as np
import pytest
import torch
import torch.multiprocessing as mp
from mmengine.evaluator import Evaluator
from mmengine.structures import InstanceData
from mmpose.registry import METRICS
from mmpose.structures import PoseDataSample

from mpm_postometro.bodies import BodyModel, load_body
from mpm_postometro.bodies.body_io import read_body
from mpm_postometro.evaluation import MeshMetric

PERSONS = 7
HIPS = (2, 3)


@pytest.fixture(scope='module')
def body():
    return load_body()


def make_samples(body, noise=0.02, seed=0, numpy=False):
    """Predictions that are off by Gaussian noise."""
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape):
        return torch.randn(*shape, generator=generator)

    parameters = dict(
        betas=randn(PERSONS, 10),
        body_pose=.2 * randn(PERSONS, 23, 3),
        global_orient=randn(PERSONS, 3))
    true = body(**parameters).vertices
    true_joints = body.regress_joints(true, 'j14')
    root = body.regress_joints(true, 'h36m17')[:, :1]
    pred = true - root + noise * randn(*true.shape)
    joints = true_joints - root + noise * randn(*true_joints.shape)
    # any origin must do
    true_joints = true_joints + torch.tensor([.5, -.2, 4.])
    occlusion = np.linspace(0, 1, PERSONS, dtype=np.float32)

    samples = []
    for i in range(PERSONS):
        keep = slice(i, i + 1)
        labels = InstanceData(
            joints_3d=true_joints[keep],
            joints_3d_weights=torch.ones(1, 14),
            has_joints_3d=torch.ones(1),
            has_smpl=torch.ones(1),
            **{
                k: v[keep]
                for k, v in parameters.items()
            })
        sample = PoseDataSample(metainfo=dict(id=i, img_id=10 + i))
        sample.gt_instance_labels = labels.numpy() if numpy else labels
        sample.gt_instances = InstanceData(occlusion=occlusion[keep])
        instances = InstanceData(
            keypoints_3d=joints[keep], vertices=pred[keep])
        sample.pred_instances = instances.numpy() if numpy else instances
        samples.append(sample)
    return samples


def by_hand(body, samples):
    """The three errors of each person, in numpy, one at a time (mm)."""
    rows = []
    for sample in samples:
        labels = sample.gt_instance_labels
        true = body(labels.betas, labels.body_pose,
                    labels.global_orient).vertices[0]
        regressor = body.joint_regressor('h36m17').double().numpy()
        true = true.double().numpy()
        pred = sample.pred_instances.vertices[0].double().numpy()
        mesh = (pred - regressor[0] @ pred) - (true - regressor[0] @ true)
        p = sample.pred_instances.keypoints_3d[0].double().numpy()
        t = labels.joints_3d[0].double().numpy()
        joint = (p - p[list(HIPS)].mean(0)) - (t - t[list(HIPS)].mean(0))
        # Umeyama, written out
        pc, tc = p - p.mean(0), t - t.mean(0)
        u, s, vh = np.linalg.svd(tc.T @ pc)
        d = np.array([1, 1, np.linalg.det(u @ vh)])
        aligned = (s * d).sum() / (pc**2).sum() * pc @ ((u * d) @ vh).T
        rows.append([
            1000 * np.linalg.norm(x, axis=-1).mean()
            for x in (joint, aligned - tc, mesh)
        ])
    return np.array(rows)


def run(samples, size=None, batch=4, **kwargs):
    evaluator = Evaluator([METRICS.build(dict(type='MeshMetric', **kwargs))])
    for start in range(0, len(samples), batch):
        evaluator.process(samples[start:start + batch])
    return evaluator.evaluate(size or len(samples))


@pytest.mark.parametrize('numpy', [False, True])
def test_values(body, numpy):
    expected = by_hand(body, make_samples(body))
    metrics = run(make_samples(body, numpy=numpy))
    for key, value in zip(('mpjpe', 'pa_mpjpe', 'mpvpe'), expected.mean(0)):
        assert metrics[f'mesh/{key}'] == pytest.approx(value, rel=1e-5)
    assert metrics['mesh/persons'] == metrics['mesh/persons_mesh'] == PERSONS
    assert 10 < metrics['mesh/mpjpe'] < 100  # mm


def test_perfect_prediction(body):
    metrics = run(make_samples(body, noise=0.))
    for key in ('mpjpe', 'pa_mpjpe', 'mpvpe'):
        assert metrics[f'mesh/{key}'] < 0.01


def test_occlusion_bins(body):
    samples = make_samples(body)
    del samples[1].gt_instances.occlusion
    expected = by_hand(body, samples)
    # occlusions 0 - 2/6 3/6 4/6 5/6 1
    metrics = run(samples, bins=(0, .5, .9, 1))
    for name, rows in (('0.00-0.50', [0, 2]), ('0.50-0.90', [3, 4, 5]),
                       ('0.90-1.00', [6])):
        assert metrics[f'mesh/persons_occ_{name}'] == len(rows)
        for column, key in enumerate(('mpjpe', 'pa_mpjpe', 'mpvpe')):
            assert metrics[f'mesh/{key}_occ_{name}'] == pytest.approx(
                expected[rows, column].mean(), rel=1e-5)
    assert not any('occ' in k for k in run(samples, bins=None))
    for sample in samples:
        sample.gt_instances = InstanceData()
    metrics = run(samples)
    assert not any('occ' in k for k in metrics)
    assert metrics['mesh/persons'] == PERSONS


def test_missing_labels_are_left_out(body):
    samples = make_samples(body)
    expected = by_hand(body, samples)
    samples[0].gt_instance_labels.has_smpl[:] = 0
    samples[0].gt_instance_labels.body_pose[:] = float('nan')
    samples[5].gt_instance_labels.has_joints_3d[:] = 0
    samples[5].gt_instance_labels.joints_3d[:] = 0
    metrics = run(samples)
    rows = [i for i in range(PERSONS) if i != 5]
    assert metrics['mesh/persons'] == metrics['mesh/persons_mesh'] == 6
    for column, key in enumerate(('mpjpe', 'pa_mpjpe')):
        assert metrics[f'mesh/{key}'] == pytest.approx(
            expected[rows, column].mean(), rel=1e-5)
    assert metrics['mesh/mpvpe'] == pytest.approx(
        expected[1:, 2].mean(), rel=1e-5)


def test_unlabelled_joint_is_left_out(body):
    samples = make_samples(body)[:1]
    full = run(make_samples(body)[:1])
    labels = samples[0].gt_instance_labels
    labels.joints_3d[0, 6] = 100.  # a wrist
    wrong = run(samples)
    labels.joints_3d_weights[0, 6] = 0
    left_out = run(samples)
    assert wrong['mesh/mpjpe'] > 10 * full['mesh/mpjpe']
    assert left_out['mesh/mpjpe'] < 2 * full['mesh/mpjpe']
    assert left_out['mesh/pa_mpjpe'] < 2 * full['mesh/pa_mpjpe']
    # without a hip there is no origin, but joints still align
    labels.joints_3d_weights[0, HIPS[0]] = 0
    metrics = run(samples)
    assert metrics['mesh/persons'] == 0 and math.isnan(metrics['mesh/mpjpe'])
    assert metrics['mesh/pa_mpjpe'] < 2 * full['mesh/pa_mpjpe']


def test_broken_prediction_is_seen(body):
    samples = make_samples(body)
    samples[2].pred_instances.keypoints_3d[0, 0, 0] = float('nan')
    samples[2].pred_instances.vertices[0, 0, 0] = float('nan')
    metrics = run(samples)
    for key in ('mpjpe', 'pa_mpjpe', 'mpvpe'):
        assert math.isnan(metrics[f'mesh/{key}'])
    assert metrics['mesh/persons'] == PERSONS


def test_spin_protocol(body):
    """Joints from the meshes, the Human3.6M pelvis as origin."""
    samples = make_samples(body, noise=0.)
    for sample in samples:
        sample.gt_instance_labels.has_joints_3d[:] = 0
        sample.pred_instances.keypoints_3d[:] = 9
        sample.pred_instances.vertices[:] += 0.3  # origins do not matter
    metrics = run(samples, protocol='spin')
    assert metrics['mesh/mpjpe'] < 0.01
    assert metrics['mesh/persons'] == PERSONS
    samples = make_samples(body)
    sample = samples[0]
    labels = sample.gt_instance_labels
    true = body(labels.betas, labels.body_pose, labels.global_orient).vertices
    pred = sample.pred_instances.vertices

    def joints(vertices):
        return (body.regress_joints(vertices, 'j14') -
                body.regress_joints(vertices, 'h36m17')[:, :1])

    error = 1000 * (joints(pred) - joints(true)).norm(dim=-1).mean().item()
    metrics = run(samples[:1], protocol='spin')
    assert metrics['mesh/mpjpe'] == pytest.approx(error, rel=1e-4)


def test_dump(body, tmp_path):
    samples = make_samples(body)
    samples[3].gt_instance_labels.has_smpl[:] = 0
    expected = by_hand(body, samples)
    expected[3, 2] = np.nan
    path = tmp_path / 'new' / 'persons.npz'
    run(samples, dump=str(path))
    with np.load(path, allow_pickle=False) as file:
        for column, key in enumerate(('mpjpe', 'pa_mpjpe', 'mpvpe')):
            np.testing.assert_allclose(
                file[key], expected[:, column], rtol=1e-5)
        assert file['id'].tolist() == list(range(PERSONS))
        assert file['img_id'].tolist() == list(range(10, 10 + PERSONS))
        np.testing.assert_allclose(file['occlusion'],
                                   np.linspace(0, 1, PERSONS))
    assert os.listdir(path.parent) == ['persons.npz']


def test_failed_dump_keeps_the_old_file(body, tmp_path, monkeypatch):
    path = tmp_path / 'persons.npz'
    path.write_bytes(b'old')

    def full_disk(file, **columns):
        file.write(b'half')
        raise OSError('disk full')

    monkeypatch.setattr(np, 'savez_compressed', full_disk)
    with pytest.raises(OSError, match='disk full'):
        run(make_samples(body), dump=str(path))
    assert path.read_bytes() == b'old'
    assert os.listdir(tmp_path) == ['persons.npz']


def _rank(rank, folder, splits):
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        'gloo', f'file://{folder}/store', rank=rank, world_size=2)
    body = load_body()
    for name, split in splits.items():
        metric = MeshMetric(body, collect_dir=f'{folder}/{name}')
        samples = make_samples(body)
        metric.process(None, [samples[i].to_dict() for i in split[rank]])
        metrics = metric.evaluate(PERSONS)
        torch.save(metrics, f'{folder}/{name}_{rank}.pt')
    torch.distributed.destroy_process_group()


def test_two_processes_give_what_one_gives(body, tmp_path):
    splits = dict(
        # more on the first rank, more on the second, and as MMEngine pads
        # 7 to 8 by showing the first person again
        first=([0, 2, 4, 6], [1, 3, 5]),
        second=([0, 1, 2], [3, 4, 5, 6]),
        padded=([0, 2, 4, 6], [1, 3, 5, 0]))
    mp.spawn(_rank, (str(tmp_path), splits), nprocs=2)
    expected = run(make_samples(body), batch=PERSONS)
    assert expected['mesh/persons'] == PERSONS
    for name in splits:
        for rank in range(2):
            metrics = torch.load(tmp_path / f'{name}_{rank}.pt')
            assert set(metrics) == set(expected)
            for key, value in expected.items():
                assert metrics[key] == pytest.approx(
                    value, rel=1e-6, abs=1e-9), (name, key)


@pytest.mark.parametrize('wrong', [
    dict(protocol='coco'),
    dict(bins=(0, )),
    dict(bins=(0, .5, .5)),
    dict(dump='x.txt'),
])
def test_wrong_arguments(wrong):
    with pytest.raises(ValueError):
        METRICS.build(dict(type='MeshMetric', **wrong))


def test_errors_name_the_field(body):
    metric = MeshMetric(body)
    sample = make_samples(body)[0]
    del sample.gt_instance_labels.betas
    with pytest.raises(KeyError, match="'betas' in gt_instance_labels"):
        metric.process(None, [sample.to_dict()])
    sample = make_samples(body)[0]
    sample.pred_instances.vertices = torch.zeros(1, 10, 3)
    with pytest.raises(ValueError, match='10, 3'):
        metric.process(None, [sample.to_dict()])


@pytest.mark.parametrize('key', ['pred_body', 'label_body'])
def test_another_body_of_the_same_size_is_refused(body, key):
    data = read_body(None)
    other = BodyModel(
        dataclasses.replace(data, v_template=1.1 * data.v_template))
    sample = make_samples(body)[0]
    sample.set_metainfo({key: body.identity})
    MeshMetric(body).process(None, [sample.to_dict()])
    for form in (sample, sample.to_dict()):
        with pytest.raises(ValueError) as error:
            MeshMetric(other).process(None, [form])
        assert body.identity in str(error.value)
        assert other.identity in str(error.value)
