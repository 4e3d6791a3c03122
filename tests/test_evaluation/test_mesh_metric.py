# Copyright (c) The mpm_postometro authors. All rights reserved.
import dataclasses
import math
import os
from pathlib import Path

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


KEYS = ('mpjpe', 'pa_mpjpe', 'mpvpe', 'pa_mpvpe', 'pck_150', 'auc')


def aligned_error(p, t):
    """Umeyama, written out."""
    pc, tc = p - p.mean(0), t - t.mean(0)
    u, s, vh = np.linalg.svd(tc.T @ pc)
    d = np.array([1, 1, np.linalg.det(u @ vh)])
    aligned = (s * d).sum() / (pc**2).sum() * pc @ ((u * d) @ vh).T
    return np.linalg.norm(aligned - tc, axis=-1).mean()


def by_hand(body, samples):
    """What is measured of each person, in numpy, one at a time (KEYS), and
    the distances of the joints; mm and per cent."""
    rows, distances = [], []
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
        distance = 1000 * np.linalg.norm(joint, axis=-1)
        thresholds = np.linspace(0, 150, 31)
        rows.append([
            distance.mean(), 1000 * aligned_error(p, t),
            1000 * np.linalg.norm(mesh, axis=-1).mean(),
            1000 * aligned_error(pred, true), 100 * (distance < 150).mean(),
            100 * (distance < thresholds[:, None]).mean()
        ])
        distances.append(distance)
    return np.array(rows), np.array(distances)


def run(samples, size=None, batch=4, **kwargs):
    evaluator = Evaluator([METRICS.build(dict(type='MeshMetric', **kwargs))])
    for start in range(0, len(samples), batch):
        evaluator.process(samples[start:start + batch])
    return evaluator.evaluate(size or len(samples))


@pytest.mark.parametrize('numpy', [False, True])
def test_values(body, numpy):
    expected, _ = by_hand(body, make_samples(body, noise=.06))
    metrics = run(make_samples(body, noise=.06, numpy=numpy))
    for key, value in zip(KEYS, expected.mean(0)):
        assert metrics[f'mesh/{key}'] == pytest.approx(value, rel=1e-5)
    assert metrics['mesh/persons'] == metrics['mesh/persons_mesh'] == PERSONS
    assert 20 < metrics['mesh/mpjpe'] < 200  # mm
    assert 50 < metrics['mesh/pck_150'] < 100  # per cent
    bound = run(make_samples(body, noise=.06), pck_threshold=80.)
    assert bound['mesh/pck_80'] < metrics['mesh/pck_150']
    assert bound['mesh/auc'] == metrics['mesh/auc']
    assert 'mesh/pck_150' not in bound


def test_perfect_prediction(body):
    metrics = run(make_samples(body, noise=0.))
    for key in KEYS[:4]:
        assert metrics[f'mesh/{key}'] < 0.01
    assert metrics['mesh/pck_150'] == 100
    assert metrics['mesh/auc'] == pytest.approx(100 * 30 / 31)  # not at 0 mm


def test_occlusion_bins(body):
    samples = make_samples(body)
    del samples[1].gt_instances.occlusion
    expected, _ = by_hand(body, samples)
    # occlusions 0 - 2/6 3/6 4/6 5/6 1
    metrics = run(samples, bins=(0, .5, .9, 1))
    for name, rows in (('0.00-0.50', [0, 2]), ('0.50-0.90', [3, 4, 5]),
                       ('0.90-1.00', [6])):
        assert metrics[f'mesh/persons_occ_{name}'] == len(rows)
        for column, key in enumerate(KEYS):
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
    expected, _ = by_hand(body, samples)
    samples[0].gt_instance_labels.has_smpl[:] = 0
    samples[0].gt_instance_labels.body_pose[:] = float('nan')
    samples[5].gt_instance_labels.has_joints_3d[:] = 0
    samples[5].gt_instance_labels.joints_3d[:] = 0
    metrics = run(samples)
    assert metrics['mesh/persons'] == metrics['mesh/persons_mesh'] == 6
    for column, key in enumerate(KEYS):
        if 'mpvpe' in key:
            rows = list(range(1, PERSONS))
        else:
            rows = [i for i in range(PERSONS) if i != 5]
        assert metrics[f'mesh/{key}'] == pytest.approx(
            expected[rows, column].mean(), rel=1e-5)


