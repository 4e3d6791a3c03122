# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Half precision, gradient checkpointing and frozen parts in training."""
import copy

import numpy as np
import pytest
import torch
from mmengine.model import ExponentialMovingAverage, MMDistributedDataParallel
from mmengine.optim import build_optim_wrapper
from mmengine.optim.optimizer import amp_optimizer_wrapper
from mmengine.structures import InstanceData
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample

from mpm_postometro.bodies import load_body
from mpm_postometro.compat import finish_distributed

B, SIZE = 2, 64
BACKBONE = dict(type='ResNet', depth=18, base_channels=4, stem_channels=4)
TOKENIZER = dict(
    type='PCTTokenizer',
    num_tokens=5,
    num_codes=7,
    token_dim=12,
    encoder=dict(channels=8, token_hidden=4, channel_hidden=4, num_blocks=1),
    decoder=dict(channels=8, token_hidden=4, channel_hidden=4, num_blocks=1))
POSE_BRANCH = dict(
    type='TopdownPoseEstimator',
    backbone=BACKBONE,
    head=dict(
        type='PCTHead',
        in_channels=32,
        feat_size=(2, 2),
        tokenizer=TOKENIZER,
        conv_channels=8,
        num_mixers=1,
        hidden_channels=8,
        token_hidden=4,
        channel_hidden=4))
HEAD = dict(
    type='PostoMETROHead',
    in_channels=32,
    token_dim=12,
    num_tokens=5,
    hidden_dims=(16, 8),
    feedforward_dims=(16, 16),
    num_layers=2,
    num_heads=2,
    dropout=0.1)


@pytest.fixture(scope='module')
def body():
    return load_body()


def build(body, **head):
    torch.manual_seed(0)
    return MODELS.build(
        dict(
            type='MeshEstimator',
            backbone=dict(BACKBONE),
            head=dict(HEAD, **head),
            body=body,
            pose_branch=copy.deepcopy(POSE_BRANCH))).train()


def batch():
    rng = np.random.default_rng(0)

    def draw(*shape, scale=1.):
        return torch.tensor(rng.normal(size=(1, *shape)) * scale).float()

    samples = []
    for i in range(B):
        sample = PoseDataSample(metainfo=dict(id=i))
        sample.gt_instance_labels = InstanceData(
            joints_2d=SIZE / 2 + draw(14, 2, scale=9.),
            joints_2d_weights=torch.ones(1, 14),
            joints_3d=draw(14, 3),
            joints_3d_weights=torch.ones(1, 14),
            global_orient=draw(3),
            body_pose=draw(23, 3, scale=.2),
            betas=draw(10),
            has_smpl=torch.ones(1),
            has_joints_3d=torch.ones(1))
        samples.append(sample)
    images = torch.cat([draw(3, SIZE, SIZE) for _ in range(B)])
    return dict(inputs=images, data_samples=samples)


def optimizer_of(model, **kwargs):
    optimizer = dict(type='AdamW', lr=1e-3, weight_decay=.1)
    return build_optim_wrapper(model, dict(kwargs, optimizer=optimizer))


# ------------------------------ half precision -------------------------------
@pytest.fixture
def precise(body):
    """Losses and gradients of full precision."""
    model = build(body, dropout=0.)
    losses = model.loss(**batch())
    sum(losses.values()).backward()
    return {k: v.item() for k, v in losses.items()}, gradients(model)


def gradients(model):
    return torch.cat([
        p.grad.flatten() for p in model.parameters() if p.grad is not None
    ]).clone()


def check_half(losses, found, precise, seen):
    wanted, direction = precise
    for name, value in wanted.items():
        assert losses[name].item() == pytest.approx(value, rel=.1), name
    assert found.dtype == torch.float32 and found.isfinite().all()
    cosine = torch.nn.functional.cosine_similarity(found, direction, dim=0)
    assert cosine > .7  # signs of small differences flip
    assert found.norm().item() == pytest.approx(
        direction.norm().item(), rel=.2)
    # the network did work in half precision, its coordinates are full ones
    assert set(seen['tokens']) == seen['wanted']
    outputs = seen['prediction']
    for tensor in (outputs.camera, outputs.joints_3d, *outputs.vertices):
        assert tensor.dtype == torch.float32


def watch(model, dtype):
    seen = dict(wanted={dtype}, tokens=[])
    model.head.register_forward_hook(
        lambda m, args, out: seen.update(prediction=out))
    model.head.transformers[1].decoder.layers[0].linear2.register_forward_hook(
        lambda m, args, out: seen['tokens'].append(out.dtype))
    return seen


