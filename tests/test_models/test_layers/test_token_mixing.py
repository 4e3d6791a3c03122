# Copyright (c) The mpm_postometro authors. All rights reserved.
import pytest
import torch
import torch.nn.functional as F

from mpm_postometro.models.layers import (MixerLayer, mix_tokens,
                                          normed_channel_mlp, normed_token_mlp,
                                          token_mixing)


def _parameters(tokens=5, channels=3, hidden=4, dtype=torch.float64):
    """Those of an MLP over so many tokens, and of the norm before it."""
    generator = torch.Generator().manual_seed(0)
    shapes = ((channels, ), (channels, ), (hidden, tokens), (hidden, ),
              (tokens, hidden), (tokens, ))
    return [
        torch.randn(shape, generator=generator, dtype=dtype).requires_grad_()
        for shape in shapes
    ]


def _mlp(x, gain, shift, up, up_bias, down, down_bias):
    return normed_token_mlp(x, gain, shift, 1e-5, up, up_bias, down, down_bias)


def _turned(x, gain, shift, up, up_bias, down, down_bias):
    """The same with the token axis last, as it is published."""
    x = F.layer_norm(x, x.shape[-1:], gain, shift, 1e-5).transpose(1, 2)
    x = F.linear(F.gelu(F.linear(x, up, up_bias)), down, down_bias)
    return x.transpose(1, 2)


@pytest.mark.parametrize('per_channel', [False, True])
def test_mix_tokens_is_a_linear_layer_over_tokens(per_channel):
    torch.manual_seed(0)
    x, weight = torch.randn(2, 5, 3), torch.randn(7, 5)
    bias = torch.randn(7, 3) if per_channel else torch.randn(7)
    expected = torch.einsum('mn,bnd->bmd', weight, x)
    expected += bias if per_channel else bias[:, None]
    torch.testing.assert_close(mix_tokens(x, weight, bias), expected)


# One piece, pieces of one sample, and a last piece that is smaller.
@pytest.mark.parametrize('piece', [10**6, 1, 24])
def test_token_mlp_and_its_gradients(piece, monkeypatch):
    monkeypatch.setattr(token_mixing, '_PIECE', piece)
    torch.manual_seed(0)
    parameters = _parameters()
    x = torch.randn(5, 5, 3, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(_mlp(x, *parameters), _turned(x, *parameters))
    assert torch.autograd.gradcheck(_mlp, (x, *parameters))
    # A gradient that is not contiguous, as that of a transposed result.
    weight = torch.randn(5, 3, 5, dtype=torch.float64).transpose(1, 2)
    for ours, expected in zip(
            torch.autograd.grad((_mlp(x, *parameters) * weight).sum(),
                                (x, *parameters)),
            torch.autograd.grad((_turned(x, *parameters) * weight).sum(),
                                (x, *parameters))):
        torch.testing.assert_close(ours, expected)


def test_channel_mlp_and_its_gradients():
    torch.manual_seed(0)
    parameters = _parameters(tokens=3, channels=3)

    def ours(x, gain, shift, *weights):
        return normed_channel_mlp(x, gain, shift, 1e-5, *weights)

    def plain(x, gain, shift, up, up_bias, down, down_bias):
        x = F.layer_norm(x, x.shape[-1:], gain, shift, 1e-5)
        return F.linear(F.gelu(F.linear(x, up, up_bias)), down, down_bias)

    x = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(ours(x, *parameters), plain(x, *parameters))
    assert torch.autograd.gradcheck(ours, (x, *parameters))
    weight = torch.randn(2, 3, 5, dtype=torch.float64).transpose(1, 2)
    for one, other in zip(
            *(torch.autograd.grad((f(x, *parameters) *
                                   weight).sum(), (x, *parameters))
              for f in (ours, plain))):
        torch.testing.assert_close(one, other)


def test_empty_batch():
    parameters = _parameters(dtype=torch.float32)
    assert _mlp(torch.zeros(0, 5, 3), *parameters).shape == (0, 5, 3)


def test_recomputing_layer_equals_plain_layer_and_keeps_less():
    torch.manual_seed(0)
    plain = MixerLayer(17, 8, 64, 16)
    saving = MixerLayer(17, 8, 64, 16, recompute=True)
    saving.load_state_dict(plain.state_dict(), strict=True)
    x = torch.randn(4, 17, 8)
    grads, kept = [], []
    for layer in (plain, saving):
        sizes = []
        with torch.autograd.graph.saved_tensors_hooks(
                lambda t: sizes.append(t.numel()) or t, lambda t: t):
            y = layer(x)
        y.square().sum().backward()
        kept.append(sum(sizes))
        grads.append([y, *(p.grad for p in layer.parameters())])
    for one, other in zip(*grads):
        torch.testing.assert_close(one, other)
    # Neither side of the hidden layer over tokens (B, 64, 8), one side of
    # that over channels (B, 17, 16).
    assert kept[0] - kept[1] >= 4 * (2 * 64 * 8 + 17 * 16)


def test_recompute_refuses_dropout():
    with pytest.raises(ValueError, match='dropout'):
        MixerLayer(4, 4, 4, 4, dropout=0.1, recompute=True)
