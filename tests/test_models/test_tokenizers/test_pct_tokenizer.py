# Copyright (c) The mpm_postometro authors. All rights reserved.
import pytest
import torch

from mpm_postometro.models.tokenizers import (PCTTokenizer,
                                              sample_joint_features)


def build(**kwargs):
    torch.manual_seed(0)
    cfg = dict(
        num_joints=5,
        num_tokens=6,
        num_codes=16,
        token_dim=8,
        encoder=dict(num_blocks=2, channels=12, channel_hidden=10),
        decoder=dict(channels=10))
    tokenizer = PCTTokenizer(**{**cfg, **kwargs})
    # The published start is near zero, where codes hardly differ.
    tokenizer.quantizer.codebook.normal_(0, 0.5)
    return tokenizer


def test_default_sizes_are_the_published_ones():
    tokenizer = PCTTokenizer()
    shapes = {k: tuple(v.shape) for k, v in tokenizer.state_dict().items()}
    assert shapes['start_embed.weight'] == (512, 2)
    assert shapes['invisible_token'] == (1, 1, 512)
    assert shapes['encoder.3.MLP_token.ff.0.weight'] == (64, 17)
    assert shapes['encoder.3.MLP_channel.ff.3.weight'] == (512, 512)
    assert 'encoder.4.layernorm1.weight' not in shapes
    assert shapes['token_mlp.weight'] == (34, 17)
    assert shapes['quantizer.codebook'] == (2048, 512)
    assert shapes['decoder_token_mlp.weight'] == (17, 34)
    assert shapes['decoder.0.MLP_channel.ff.0.weight'] == (64, 32)
    assert 'decoder.1.layernorm1.weight' not in shapes
    assert shapes['recover_embed.weight'] == (2, 32)
    assert tokenizer.invisible_token.abs().max() <= 0.02
    assert tokenizer.joint_drop == 0.2
    assert tokenizer.quantizer.decay == 0.9
    assert tokenizer.quantizer.kmeans_iters == 0
    assert tokenizer.quantizer.revive_threshold == 0


@pytest.mark.parametrize('dims', [2, 3])
def test_shapes_and_round_trip(dims):
    tokenizer = build(coord_dims=dims).eval()
    joints = torch.rand(4, 5, dims) * 256
    output = tokenizer(joints, torch.ones(4, 5))
    assert output.joints.shape == (4, 5, dims)
    assert output.codes.shape == (4, 6)
    # All visible by default; codes, their vectors and forward() agree.
    encoded = tokenizer.encode(joints)
    assert encoded.codes.equal(output.codes)
    torch.testing.assert_close(
        tokenizer.decode(tokenizer.codebook[encoded.codes]), output.joints)
    torch.testing.assert_close(tokenizer.decode(encoded.codes), output.joints)
    torch.testing.assert_close(
        tokenizer.decode(encoded.codes.int()), output.joints)


def test_samples_are_independent():
    tokenizer = build().eval()
    joints, visible = torch.rand(7, 5, 2) * 256, torch.rand(7, 5).round()
    order = torch.randperm(7)
    output = tokenizer(joints, visible)
    shuffled = tokenizer(joints[order], visible[order])
    torch.testing.assert_close(shuffled.joints, output.joints[order])
    assert shuffled.codes.equal(output.codes[order])


def test_invisible_joints_do_not_count():
    tokenizer = build().eval()
    joints = torch.rand(3, 5, 2) * 256
    visible = torch.tensor([[1., 0, 1, 0, 1]]).expand(3, -1)
    latents = tokenizer.encode_latents(joints, visible)
    other = joints.clone()
    other[:, [1, 3]] = float('nan')
    assert tokenizer.encode_latents(other, visible).equal(latents)
    assert not tokenizer.encode_latents(joints).equal(latents)

    tokenizer.train()
    tokenizer.joint_drop = 0.
    tokenizer.encode_latents(other, visible).sum().backward()
    assert tokenizer.start_embed.weight.grad.isfinite().all()
    assert tokenizer.invisible_token.grad.abs().sum() > 0


