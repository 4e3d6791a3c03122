# Copyright (c) The mpm_postometro authors. All rights reserved.
import pytest
import torch
from torch import nn

from mpm_postometro.models.layers import (Attention, DecoderLayer,
                                          EncoderDecoder, MeshAttention)

DIM, HEADS, JOINTS, VERTICES = 16, 4, 2, 12


def ring(size):
    eye = torch.eye(size, dtype=torch.bool)
    return eye | eye.roll(1, 0) | eye.roll(-1, 0)


@pytest.fixture
def mesh_attention():
    return MeshAttention(ring(VERTICES), JOINTS)


def official_attention(attention):
    """torch's module with the same weights, loaded without renaming."""
    official = nn.MultiheadAttention(DIM, HEADS, batch_first=True)
    official.load_state_dict(attention.state_dict())
    return official


def randomise(module):
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module


def test_self_attention_equals_torch():
    attention = randomise(Attention(DIM, HEADS))
    x, code = torch.randn(3, 5, DIM), torch.randn(1, 5, DIM)
    expected = official_attention(attention)(x + code, x + code, x)[0]
    torch.testing.assert_close(attention(x, code=code), expected)
    expected = official_attention(attention)(x, x, x)[0]
    torch.testing.assert_close(attention(x), expected)


def test_cross_attention_equals_torch():
    attention = randomise(Attention(DIM, HEADS))
    x, memory = torch.randn(3, 7, DIM), torch.randn(3, 5, DIM)
    code = torch.randn(1, 5, DIM)
    expected = official_attention(attention)(x, memory + code, memory)[0]
    query = attention.project_query(x)
    torch.testing.assert_close(
        attention.attend_to(query, memory, code), expected)
    expected = official_attention(attention)(x, memory, memory)[0]
    torch.testing.assert_close(attention.attend_to(query, memory), expected)


def test_heads_must_divide_width():
    with pytest.raises(ValueError, match='3 heads'):
        Attention(DIM, 3)


def build(**kwargs):
    return EncoderDecoder(DIM, HEADS, 24, 2, **kwargs)


def tokens(batch=3, context=6):
    return (torch.randn(1, 1, DIM), torch.randn(batch, context, DIM),
            torch.randn(1, JOINTS + VERTICES, DIM), torch.randn(1, 4, DIM))


def test_shared_queries_give_what_copies_give(mesh_attention):
    transformer = build(dropout=0.).train()
    camera, context, queries, code = tokens()
    shared = transformer(camera, context, queries, code, mesh_attention)
    copied = transformer(
        camera.expand(3, -1, -1), context, queries.expand(3, -1, -1), code,
        mesh_attention)
    for actual, expected in zip(shared, copied):
        assert actual.shape[0] == 3
        torch.testing.assert_close(actual, expected)


def test_samples_draw_their_own_dropout(mesh_attention):
    transformer = build(dropout=0.5).train()
    kept = []
    transformer.decoder.layers[0].self_attn.register_forward_hook(
        lambda module, args, out: kept.append(out))
    camera, context, queries, code = tokens(batch=2)
    transformer(camera, context[:1].expand(2, -1, -1), queries, code,
                mesh_attention)
    assert not torch.allclose(kept[0][0], kept[0][1])


@pytest.mark.parametrize('attention_dropout,expected', [(None, 0.3), (0., 0.)])
def test_attention_dropout(attention_dropout, expected):
    transformer = build(dropout=0.3, attention_dropout=attention_dropout)
    rates = {m.dropout for m in transformer.modules()
             if isinstance(m, Attention)}  # yapf: disable
    assert rates == {expected}


def test_code_is_for_the_first_context_tokens(mesh_attention):
    """Swapping tokens without a code changes nothing but their order;
    swapping tokens with one does."""
    transformer = build(dropout=0.).eval()
    camera, context, queries, code = tokens()
    _, encoded, decoded = transformer(camera, context, queries, code,
                                      mesh_attention)

    def swapped(i, j):
        order = list(range(context.shape[1]))
        order[i], order[j] = j, i
        out = transformer(camera, context[:, order], queries, code,
                          mesh_attention)
        return out[1][:, order], out[2]

    for actual, expected in zip(swapped(4, 5), (encoded, decoded)):
        torch.testing.assert_close(actual, expected)
    assert (swapped(0, 1)[1] - decoded).abs().max() > 1e-4


def test_decoder_sees_the_context_but_not_the_camera(mesh_attention):
    transformer = build(dropout=0.).eval()
    camera, context, queries, code = tokens()
    kept = {}
    transformer.decoder.register_forward_hook(
        lambda module, args, out: kept.update(memory=args[1]))
    _, encoded, _ = transformer(camera, context, queries, code, mesh_attention)
    assert torch.equal(kept['memory'], encoded)
    assert encoded.shape == context.shape


def test_mask_blocks_in_a_decoder_layer(mesh_attention):
    layer = DecoderLayer(DIM, HEADS, 24, 0., 0.).eval()
    x = torch.randn(1, JOINTS + VERTICES, DIM, requires_grad=True)
    memory = torch.randn(1, 5, DIM)
    layer(x, memory, None, mesh_attention)[0, JOINTS].sum().backward()
    reached = x.grad[0].abs().sum(-1) > 0
    assert reached[:JOINTS].all()
    assert torch.equal(reached[JOINTS:], ring(VERTICES)[0])


def test_checkpointing_changes_no_gradient(mesh_attention):
    transformer = build(dropout=0.).train()
    args = tokens()

    def gradients(with_cp):
        for stack in (transformer.encoder, transformer.decoder):
            stack.with_cp = with_cp
        transformer.zero_grad()
        transformer(*args, mesh_attention)[2].square().sum().backward()
        return [p.grad.clone() for p in transformer.decoder.parameters()]

    for actual, expected in zip(gradients(True), gradients(False)):
        torch.testing.assert_close(actual, expected)
