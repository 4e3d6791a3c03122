# Copyright (c) The mpm_postometro authors. All rights reserved.
import pytest
import torch
from mmengine.logging import MMLogger

from mpm_postometro.models.backbones import MPM, visible_frames

SMALL = dict(
    num_frames=9,
    num_joints=5,
    channels=16,
    hidden_channels=24,
    feedforward_channels=20,
    num_layers=2,
    num_heads=2)


def build(**changes):
    torch.manual_seed(0)
    return MPM(**{**SMALL, **changes})


def masks(batch=3, hidden_frames=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    joint_mask = torch.rand(batch, 9, 5, generator=generator) < .4
    order = torch.rand(batch, 9, generator=generator).argsort(1)
    return joint_mask, order < hidden_frames


def poses(modality, batch=3):
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch, 9, 5, int(modality[0]), generator=generator)


@pytest.mark.parametrize('modality', ['2d', '3d'])
def test_a_batch_is_its_clips(modality):
    """Each with masks of its own; the published code has one mask for all."""
    net, x = build().eval(), poses(modality)
    joint_mask, frame_mask = masks()
    whole = net(x, modality, joint_mask, visible_frames(frame_mask))
    assert whole.shape == (3, 9, 16)
    for i in range(3):
        one = slice(i, i + 1)
        alone = net(x[one], modality, joint_mask[one],
                    visible_frames(frame_mask[one]))
        torch.testing.assert_close(whole[one], alone)


@pytest.mark.parametrize('training', [True, False])
def test_hidden_values_influence_nothing(training):
    net, x = build(dropout=0., frame_dropout=0.).train(training), poses('3d')
    joint_mask, frame_mask = masks()
    visible = visible_frames(frame_mask)
    hidden = joint_mask | frame_mask[..., None]
    expected = net(x, '3d', joint_mask, visible)
    x[hidden] = float('nan')
    out = net(x, '3d', joint_mask, visible)
    assert out.equal(expected)
    out.sum().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters()
               if p.grad is not None)


def test_visible_values_do_influence():
    net, x = build().eval(), poses('2d')
    joint_mask, frame_mask = masks()
    visible = visible_frames(frame_mask)
    before = net(x, '2d', joint_mask, visible)
    frame = visible[0, 0]
    joint = (~joint_mask[0, frame]).nonzero()[0, 0]
    x[0, frame, joint] += 1
    after = net(x, '2d', joint_mask, visible)
    assert not after[0].equal(before[0])
    assert after[1:].equal(before[1:])


def test_frames_come_back_in_order():
    """A visible frame's feature is in its own place, a token in the others'.

    Without layers a feature depends on its own frame alone."""
    net, x = build(num_layers=0).eval(), poses('2d')
    _, frame_mask = masks()
    whole = net(x, '2d')
    some = net(x, '2d', visible=visible_frames(frame_mask))
    torch.testing.assert_close(some[~frame_mask], whole[~frame_mask])
    token = (net.frame_token + net.second_position).expand(3, -1, -1)
    assert some[frame_mask].equal(token[frame_mask])


def test_all_frames_visible_is_no_frame_hidden():
    net, x = build().eval(), poses('2d')
    visible = torch.arange(9).expand(3, -1)
    torch.testing.assert_close(net(x, '2d', visible=visible), net(x, '2d'))


def test_both_modalities_share_all_but_the_first_layer():
    net = build()
    net(poses('2d'), '2d').sum().backward()
    without = {n for n, p in net.named_parameters() if p.grad is None}
    assert without == {
        'encoders.3d.linear.weight', 'encoders.3d.linear.bias',
        'encoders.3d.norm.weight', 'encoders.3d.norm.bias', 'joint_tokens.3d'
    }


def test_without_masking():
    net = build(masking=False, modalities=('2d', ))
    names = {name.split('.')[0] for name, _ in net.named_parameters()}
    assert names == {
        'encoders', 'residual', 'projection', 'position', 'layers'
    }
    net(poses('2d'), '2d').sum().backward()
    assert all(p.grad is not None for p in net.parameters())
    with pytest.raises(ValueError, match='masking=False'):
        net(poses('2d'), '2d', joint_mask=masks()[0])


def test_starts_from_a_pretraining(tmp_path, monkeypatch):
    """By config, whatever else is in the checkpoint."""
    trained = build()
    state = {f'backbone.{k}': v for k, v in trained.state_dict().items()}
    state['heads.2d.output.linear.weight'] = torch.ones(1)
    torch.save(dict(state_dict=state), tmp_path / 'pretrained.pth')
    init_cfg = dict(
        type='Pretrained',
        checkpoint=str(tmp_path / 'pretrained.pth'),
        prefix='backbone.')
    net = build(masking=False, modalities=('2d', ), init_cfg=init_cfg)
    torch.nn.init.zeros_(net.position)
    warnings = []
    logger = MMLogger.get_current_instance()
    monkeypatch.setattr(logger, 'warning', warnings.append)
    net.init_weights()
    assert not warnings  # tokens and the other modality are not missed
    for name, value in net.state_dict().items():
        assert value.equal(trained.state_dict()[name]), name


@pytest.mark.parametrize('changes, message', [
    (dict(num_frames=27), 'clips of 9 frames.*num_frames=27'),
    (dict(channels=32), '16 channels.*channels=32'),
    (dict(num_joints=6), 'another shape is .*encoders.2d.linear.weight'),
    (dict(num_layers=3), 'lacks .*layers.2.linear1.bias'),
    (dict(hidden_channels=32), 'another shape is .*residual'),
])
def test_a_pretraining_of_another_size(changes, message, tmp_path):
    """Nothing stays random behind a warning."""
    torch.save(build().state_dict(), tmp_path / 'pretrained.pth')
    checkpoint = str(tmp_path / 'pretrained.pth')
    net = build(
        masking=False,
        modalities=('2d', ),
        init_cfg=dict(type='Pretrained', checkpoint=checkpoint),
        **changes)
    with pytest.raises(ValueError, match=message):
        net.init_weights()
    without_tokens = build(masking=False).state_dict()
    torch.save(without_tokens, checkpoint)
    net = build(init_cfg=dict(type='Pretrained', checkpoint=checkpoint))
    with pytest.raises(ValueError, match='lacks .*frame_token'):
        net.init_weights()


def test_visible_frames():
    frame_mask = torch.tensor([[1, 0, 0, 1], [0, 1, 1, 0]]).bool()
    assert visible_frames(frame_mask).tolist() == [[1, 2], [0, 3]]
    with pytest.raises(ValueError, match=r'same number .* \[2, 1\]'):
        visible_frames(torch.tensor([[1, 0, 1], [0, 1, 0]]).bool())
    with pytest.raises(ValueError, match='all 3 frames are hidden'):
        visible_frames(torch.ones(2, 3).bool())


def test_refuses_other_sizes():
    with pytest.raises(ValueError, match=r'2d poses \(B, 9, 5, 2\), but got'):
        build()(torch.zeros(1, 8, 5, 2), '2d')
    with pytest.raises(ValueError, match='modalities should be some of'):
        build(modalities=('2d', '4d'))
