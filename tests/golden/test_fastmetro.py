# Copyright (c) The mpm_postometro authors. All rights reserved.
"""FastMETRO, as the head without pose tokens, against the published code's
numbers."""
import pytest
import torch
from mesh_networks import (Golden, assert_close, assert_prediction,
                           golden_files, head_args, record_outputs)

from mpm_postometro.models.heads import (PostoMETROHead,
                                         head_state_from_official)
from mpm_postometro.models.layers import sine_position_code


@pytest.fixture(params=golden_files('fastmetro_*.npz'), scope='module')
def golden(request):
    return Golden(request.param)


# patch sizes: dense attention with the mask, and patches of the mesh
@pytest.fixture(params=[None, 16, 32], scope='module')
def head(request, golden):
    head = PostoMETROHead(
        **head_args(golden), use_pose_tokens=False, patch_size=request.param)
    head.load_state_dict(head_state_from_official(golden.group('state/')))
    return head.eval()


@pytest.mark.parametrize('size', ['7x7', '8x8'])
def test_outputs(golden, head, size):
    kept = record_outputs(t1=head.transformers[0], t2=head.transformers[1])
    prediction = head((golden[f'in/feat_{size}'], ))
    assert_prediction(prediction, golden, f'{size}/')
    for stage, tokens in kept.items():
        for name, actual in zip(('cam', 'enc_img', 'jv'), tokens):
            assert_close(
                actual.transpose(0, 1),
                golden[f'out/{size}/{stage}_{name}_features'],
                f'{stage} {name}')


def test_position_code(golden):
    for key, expected in golden.group('out/pos_enc/').items():
        size, dim = key.split('_dim')
        height, width = map(int, size.split('x'))
        code = sine_position_code(height, width, int(dim))
        assert_close(code[None], expected, key)


def test_mask(golden):
    """Dense masks block what the published one blocks."""
    head = PostoMETROHead(
        **head_args(golden), use_pose_tokens=False, patch_size=None)
    mask = head.mesh_attention.mask[0, 0]
    assert torch.equal(mask == float('-inf'), golden['out/attention_mask'])
    assert torch.equal(mask == 0, ~golden['out/attention_mask'])


def test_patches_are_used_on_the_published_mesh_size(golden):
    head = PostoMETROHead(**head_args(golden), use_pose_tokens=False)
    assert head.mesh_attention.use_patches == (
        golden.cfg['num_vertices'] == 431)