def test_joint_drop_only_in_training():
    tokenizer = build(joint_drop=0.3)
    joints = torch.rand(2000, 5, 2) * 256
    seen = []
    tokenizer.encoder.register_forward_pre_hook(lambda _, inputs: seen.append(
        (inputs[0] != tokenizer.invisible_token).any(-1)))
    tokenizer.eval().encode_latents(joints)
    assert seen[-1].all()
    tokenizer.train().encode_latents(joints)
    assert 1 - seen[-1].float().mean() == pytest.approx(0.3, abs=0.02)
    visible = torch.zeros(2000, 5)
    tokenizer.encode_latents(joints, visible)
    assert not seen[-1].any()


def test_coordinate_scale():
    plain = build().eval()
    scaled = build(coord_scale=64., coord_offset=(96, 128)).eval()
    assert set(scaled.state_dict()) - set(plain.state_dict()) == {
        'coord_scale', 'coord_offset'
    }
    state = dict(plain.state_dict())
    with pytest.raises(RuntimeError, match='coord_scale'):
        scaled.load_state_dict(state)  # else silently of another scale
    scaled.load_state_dict(state, strict=False)
    joints = torch.rand(3, 5, 2)
    offset = torch.tensor([96., 128.])
    output = scaled(joints * 64 + offset)
    assert output.codes.equal(plain(joints).codes)
    torch.testing.assert_close(output.joints,
                               plain(joints).joints * 64 + offset)


def test_guidance():
    tokenizer = build(guide_ratio=0.25, guide_channels=7).eval()
    assert tokenizer.start_img_embed.out_features == 3
    assert tokenizer.start_embed.out_features == 9
    joints = torch.rand(2, 5, 2)
    feats = torch.randn(2, 5, 7, requires_grad=True)
    latents = tokenizer.encode_latents(joints, img_feats=feats)
    assert torch.autograd.grad(latents.sum(), feats)[0].abs().sum() > 0
    with pytest.raises(ValueError, match='guided by image features'):
        tokenizer(joints)
    with pytest.raises(ValueError, match=r'img_feats \(2, 5, 7\)'):
        tokenizer(joints, img_feats=feats[..., :3])
    with pytest.raises(ValueError, match='not guided'):
        build()(joints, img_feats=feats)


def test_sample_joint_features():
    feature_map = torch.arange(2 * 3 * 4 * 8.).view(2, 3, 4, 8)
    # Stride 8 in x and 16 in y of a 64 x 64 image; the nearest cell is that
    # whose corner is nearest, as published.
    joints = torch.tensor([[11.9, 0.], [12.1, 8.1], [63., 63.], [-50., 900.],
                           [float('nan'), 0.]])
    cells = [(0, 1), (1, 2), (3, 7), (3, 0), (0, 0)]
    feats = sample_joint_features(feature_map, joints.expand(2, -1, -1),
                                  (64, 64))
    for i, (row, column) in enumerate(cells):
        assert feats[:, i].equal(feature_map[:, :, row, column])