def test_measured_joints_without_body_parameters(body, monkeypatch):
    """Human3.6M's second protocol: no mesh is no error of 0 mm."""
    samples = make_samples(body)
    expected, _ = by_hand(body, samples)
    for sample in samples:
        sample.gt_instance_labels.has_smpl[:] = 0
        sample.gt_instance_labels.betas[:] = float('nan')
    monkeypatch.setattr(BodyModel, 'forward', None)  # nothing to pose
    metrics = run(samples)
    assert math.isnan(metrics['mesh/mpvpe'])
    assert math.isnan(metrics['mesh/pa_mpvpe'])
    assert metrics['mesh/persons_mesh'] == 0
    assert metrics['mesh/persons'] == PERSONS
    assert not any('mpvpe_occ' in key for key in metrics)
    for column, key in enumerate(KEYS[:2]):
        assert metrics[f'mesh/{key}'] == pytest.approx(
            expected[:, column].mean(), rel=1e-5)


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
    for key in KEYS[:4]:
        assert math.isnan(metrics[f'mesh/{key}'])
    assert metrics['mesh/persons'] == PERSONS


def test_spin_protocol(body):
    """Joints from the meshes, the Human3.6M pelvis as origin."""
    samples = make_samples(body, noise=0.)
    for sample in samples:
        sample.set_metainfo(dict(gender='neutral'))
        sample.gt_instance_labels.has_joints_3d[:] = 0
        sample.pred_instances.keypoints_3d[:] = 9
        sample.pred_instances.vertices[:] += 0.3  # origins do not matter
    metrics = run(samples, protocol='spin')
    assert metrics['mesh/mpjpe'] < 0.01
    assert metrics['mesh/persons'] == PERSONS
    samples = make_samples(body)
    sample = samples[0]
    sample.set_metainfo(dict(gender='neutral'))
    labels = sample.gt_instance_labels
    true = body(labels.betas, labels.body_pose, labels.global_orient).vertices
    pred = sample.pred_instances.vertices

    def joints(vertices):
        return (body.regress_joints(vertices, 'j14') -
                body.regress_joints(vertices, 'h36m17')[:, :1])

    error = 1000 * (joints(pred) - joints(true)).norm(dim=-1).mean().item()
    metrics = run(samples[:1], protocol='spin')
    assert metrics['mesh/mpjpe'] == pytest.approx(error, rel=1e-4)


GENDERS = dict(neutral=1., male=1.1, female=.9)  # and their size


@pytest.fixture(scope='module')
def smpl(tmp_path_factory):
    """A folder of SMPL's three files, random and small."""
    folder = tmp_path_factory.mktemp('smpl')
    rng = np.random.default_rng(0)
    count = 60
    template = rng.normal(0, .5, (count, 3))
    weights, tree, h36m = (
        rng.random(shape)**8
        for shape in ((count, 24), (24, count), (17, count)))
    for gender, size in GENDERS.items():
        np.savez(
            folder / f'SMPL_{gender.upper()}.npz',
            v_template=size * template,
            f=rng.integers(0, count, (50, 3)),
            shapedirs=rng.normal(0, .03, (count, 3, 10)),
            weights=weights / weights.sum(1, keepdims=True),
            J_regressor=tree / tree.sum(1, keepdims=True),
            kintree_table=np.array([[-1, *range(23)], [*range(24)]]))
    np.save(folder / 'J_regressor_h36m_correct.npy',
            h36m / h36m.sum(1, keepdims=True))
    return folder


def gendered_samples(folder, genders=('male', 'neutral', 'female', 'male')):
    """Predictions without a fault, of the bodies of the genders, with the
    pelvis at the origin."""
    samples = []
    for i, gender in enumerate(genders):
        one = load_body(folder, gender=gender)
        sample = make_samples(one, noise=0., seed=i)[0]
        sample.set_metainfo(dict(id=i, gender=gender))
        samples.append(sample)
    return samples


def test_true_meshes_of_genders(smpl):
    samples = gendered_samples(smpl)
    # joints of the labels are not looked at, nor those of the prediction
    for sample in samples:
        sample.gt_instance_labels.has_joints_3d[:] = 0
        sample.pred_instances.keypoints_3d[:] = 9
    metrics = run(samples, protocol='spin', body=dict(path=str(smpl)))
    for key in KEYS[:4]:
        assert metrics[f'mesh/{key}'] < 1e-3, key
    assert metrics['mesh/persons'] == metrics['mesh/persons_mesh'] == 4
    # the neutral body is the truth of METRO, for everybody
    samples = gendered_samples(smpl)
    metrics = run(samples, body=dict(path=str(smpl)))
    expected, _ = by_hand(load_body(smpl), samples)
    assert expected[1, 2] < 1e-3 and (expected[[0, 2, 3], 2] > 10).all()
    for key, value in zip(KEYS, expected.mean(0)):
        assert metrics[f'mesh/{key}'] == pytest.approx(
            value, rel=1e-5, abs=1e-4)


