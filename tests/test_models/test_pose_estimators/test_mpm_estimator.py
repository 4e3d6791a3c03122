# Copyright (c) The mpm_postometro authors. All rights reserved.
import copy

import pytest
import torch
from mmengine.optim import OptimWrapper
from mpm_batches import (DECODERS, FLIP, FRAMES, JOINTS, STAGES, build,
                         make_batch)
from torch.utils._python_dispatch import TorchDispatchMode

from mpm_postometro.models.losses import sequence_mpjpe_loss

REFINER = dict(type='MPMRefiner', num_joints=JOINTS, hidden_channels=12)


def predict(model, data):
    """Keypoints of the target frames, and all instances."""
    preds = [
        sample.pred_instances
        for sample in model.eval().test_step(copy.deepcopy(data))
    ]
    return torch.cat([pred.keypoints_3d for pred in preds]), preds


@pytest.mark.parametrize('stage', STAGES)
def test_every_parameter_gets_a_gradient(stage):
    """Or distributed training would wait forever."""
    model = build(stage).train()
    data = model.data_preprocessor(make_batch(STAGES[stage][3]), True)
    sum(model(**data, mode='loss').values()).backward()
    without = [n for n, p in model.named_parameters() if p.grad is None]
    assert not without


@pytest.mark.parametrize('stage', ['pretraining', 'completion_2d_to_3d'])
@pytest.mark.parametrize('lacking', ['2d', '3d'])
def test_every_parameter_gets_a_gradient_without_a_modality(stage, lacking):
    model = build(stage).train()
    batch = make_batch(tube=True, **{f'has_{lacking}': [False] * 4})
    data = model.data_preprocessor(batch, True)
    losses = model(**data, mode='loss')
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.parameters())
    for name, loss in losses.items():
        assert loss.isfinite() and (lacking not in name or loss == 0)


class Reads(TorchDispatchMode):
    """Counts what a GPU would have to wait for: numbers that the host reads,
    and tensors that are made of its numbers or moved."""

    WAITS = ('_local_scalar_dense', 'nonzero', 'masked_select', 'unique',
             '_to_copy', 'lift_fresh')

    def __init__(self):
        super().__init__()
        self.found = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket.__name__
        kwargs = kwargs or {}
        if name in self.WAITS and (name != '_to_copy' or 'device' in kwargs):
            self.found.append(name)
        if 'index' in name and any(
                isinstance(i, torch.Tensor) and i.dtype == torch.bool
                for group in args[1:2] if isinstance(group, (list, tuple))
                for i in group):
            self.found.append(f'{name} by a mask')
        return func(*args, **kwargs)


@pytest.mark.parametrize('stage', STAGES)
def test_nothing_is_read_back_within_a_step(stage):
    model = build(stage).train()
    data = model.data_preprocessor(
        make_batch(STAGES[stage][3], tube='completion' in stage), True)
    with Reads() as reads:
        sum(model(**data, mode='loss').values()).backward()
    assert not reads.found
    with Reads() as reads:  # that it does count
        assert float(data['inputs']['keypoints_2d'].sum()) != 0
    assert reads.found
    model.eval()
    model.flip_test, model.test_source = True, model.test_source or '3d'
    model(**data, mode='predict')  # joints' order goes to the device once
    with Reads() as reads:
        model(**data, mode='predict')
    assert not reads.found


def test_a_batch_without_the_source_has_the_same_losses():
    model = build('lifting').train()
    names = []
    for has_2d in ([True] * 4, [False] * 4):
        data = model.data_preprocessor(make_batch(False, has_2d=has_2d), True)
        losses = model(**data, mode='loss')
        names.append(sorted(losses))
    assert names[0] == names[1] == ['loss_2d_to_3d', 'loss_2d_to_3d_target']


def test_weights_of_tasks():
    model = build('pretraining_with_lifting').eval()
    data = model.data_preprocessor(make_batch())
    poses = model(**data, mode='tensor')
    losses = model(**data, mode='loss')
    assert list(losses) == ['loss_2d_to_2d', 'loss_2d_to_3d', 'loss_3d_to_3d']
    for source, target, weight in STAGES['pretraining_with_lifting'][2]:
        name = f'{source}_to_{target}'
        expected = weight * sequence_mpjpe_loss(
            poses[name].frames, data['inputs'][f'keypoints_{target}'])
        torch.testing.assert_close(losses[f'loss_{name}'], expected)