@pytest.mark.parametrize('with_cp', [False, True])
def test_a_step_of_the_wrapper_in_bf16(body, precise, with_cp, monkeypatch):
    # The wrapper wants a GPU, without which autocast works as well.
    monkeypatch.setattr(amp_optimizer_wrapper, 'is_cuda_available',
                        lambda: True)
    monkeypatch.setattr(amp_optimizer_wrapper, 'GradScaler',
                        lambda **kwargs: torch.amp.GradScaler('cpu', **kwargs))
    model = build(body, dropout=0., with_cp=with_cp)
    before = copy.deepcopy(dict(model.named_parameters()))
    wrapper = optimizer_of(
        model, type='AmpOptimWrapper', dtype='bfloat16', loss_scale=16.)
    seen = watch(model, torch.bfloat16)
    kept = []
    step = wrapper.step
    monkeypatch.setattr(
        wrapper, 'step', lambda:
        (wrapper.loss_scaler.unscale_(wrapper.optimizer),
         kept.append(gradients(model)), step()))
    logs = model.train_step(batch(), wrapper)
    check_half(logs, kept[0], precise, seen)
    for name, parameter in model.named_parameters():
        same = torch.equal(parameter, before[name])
        assert same == name.startswith('pose_branch.'), name


def test_a_step_in_fp16(body, precise):
    model = build(body, dropout=0.)
    seen = watch(model, torch.float16)
    try:
        with torch.autocast('cpu', torch.float16):
            losses = model.loss(**batch())
        scaler = torch.amp.GradScaler('cpu', init_scale=16.)
        scaler.scale(sum(losses.values())).backward()
    except RuntimeError as error:
        pytest.skip(f'this torch cannot train in fp16 on a CPU: {error}')
    optimizer = torch.optim.SGD(model.parameters(), 1e-6)
    scaler.unscale_(optimizer)
    check_half(losses, gradients(model), precise, seen)


# -------------------------- gradient checkpointing ---------------------------
def test_checkpointing_changes_nothing(body):
    """Neither losses nor gradients, dropout included."""
    results = []
    for with_cp in (False, True):
        model = build(body, with_cp=with_cp, dropout=.3)
        torch.manual_seed(1)
        losses = model.loss(**batch())
        sum(losses.values()).backward()
        results.append((losses, gradients(model)))
    for name, loss in results[0][0].items():
        assert torch.equal(loss, results[1][0][name]), name
    torch.testing.assert_close(results[0][1], results[1][1])
    torch.manual_seed(2)  # other dropout, other losses
    assert not torch.equal(
        model.loss(**batch())['loss_vertices'], losses['loss_vertices'])


# ------------------------------- frozen parts --------------------------------
def check_frozen(branch, before):
    assert not any(module.training for module in branch.modules())
    assert not any(p.requires_grad for p in branch.parameters())
    assert any('running_mean' in name for name in before)
    for name, value in branch.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.fixture
def process_group(tmp_path):
    torch.distributed.init_process_group(
        'gloo', init_method=f'file://{tmp_path}/store', rank=0, world_size=1)
    yield
    finish_distributed()


@pytest.mark.parametrize('distributed', [False, True])
def test_frozen_parts_stay(body, distributed, request):
    model = network = build(body)
    before = copy.deepcopy(model.pose_branch.state_dict())
    trained = copy.deepcopy(model.backbone.state_dict())
    if distributed:
        request.getfixturevalue('process_group')
        network = MMDistributedDataParallel(model)
    wrapper = optimizer_of(network, type='OptimWrapper')
    average = ExponentialMovingAverage(
        network, momentum=.5, update_buffers=True)
    for _ in range(2):
        network.eval()  # validation in between
        network.train()
        average.train()
        assert model.backbone.training and model.head.training
        network.train_step(batch(), wrapper)
        average.update_parameters(network)
        check_frozen(model.pose_branch, before)
        averaged = average.module
        averaged = averaged.module if distributed else averaged
        check_frozen(averaged.pose_branch, before)
    state = wrapper.optimizer.state
    for name, parameter in model.named_parameters():
        assert (parameter in state) == (not name.startswith('pose_branch.'))
    # while the others, and their statistics, move
    for name, value in model.backbone.state_dict().items():
        assert not torch.equal(value, trained[name]), name
