# Copyright (c) The mpm_postometro authors. All rights reserved.
import pytest
import torch
import torch.nn.functional as F

from mpm_postometro.models.layers import dropout
from mpm_postometro.models.layers.dropout import (Dropout,
                                                  attention_with_dropout,
                                                  random_keep)


@pytest.mark.parametrize('rate', [0.1, 0.2, 0.5, 0.9])
def test_rate_and_scale(rate):
    keep, factor = random_keep((301, 333), rate)
    assert keep.shape == (301, 333)
    # Every one of the four numbers of an integer has the same rate.
    for lane in range(4):
        share = keep.flatten()[lane::4].float().mean().item()
        assert share == pytest.approx(1 - rate, abs=0.015)
    assert factor == pytest.approx(1 / (1 - rate), rel=2e-4)
    again, _ = random_keep((301, 333), rate)
    assert not keep.equal(again)
    # Neighbours know nothing of each other.
    both = (keep[:, 1:] & keep[:, :-1]).float().mean().item()
    assert both == pytest.approx((1 - rate)**2, abs=0.01)


def test_seed_and_extremes():
    torch.manual_seed(3)
    keep, _ = random_keep((5, ), 0.5)
    torch.manual_seed(3)
    assert keep.equal(random_keep((5, ), 0.5)[0])
    keep, factor = random_keep((1000, ), 0.)
    assert keep.all() and factor == 1
    _, factor = random_keep((1000, ), 1 - 1e-9)
    assert factor == 2**16


def test_module():
    layer = Dropout(0.25)
    x = torch.randn(400, 50, requires_grad=True)
    out = layer(x)
    kept = out != 0
    assert kept.float().mean() == pytest.approx(0.75, abs=0.02)
    torch.testing.assert_close(out[kept], x[kept] / 0.75)
    out.sum().backward()
    torch.testing.assert_close(x.grad, kept / 0.75)
    assert layer.eval()(x).equal(x)
    assert Dropout(0.)(x).equal(x) and not Dropout(1.)(x).any()
    assert layer.train()(x.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize('masks', [0, 1, 3])
@pytest.mark.parametrize('chunk_numbers', [1, 100, 1 << 19])
def test_attention_is_the_formula_with_the_same_mask(monkeypatch,
                                                     chunk_numbers, masks):
    monkeypatch.setattr(dropout._AttentionWithDropout, 'chunk_numbers',
                        chunk_numbers)
    drawn = []

    def draw(shape, rate):
        drawn.append(random_keep(shape, rate))
        return drawn[-1]

    monkeypatch.setattr(dropout, 'random_keep', draw)
    tensors = [
        torch.randn(3, 2, length, 4, dtype=torch.float64, requires_grad=True)
        for length in (5, 7, 7)
    ]
    query, key, value = tensors
    mask = None
    scores = query @ key.transpose(-1, -2) / 2
    if masks:  # one for all samples, or one for each
        mask = torch.rand(masks, 1, 5, 7) < 0.5
        mask[..., 2] = True
        mask = torch.zeros(mask.shape).double().masked_fill(
            ~mask, float('-inf'))
        scores = scores + mask
    weights = scores.softmax(-1)
    out = attention_with_dropout(query, key, value, 0.3, mask)
    keep = torch.cat([k for k, _ in drawn]).view(3, 2, 5, 7)
    expected = (weights * keep * drawn[0][1]) @ value
    torch.testing.assert_close(out, expected)
    direction = torch.randn_like(out)
    for one, other in zip(
            torch.autograd.grad(out, tensors, direction),
            torch.autograd.grad(expected, tensors, direction)):
        torch.testing.assert_close(one, other)


def test_attention_on_average_is_attention_without_dropout():
    query, key, value = torch.randn(3, 1, 1, 6, 4)
    many = attention_with_dropout(
        *(x.expand(4000, 1, 6, 4) for x in (query, key, value)), 0.2)
    expected = F.scaled_dot_product_attention(query, key, value)[0]
    torch.testing.assert_close(many.mean(0), expected, rtol=0, atol=0.05)


def test_attention_refuses_bool_masks():
    x = torch.randn(1, 1, 2, 4)
    with pytest.raises(ValueError, match='got bool'):
        attention_with_dropout(x, x, x, .1, torch.ones(1, 1, 2, 2).bool())


def test_attention_in_half_precision():
    x = torch.randn(3, 2, 2, 5, 4, requires_grad=True)
    with torch.autocast('cpu', torch.bfloat16):
        out = attention_with_dropout(*x.bfloat16(), 0.1)
    out.float().sum().backward()
    assert x.grad.isfinite().all()