def test_lifting_learns_all_frames_and_the_target_frame():
    model = build('lifting').eval()
    batch = make_batch(masked=False)
    for sample in batch['data_samples']:  # causal
        sample.set_metainfo(dict(target_index=FRAMES - 1))
    data = model.data_preprocessor(batch)
    poses = model(**data, mode='tensor')['2d_to_3d']
    losses = model(**data, mode='loss')
    truth = data['inputs']['keypoints_3d']
    torch.testing.assert_close(losses['loss_2d_to_3d'],
                               sequence_mpjpe_loss(poses.frames, truth))
    torch.testing.assert_close(
        losses['loss_2d_to_3d_target'],
        sequence_mpjpe_loss(poses.target, truth[:, FRAMES - 1]))
    batch['data_samples'][0].set_metainfo(dict(target_index=0))
    with pytest.raises(ValueError, match=r'same target_index.*\[0, 8\]'):
        model(**data, mode='loss')


def test_clips_of_one_modality():
    """Each counts where it has something to say."""
    model = build('pretraining_with_lifting').eval()
    has = dict(
        has_2d=[True, False, True, True], has_3d=[True, True, False, True])
    data = model.data_preprocessor(make_batch(**has))
    losses = model(**data, mode='loss')
    whole = model.data_preprocessor(make_batch())
    poses = model(**whole, mode='tensor')
    for source, target, weight in STAGES['pretraining_with_lifting'][2]:
        rows = [
            i for i in range(4)
            if has[f'has_{source}'][i] and has[f'has_{target}'][i]
        ]
        expected = weight * sequence_mpjpe_loss(
            poses[f'{source}_to_{target}'].frames[rows],
            whole['inputs'][f'keypoints_{target}'][rows])
        torch.testing.assert_close(losses[f'loss_{source}_to_{target}'],
                                   expected)


@pytest.mark.parametrize('stage', STAGES)
def test_prediction(stage):
    source = '3d' if stage in ('pretraining', 'completion_3d') else '2d'
    model = build(stage, test_cfg=dict(source=source, all_frames=True))
    data = make_batch(STAGES[stage][3])
    keypoints, preds = predict(model, data)
    assert keypoints.shape == (4, JOINTS, 3)
    assert not keypoints[:, 0].any()
    for i, pred in enumerate(preds):
        assert pred.keypoints_3d_all.shape == (1, FRAMES, JOINTS, 3)
        assert not pred.keypoints_3d_all[:, :, 0].any()
        assert pred.keypoints_hidden_all.shape == (1, FRAMES, JOINTS)
        assert pred.keypoints_hidden.equal(pred.keypoints_hidden_all[:, 4])
        hidden = torch.zeros(FRAMES, JOINTS).bool()
        if STAGES[stage][3]:
            hidden = data['inputs'][f'joint_mask_{source}'][i] | \
                data['inputs'][f'frame_mask_{source}'][i][:, None]
        assert pred.keypoints_hidden_all[0].equal(hidden)
        if source == '3d':  # what is known is kept
            truth = data['inputs']['keypoints_3d'][i]
            kept = pred.keypoints_3d_all[0][~hidden]
            assert kept.equal(truth[~hidden])
            assert not pred.keypoints_3d_all[0][hidden].equal(truth[hidden])


def test_prediction_of_all_frames_only_where_asked():
    _, preds = predict(build('lifting'), make_batch(masked=False))
    assert set(preds[0].keys()) == {'keypoints_3d', 'keypoints_hidden'}


def test_hidden_joints_may_be_nan():
    model = build('completion_3d', test_cfg=dict(flip_test=True))
    data = make_batch()
    expected, _ = predict(model, data)
    for poses, joints, frames in zip(data['inputs']['keypoints_3d'],
                                     data['inputs']['joint_mask_3d'],
                                     data['inputs']['frame_mask_3d']):
        poses[joints | frames[:, None]] = float('nan')
    actual, _ = predict(model, data)
    assert actual.isfinite().all() and actual.equal(expected)