@pytest.mark.parametrize('file', [True, False])
def test_bodies_are_read_when_they_are_needed(smpl, tmp_path, file):
    for path in smpl.iterdir():
        if 'FEMALE' not in path.name:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    path = tmp_path / 'SMPL_NEUTRAL.npz' if file else tmp_path
    metric = MeshMetric(str(path), protocol='spin')
    assert list(metric._bodies) == ['neutral']
    samples = gendered_samples(smpl)
    metric.process(None, samples[:2])
    assert list(metric._bodies) == ['neutral', 'male']
    with pytest.raises(
            FileNotFoundError,
            match=f"(?s)SMPL's female body.*{tmp_path}.*SMPL_FEMALE.npz"):
        metric.process(None, samples[2:])
    # who has no mesh needs no body
    samples[2].gt_instance_labels.has_smpl[:] = 0
    metric.process(None, samples[2:])
    assert metric.evaluate(4)['mesh/persons'] == 3


def test_the_built_in_body_has_no_genders(body):
    sample = make_samples(body)[0]
    sample.set_metainfo(dict(gender='male'))
    with pytest.raises(FileNotFoundError, match="SMPL's male body"):
        MeshMetric(body, protocol='spin').process(None, [sample])
    MeshMetric(body).process(None, [sample])


def test_gender_has_to_be_known(body):
    sample = make_samples(body)[0]
    metric = MeshMetric(body, protocol='spin')
    with pytest.raises(KeyError, match="sample 0 has neither 'gender' nor"):
        metric.process(None, [sample])
    sample.set_metainfo(dict(label_body=body.identity))
    metric.process(None, [sample])  # that says it as well


def test_labels_belong_to_the_body_of_their_gender(smpl):
    identities = {g: load_body(smpl, gender=g).identity for g in GENDERS}
    sample = gendered_samples(smpl, ['male'])[0]
    sample.set_metainfo(
        dict(label_body=identities['male'], pred_body=identities['neutral']))
    MeshMetric(str(smpl), protocol='spin').process(None, [sample])
    with pytest.raises(ValueError, match='labels have.*' + identities['male']):
        MeshMetric(str(smpl)).process(None, [sample])
    sample.set_metainfo(dict(label_body=identities['neutral']))
    MeshMetric(str(smpl)).process(None, [sample])
    with pytest.raises(ValueError, match='labels have'):
        MeshMetric(str(smpl), protocol='spin').process(None, [sample])
    sample.set_metainfo(
        dict(label_body=identities['male'], pred_body=identities['male']))
    with pytest.raises(ValueError, match='predictions have'):
        MeshMetric(str(smpl), protocol='spin').process(None, [sample])


def test_pare_compares_vertices_where_they_are(smpl):
    samples = gendered_samples(smpl)
    with pytest.raises(ValueError, match="use 'spin'"):
        run(samples, protocol='pare', body=str(smpl))
    for sample, gender in zip(samples, ('male', 'neutral', 'female', 'male')):
        labels = sample.gt_instance_labels
        true = load_body(
            smpl, gender=gender)(labels.betas, labels.body_pose,
                                 labels.global_orient).vertices
        sample.pred_instances.vertices = true + torch.tensor([.03, 0, -.04])
    metrics = run(samples, protocol='pare', body=str(smpl))
    assert metrics['mesh/mpvpe'] == pytest.approx(50, rel=1e-5)
    for key in ('mpjpe', 'pa_mpjpe', 'pa_mpvpe'):
        assert metrics[f'mesh/{key}'] < 1e-3, key
    metrics = run(samples, protocol='spin', body=str(smpl))
    assert metrics['mesh/mpvpe'] < 1e-3


