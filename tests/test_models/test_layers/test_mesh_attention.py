# Copyright (c) The mpm_postometro authors. All rights reserved.
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mpm_postometro.models.layers import MeshAttention
from mpm_postometro.models.layers.mesh_attention import split_mesh

JOINTS = 3


def grid_adjacency(rows=12, columns=12, isolated=2):
    """Vertices of a grid, each linked with its four neighbours; and some
    that are linked with none."""
    size = rows * columns + isolated
    adjacency = torch.eye(size, dtype=torch.bool)
    index = torch.arange(rows * columns).view(rows, columns)
    for a, b in ((index[1:], index[:-1]), (index[:, 1:], index[:, :-1])):
        adjacency[a, b] = adjacency[b, a] = True
    return adjacency


def masked_attention(query, key_value, heads, mask):

    def split(x):
        return x.unflatten(-1, (heads, -1)).transpose(1, 2)

    key, value = key_value.chunk(2, -1)
    scores = split(query) @ split(key).transpose(-1, -2)
    scores = scores / (query.shape[-1] // heads)**0.5
    scores = scores.masked_fill(~mask, float('-inf'))
    return (scores.softmax(-1) @ split(value)).transpose(1, 2).flatten(2)


def full_mask(adjacency, joints):
    mask = torch.ones([joints + len(adjacency)] * 2, dtype=torch.bool)
    mask[joints:, joints:] = adjacency
    return mask


@pytest.mark.parametrize('patch_size', [None, 7, 16])
@pytest.mark.parametrize('joints', [0, JOINTS])
def test_equals_dense_attention_with_a_mask(patch_size, joints):
    adjacency = grid_adjacency()
    attention = MeshAttention(adjacency, joints, patch_size).double()
    assert attention.use_patches == (patch_size is not None)
    tokens = attention.num_tokens
    query = torch.randn(2, tokens, 8, dtype=torch.double, requires_grad=True)
    pair = torch.randn(2, tokens, 16, dtype=torch.double, requires_grad=True)
    out = attention(query, pair, 2)
    expected = masked_attention(query, pair, 2, full_mask(adjacency, joints))
    torch.testing.assert_close(out, expected)
    weight = torch.randn_like(out)
    grads = torch.autograd.grad((out * weight).sum(), (query, pair))
    expected = torch.autograd.grad((expected * weight).sum(), (query, pair))
    for actual, wanted in zip(grads, expected):
        torch.testing.assert_close(actual, wanted)


@pytest.mark.parametrize('patch_size', [None, 16])
def test_gradients_reach_neighbours_and_joints_only(patch_size):
    adjacency = grid_adjacency()
    attention = MeshAttention(adjacency, JOINTS, patch_size)
    query = torch.randn(1, attention.num_tokens, 8)
    pair = torch.randn(1, attention.num_tokens, 16, requires_grad=True)
    vertex = 30
    attention(query, pair, 2)[0, JOINTS + vertex].sum().backward()
    reached = pair.grad[0].abs().sum(-1) > 0
    assert reached[:JOINTS].all()
    assert torch.equal(reached[JOINTS:], adjacency[vertex])
    # a joint sees everything
    pair.grad = None
    attention(query, pair, 2)[0, 0].sum().backward()
    assert (pair.grad[0].abs().sum(-1) > 0).all()


def test_strongly_linked_meshes_are_computed_densely():
    adjacency = torch.ones(60, 60, dtype=torch.bool)
    attention = MeshAttention(adjacency, JOINTS, 16)
    assert not attention.use_patches
    x = torch.randn(1, 63, 8)
    expected = F.scaled_dot_product_attention(x, x, x)
    torch.testing.assert_close(
        attention(x, torch.cat([x, x], -1), 1), expected)


def test_patches_cover_each_vertex_once():
    adjacency = grid_adjacency().numpy()
    patches = split_mesh(adjacency, 16)
    assert max(map(len, patches)) <= 16
    assert sorted(np.concatenate(patches)) == list(range(len(adjacency)))


def test_no_state_and_bad_adjacency():
    assert not MeshAttention(grid_adjacency(), JOINTS).state_dict()
    assert not MeshAttention(grid_adjacency(), JOINTS, None).state_dict()
    with pytest.raises(ValueError, match='symmetric'):
        MeshAttention(torch.eye(3).roll(1, 0), JOINTS)
