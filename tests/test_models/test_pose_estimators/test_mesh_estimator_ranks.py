# Copyright (c) The mpm_postometro authors. All rights reserved.
"""A training step of the mesh network in two processes, some of whose batches
lack labels."""

import pytest
import torch
import torch.multiprocessing as mp
from test_mesh_estimator import BACKBONE, SIZE, build, copy_config, samples
from two_ranks import in_group_of_two

from mpm_postometro.bodies import load_body

# Which persons have body parameters, 3D joints and 2D joints: first and
# second process, of different size.
HAVE = dict(
    all_3d_on_one=([1, 1, 1], [0, 0]),
    all_labels_on_one=([0, 0, 0], [1, 1]),
    some_3d_each=([1, 0, 1], [0, 1]),
    some_labels_each=([1, 0, 1], [0, 1]),
    nobody=([0, 0, 0], [0, 0]))
ALSO_2D = ('all_labels_on_one', 'some_labels_each', 'nobody')
# Arguments of the loss.
DEFAULT = dict(average_over='all_ranks')
LABELLED = dict(average_over='all_ranks', joints_2d_over='labelled')
PUBLISHED = dict(average_over='rank')


def batch(name, ranks):
    """Images and samples of some processes."""
    inputs, data_samples = [], []
    for rank in ranks:
        have = HAVE[name][rank]
        generator = torch.Generator().manual_seed(rank)
        inputs.append(
            torch.randn(len(have), 3, SIZE, SIZE, generator=generator))
        for i, (flag, sample) in enumerate(zip(have, samples())):
            labels = sample.gt_instance_labels
            labels.joints_3d = labels.joints_3d + .1 * (3 * rank + i)
            labels.has_smpl[:] = labels.has_joints_3d[:] = flag
            if not flag:  # whatever stands there
                labels.joints_3d[:] = float('nan')
            if name in ALSO_2D:
                labels.joints_2d_weights[:] = flag
            data_samples.append(sample)
    return torch.cat(inputs), data_samples


def network(arguments):
    """BatchNorm would see other batches in two processes: it is frozen."""
    torch.manual_seed(0)
    backbone = copy_config(dict(BACKBONE, norm_eval=True))
    loss = dict(type='MeshLoss', edges=500., normals=10.)
    return build(
        load_body(), backbone=backbone, loss=dict(loss, **arguments)).train()


def gradients(model, name, ranks):
    """Of all parameters that learn, after one step."""
    model.zero_grad()
    inputs, data_samples = batch(name, ranks)
    losses = model(inputs, data_samples, mode='loss')
    sum(losses.values()).backward()
    return {
        key.replace('module.', ''): parameter.grad.clone()
        for key, parameter in model.named_parameters()
        if parameter.requires_grad
    }


@in_group_of_two
def _rank(rank, folder):
    found = {}
    for arguments in (DEFAULT, LABELLED, PUBLISHED):
        model = torch.nn.parallel.DistributedDataParallel(network(arguments))
        for name in HAVE:
            found[str(arguments), name] = gradients(model, name, [rank])
    torch.save(found, f'{folder}/{rank}.pt')


@pytest.fixture(scope='module')
def two(tmp_path_factory):
    """Gradients of two processes, by arguments of the loss and batch."""
    folder = tmp_path_factory.mktemp('ranks')
    mp.spawn(_rank, (str(folder), ), nprocs=2)
    first, second = (torch.load(folder / f'{rank}.pt') for rank in range(2))
    for key, found in first.items():
        for name, value in found.items():
            assert torch.equal(value, second[key][name]), (key, name)
    return first


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    # some true gradients are nought, and only rounding is left
    largest = max(value.abs().max().item() for value in expected.values())
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name],
            value,
            rtol=1e-4,
            atol=1e-5 * value.abs().max().item() + 1e-6 * largest,
            msg=lambda text, name=name: f'{name}: {text}')


@pytest.mark.parametrize('arguments', [DEFAULT, LABELLED], ids=str)
@pytest.mark.parametrize('name', HAVE)
def test_two_processes_take_the_step_of_one(two, name, arguments):
    expected = gradients(network(arguments), name, [0, 1])
    total = sum(value.abs().sum() for value in expected.values())
    assert torch.isfinite(total) and (total > 0) == (name != 'nobody')
    assert_same(two[str(arguments), name], expected)


@pytest.mark.parametrize('name', HAVE)
def test_as_published_each_process_counts_its_own(two, name):
    model = network(PUBLISHED)
    one, other = (gradients(model, name, [rank]) for rank in range(2))
    expected = {key: (one[key] + other[key]) / 2 for key in one}
    assert_same(two[str(PUBLISHED), name], expected)
    if name == 'all_labels_on_one':  # half the step
        alone = {key: value / 2 for key, value in other.items()}
        assert_same(two[str(PUBLISHED), name], alone)
