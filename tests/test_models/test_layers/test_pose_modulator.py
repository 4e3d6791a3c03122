# Copyright (c) The mpm_postometro authors. All rights reserved.
import pytest
import torch

from mpm_postometro.models.layers import FCBlock, PoseModulator

B, N, D, OUT = 2, 5, 8, 12
VARIANTS = [
    dict(),
    dict(order='paper'),
    dict(kind='linear'),
    dict(num_blocks=1, hidden_dim=6, channel_hidden_dim=10),
]


@pytest.fixture
def inputs():
    return torch.randn(B, N, D), torch.randn(B, N, 1)


@pytest.mark.parametrize('variant', VARIANTS)
def test_every_part_takes_part(variant, inputs):
    modulator = PoseModulator(D, N, OUT, **variant)
    tokens, confidence = (x.requires_grad_() for x in inputs)
    out = modulator(tokens, confidence)
    assert out.shape == (B, N, OUT)
    (out * torch.randn_like(out)).sum().backward()
    for name, parameter in modulator.named_parameters():
        assert parameter.grad is not None, name
    assert confidence.grad.abs().sum() > 0 and tokens.grad.abs().sum() > 0


def test_confidence_comes_after_the_mixers_in_code_order(inputs):
    tokens, confidence = inputs
    seen = {}
    for order in ('code', 'paper'):
        modulator = PoseModulator(D, N, OUT, order=order)
        modulator.mixers.register_forward_hook(
            lambda module, args, out: seen.update(mixed=out))
        modulator(tokens, confidence)
        before = seen['mixed'].clone()
        modulator(tokens, confidence + 1)
        assert torch.equal(before, seen['mixed']) == (order == 'code')


def test_last_layer_and_number_of_blocks():
    modulator = PoseModulator(D, N, OUT, num_blocks=2)
    assert len(modulator.mixers) == 2
    assert isinstance(modulator.proj, FCBlock)


@pytest.mark.parametrize('bad', [dict(kind='conv'), dict(order='before')])
def test_unknown_variants(bad):
    with pytest.raises(ValueError, match=list(bad.values())[0]):
        PoseModulator(D, N, OUT, **bad)