def test_broken_input():
    tokenizer = build().eval()
    with pytest.raises(ValueError, match=r'joints \(B, 5, 2\)'):
        tokenizer(torch.zeros(2, 4, 2))
    with pytest.raises(ValueError, match=r'joints \(B, 5, 2\)'):
        tokenizer(torch.zeros(2, 5, 3))
    with pytest.raises(ValueError, match=r'visible \(2, 5\)'):
        tokenizer(torch.zeros(2, 5, 2), torch.ones(2, 5, 1))
    with pytest.raises(ValueError, match=r'\[0, 16\), but got 3 to 16'):
        tokenizer.decode(torch.tensor([[3, 4, 5, 6, 7, 16]]))
    with pytest.raises(ValueError, match='got -1 to 7'):
        tokenizer.decode(torch.tensor([[3, 4, 5, 6, 7, -1]]))
    with pytest.raises(ValueError, match=r'codes \(B, 6\)'):
        tokenizer.decode(torch.zeros(2, 5, dtype=torch.long))
    with pytest.raises(ValueError, match=r'\(B, 6, 8\)'):
        tokenizer.decode(torch.zeros(2, 6, 7))
    for kwargs in (dict(guide_ratio=1.5), dict(guide_ratio=0.5),
                   dict(coord_offset=1.), dict(coord_scale=(1, 2, 3)),
                   dict(coord_scale=0.)):
        with pytest.raises(ValueError):
            build(**kwargs)


def test_state_dict_round_trip():
    tokenizer = build().train()
    tokenizer(torch.rand(8, 5, 2) * 256)
    other = build()
    other.load_state_dict(tokenizer.state_dict())
    joints = torch.rand(3, 5, 2) * 256
    first, second = tokenizer.eval()(joints), other.eval()(joints)
    assert first.codes.equal(second.codes)
    assert first.joints.equal(second.joints)


def test_learns_to_reconstruct():
    """A few hundred steps on three poses: the codes tell them apart."""
    tokenizer = build(
        coord_scale=128.,
        coord_offset=128.,
        joint_drop=0.,
        quantizer=dict(kmeans_iters=5, revive_threshold=0.02)).train()
    poses = torch.rand(3, 5, 2) * 256
    optimizer = torch.optim.AdamW(tokenizer.parameters(), 3e-3)
    for _ in range(300):
        joints = poses[torch.randint(3, (16, ))]
        output = tokenizer(joints)
        loss = (output.joints - joints).abs().mean() + output.latent_loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    output = tokenizer.eval()(poses)
    spread = (poses - poses.mean(0)).abs().mean()
    assert (output.joints - poses).abs().mean() < 0.15 * spread
    assert len(set(map(tuple, output.codes.tolist()))) == 3


def test_nan_counts_as_invisible_and_spoils_nothing():
    tokenizer = build(joint_drop=0.).eval()
    joints = torch.randn(4, 5, 2)
    visible = torch.ones(4, 5)
    visible[1, 2] = 0
    expected = tokenizer(joints, visible)
    joints[1, 2, 1] = float('nan')
    output = tokenizer(joints, torch.ones(4, 5))
    torch.testing.assert_close(output.joints, expected.joints)
    tokenizer.train()
    tokenizer(joints).joints.sum().backward()
    assert tokenizer.codebook.isfinite().all()
    assert all(p.grad is None or p.grad.isfinite().all()
               for p in tokenizer.parameters())


@pytest.mark.parametrize('guided', [False, True])
def test_precision_is_that_of_the_weights(guided):
    kwargs = dict(guide_ratio=0.5, guide_channels=3) if guided else {}
    tokenizer = build(joint_drop=0., **kwargs).train()
    joints = 100 * torch.randn(4, 5, 2)
    feats = torch.randn(4, 5, 3) if guided else None
    state = {k: v.clone() for k, v in tokenizer.state_dict().items()}
    expected = tokenizer(joints, img_feats=feats)
    codebook = tokenizer.codebook.clone()
    latents = tokenizer.encode_latents(joints, img_feats=feats)
    tokenizer.load_state_dict(state)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        output = tokenizer(joints, img_feats=feats)
        assert tokenizer.encode_latents(joints, img_feats=feats).equal(latents)
        # As a layer in half precision would hand them over.
        half = tokenizer.decode(output.codes)
    assert output.joints.equal(expected.joints)
    assert output.codes.equal(expected.codes)
    assert tokenizer.codebook.equal(codebook)
    assert half.dtype == torch.float32

    double = tokenizer.double()
    assert double(joints, img_feats=feats).joints.dtype == torch.float64