def test_results_file(body, tmp_path):
    samples = make_samples(body)
    samples[3].gt_instance_labels.has_smpl[:] = 0
    samples[1].gt_instance_labels.joints_3d_weights[0, 6] = 0
    samples[5].gt_instance_labels.has_joints_3d[:] = 0
    samples[2].set_metainfo(
        dict(
            img_path='a/2.jpg',
            sequence='walk_00',
            frame=7,
            gender='male',
            annotation_id=2**40))
    expected, distances = by_hand(body, samples)
    expected[3, [2, 3]] = np.nan
    expected[5, [0, 1, 4, 5]] = np.nan
    distances[1, 6] = np.nan
    distances[5] = np.nan
    path = tmp_path / 'new' / 'persons.npz'
    # in whatever order they come
    run([samples[i] for i in (4, 0, 2, 6, 5, 1, 3)], dump=str(path))
    with np.load(path, allow_pickle=False) as file:
        assert file['protocol'].item() == 'metro'
        assert file['body'].item() == body.identity
        assert all(
            len(file[key]) == PERSONS
            for key in set(file.files) - {'protocol', 'body'})
        others = [i for i in range(PERSONS) if i != 1]
        for column, key in enumerate(KEYS):
            np.testing.assert_allclose(
                file[key][others], expected[others, column], rtol=1e-5)
        assert file['mpjpe'][1] == pytest.approx(
            np.nanmean(distances[1]), rel=1e-5)
        np.testing.assert_allclose(file['joint_errors'], distances, rtol=1e-4)
        assert file['id'].tolist() == list(range(PERSONS))
        assert file['img_id'].tolist() == list(range(10, 10 + PERSONS))
        np.testing.assert_allclose(file['occlusion'],
                                   np.linspace(0, 1, PERSONS))
        for key, known, unknown in (('img_path', 'a/2.jpg',
                                     ''), ('sequence', 'walk_00', ''),
                                    ('frame', 7, -1), ('gender', 'male', ''),
                                    ('annotation_id', 2**40, -1)):
            column = [unknown] * PERSONS
            column[2] = known
            assert file[key].tolist() == column
    assert os.listdir(path.parent) == ['persons.npz']


def test_dump_is_logged(body, tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(MMLogger.get_current_instance(), 'info', said.append)
    path = str(tmp_path / 'persons.npz')
    run(make_samples(body), dump=path)
    assert said == [f'MeshMetric: wrote {PERSONS} persons to {path}']


def test_failed_dump_keeps_the_old_file(body, tmp_path, monkeypatch):
    path = tmp_path / 'persons.npz'
    path.write_bytes(b'old')

    def full_disk(name, **columns):
        Path(name).write_bytes(b'half')
        raise OSError('disk full')

    monkeypatch.setattr(np, 'savez_compressed', full_disk)
    with pytest.raises(OSError, match='disk full'):
        run(make_samples(body), dump=str(path))
    assert path.read_bytes() == b'old'
    assert os.listdir(tmp_path) == ['persons.npz']


def _process_each(metric, samples):
    """One at a time: products of large matrices are rounded otherwise."""
    for sample in samples:
        metric.process(None, [sample.to_dict()])


@in_group_of_two
def _rank(rank, folder, splits):
    body = load_body()
    for name, split in splits.items():
        metric = MeshMetric(
            body, collect_dir=f'{folder}/{name}', dump=f'{folder}/{name}.npz')
        samples = make_samples(body)
        _process_each(metric, [samples[i] for i in split[rank]])
        metrics = metric.evaluate(PERSONS)
        torch.save(metrics, f'{folder}/{name}_{rank}.pt')


def test_two_processes_give_what_one_gives(body, tmp_path):
    """The same numbers to the last digit, and the same file."""
    splits = dict(
        # more on the first rank, more on the second, and as MMEngine pads
        # 7 to 8 by showing the first person again
        first=([0, 2, 4, 6], [1, 3, 5]),
        second=([0, 1, 2], [3, 4, 5, 6]),
        padded=([0, 2, 4, 6], [1, 3, 5, 0]))
    mp.spawn(_rank, (str(tmp_path), splits), nprocs=2)
    metric = MeshMetric(body, dump=str(tmp_path / 'one.npz'))
    _process_each(metric, make_samples(body))
    expected = metric.evaluate(PERSONS)
    assert expected['mesh/persons'] == PERSONS
    for key, value in run(make_samples(body), batch=PERSONS).items():
        assert value == pytest.approx(expected[key], rel=1e-6, abs=1e-9), key
    for name in splits:
        for rank in range(2):
            metrics = torch.load(tmp_path / f'{name}_{rank}.pt')
            assert metrics == expected, (name, rank)
        with np.load(tmp_path / 'one.npz') as one, np.load(
                tmp_path / f'{name}.npz') as two:
            assert one.files == two.files
            for key in one.files:
                np.testing.assert_array_equal(one[key], two[key])


@pytest.mark.parametrize('wrong', [
    dict(protocol='coco'),
    dict(bins=(0, )),
    dict(bins=(0, .5, .5)),
    dict(dump='x.txt'),
    dict(pck_threshold=0.),
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
