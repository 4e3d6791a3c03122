# Copyright (c) The mpm_postometro authors. All rights reserved.
import sys

import pytest
import torch
from mmpose.registry import MODELS
from torch import nn

pytest.importorskip('timm', reason='TimmSwinV2 builds on timm')

SMALL = dict(
    embed_dim=16,
    depths=(2, 2, 2, 1),
    num_heads=(1, 2, 4, 8),
    img_size=128,
    window_size=(8, 8, 8, 4),
    pretrained_window_sizes=(6, 6, 6, 3))


def build(**kwargs):
    return MODELS.build({'type': 'TimmSwinV2', **SMALL, **kwargs})


def test_map_and_gradients():
    model = build(drop_path_rate=0.).train()
    images = torch.randn(2, 3, 128, 128)
    outputs = model(images)
    assert len(outputs) == 1 and outputs[0].shape == (2, 128, 4, 4)
    assert outputs[0].is_contiguous()
    # Residual branches start at zero by their norms, which get the gradient.
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            assert module.eps == 1e-6
            nn.init.ones_(module.weight)
    model(images)[0].square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.any(), name
    # All that is stored can be trained: no tables, and no classifier.
    assert model.state_dict().keys() == dict(model.named_parameters()).keys()


def test_checkpointing_changes_no_gradient():
    plain, saving = build(drop_path_rate=0.), build(
        drop_path_rate=0., with_cp=True)
    saving.load_state_dict(plain.state_dict())
    images = torch.randn(1, 3, 128, 128)
    grads = []
    for model in (plain, saving):
        model.train()(images)[0].square().sum().backward()
        grads.append(model.layers[0].blocks[1].norm1.weight.grad)
    assert grads[0].any()
    torch.testing.assert_close(*grads)
    # Only where there is a backward pass to save memory for.
    assert all(stage.grad_checkpointing for stage in saving.layers)
    assert not any(s.grad_checkpointing for s in saving.eval().layers)
    half = build(with_cp=True, frozen_stages=2).train()
    assert [s.grad_checkpointing for s in half.layers] == [0, 0, 1, 1]


@pytest.mark.parametrize('frozen', [-1, 0, 2, 4, 5])
def test_frozen_stages(frozen):
    model = build(frozen_stages=frozen).train()
    parts = dict(patch_embed=model.patch_embed)
    parts.update({f'layer{i}': layer for i, layer in enumerate(model.layers)})
    parts.update(norm=model.norm)
    for i, (name, part) in enumerate(parts.items()):
        still = i <= frozen
        assert all(m.training != still for m in part.modules()), name
        assert all(p.requires_grad != still for p in part.parameters()), name


def test_wholly_frozen_is_repeatable_and_without_graph():
    model = build(frozen_stages=5, drop_path_rate=0.9).train()
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            nn.init.ones_(module.weight)
    images = torch.randn(2, 3, 128, 128)
    first, second = model(images)[0], model(images)[0]
    assert first.equal(second) and not first.requires_grad
    # The same numbers are random where nothing is frozen.
    moving = build(drop_path_rate=0.9).train()
    moving.load_state_dict(model.state_dict())
    assert not moving(images)[0].equal(moving(images)[0])


def test_weights_from_a_checkpoint(tmp_path):
    source = build()
    nn.init.normal_(source.norm.weight)
    state = {f'backbone.{k}': v for k, v in source.state_dict().items()}
    path = str(tmp_path / 'heatmap.pth')
    torch.save(dict(state_dict=state), path)
    model = build(
        init_cfg=dict(type='Pretrained', checkpoint=path, prefix='backbone.'))
    model.init_weights()
    for key, value in source.state_dict().items():
        assert model.state_dict()[key].equal(value), key


@pytest.mark.parametrize('change, message', [
    (dict(img_size=192), 'stage 2 .* one window .*192 .* 12 cells .* 8'),
    (dict(img_size=100), 'stage 0 .* 25 cells'),
    (dict(img_size=130), 'stage 0 .* 32.5 cells'),
    (dict(window_size=(12, 8, 8, 4)), 'stage 0 .* several .* 32 cells .* 12'),
    (dict(window_size=(8, 16, 8, 4)), 'stage 1 .* several .* 16 cells .* 16'),
    (dict(window_size=(8, 8, 4, 4)), 'stage 2 .* one window'),
    (dict(window_size=(8, 8, 8, 8)), 'stage 3 .* one window'),
    (dict(window_size=(8, 8, 8)), 'window_size .* each of the 4 stages'),
    (dict(num_heads=(1, 2)), 'num_heads .* each of the 4 stages'),
    (dict(frozen_stages=6), r'frozen_stages .* \[-1, 5\], but got 6'),
])
def test_sizes_that_do_not_fit_are_refused(change, message):
    with pytest.raises(ValueError, match=message):
        build(**change)


def test_other_images_are_refused():
    with pytest.raises(ValueError, match=r'128, 128\) by img_size.*96'):
        build()(torch.zeros(1, 3, 96, 128))


def test_missing_timm_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, 'timm.models.swin_transformer_v2', None)
    with pytest.raises(ImportError, match='pip install "timm'):
        build()