def test_clips_do_not_see_each_other():
    model = build('completion_2d_to_3d')
    data = make_batch()
    expected, _ = predict(model, data)
    order = [2, 0, 3, 1]
    data = dict(
        inputs={
            k: [v[i] for i in order]
            for k, v in data['inputs'].items()
        },
        data_samples=data['data_samples'])
    torch.testing.assert_close(predict(model, data)[0], expected[order])


def mirror(poses):
    poses = poses[..., FLIP, :].clone()
    poses[..., 0] *= -1
    return poses


@pytest.mark.parametrize('stage', ['lifting', 'completion_2d_to_3d'])
def test_flip_test_of_a_mirrored_clip_is_the_mirrored_prediction(stage):
    model = build(stage, test_cfg=dict(flip_test=True, all_frames=True))
    data = make_batch(STAGES[stage][3])
    expected, expected_all = predict(model, data)
    once, _ = predict(build(stage), data)
    assert not torch.allclose(once, expected)
    inputs = data['inputs']
    inputs['keypoints_2d'] = [mirror(p) for p in inputs['keypoints_2d']]
    if 'joint_mask_2d' in inputs:
        inputs['joint_mask_2d'] = [m[:, FLIP] for m in inputs['joint_mask_2d']]
    actual, actual_all = predict(model, data)
    torch.testing.assert_close(actual, mirror(expected))
    for one, other in zip(actual_all, expected_all):
        torch.testing.assert_close(one.keypoints_3d_all,
                                   mirror(other.keypoints_3d_all))


def test_refinement():
    model = build('lifting', refiner=REFINER).train()
    data = model.data_preprocessor(make_batch(masked=False), True)
    losses = model(**data, mode='loss')
    assert list(losses) == [
        'loss_2d_to_3d', 'loss_2d_to_3d_target', 'loss_2d_to_3d_refined'
    ]
    sum(losses.values()).backward()
    assert all(p.grad is not None for p in model.parameters())

    data = make_batch(masked=False)
    refined, _ = predict(model, data)
    model.refiner = None
    plain, _ = predict(model, data)
    assert not refined[:, 0].any()
    assert refined[..., 2].equal(plain[..., 2])
    assert not torch.allclose(refined[..., :2], plain[..., :2])


def test_learns_a_clip():
    """A few steps of MMEngine's own training loop, under autocast."""
    model = build(
        'pretraining', backbone=dict(dropout=0., frame_dropout=0.)).train()
    optim = OptimWrapper(torch.optim.Adam(model.parameters(), 1e-2))
    data = make_batch()
    with torch.autocast('cpu', torch.bfloat16):
        losses = [
            model.train_step(copy.deepcopy(data), optim)['loss'].item()
            for _ in range(60)
        ]
    assert losses[-1] < losses[0] / 2


def test_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match=r"predict \['3d'\], but there are"):
        build('completion_3d', heads=DECODERS)
    with pytest.raises(ValueError, match=r"read \['3d'\], but the backbone"):
        build(
            'completion_2d_to_3d',
            heads={'3d': DECODERS['3d']},
            tasks=[dict(source='3d', target='3d')])
    with pytest.raises(ValueError, match='refiner follows lifting'):
        build('completion_2d_to_3d', refiner=REFINER)
    with pytest.raises(ValueError, match=r"3d from \['3d'\]"):
        build('pretraining', test_cfg=dict(source='2d'))
    with pytest.raises(ValueError, match=r"\['flip'\], too"):
        build('lifting', test_cfg=dict(flip=True))
    model = build('pretraining_with_lifting').eval()
    with pytest.raises(ValueError, match='test_cfg.source should say'):
        model.test_step(make_batch())
    model = build('lifting').eval()
    with pytest.raises(ValueError, match='some clips have no keypoints_2d'):
        model.test_step(
            make_batch(masked=False, has_2d=[True, True, False, True]))
