# Copyright (c) The mpm_postometro authors. All rights reserved.
import copy
import io

import pytest
import torch
from mmengine.model import ExponentialMovingAverage

from mpm_postometro.bodies import load_body
from mpm_postometro.bodies.cameras import weak_perspective_project
from mpm_postometro.models.heads import (PostoMETROHead, from_official_key,
                                         head_state_from_official)

B, N, D, JOINTS = 2, 5, 12, 14
SIZES = dict(
    in_channels=6,
    token_dim=D,
    num_tokens=N,
    hidden_dims=(16, 8),
    feedforward_dims=(24, 16),
    num_layers=1,
    num_heads=2,
    dropout=0.)
VARIANTS = dict(
    both=dict(),
    image_only=dict(use_pose_tokens=False),
    pose_only=dict(use_image_tokens=False),
    released=dict(official_compat=True, learned_upsample=True),
    paper_order=dict(pose_modulator=dict(order='paper', num_blocks=1)),
    linear=dict(pose_modulator=dict(kind='linear')),
    image_mixers=dict(image_modulator=dict(feat_size=(3, 4), num_blocks=1)),
    one_transformer=dict(
        hidden_dims=(16, ), feedforward_dims=(24, ), num_heads=4),
    three_transformers=dict(
        hidden_dims=(16, 8, 8), feedforward_dims=(8, 8, 8)),
    different_heads=dict(num_heads=(4, 2)),
    template=dict(template_init=True),
    pose_position_code=dict(pose_position_code=True),
    paper_projection=dict(projection='paper'),
)


@pytest.fixture(scope='module')
def body():
    return load_body()


@pytest.fixture
def inputs():
    return ((torch.randn(B, 6, 3,
                         4), ), (torch.randn(B, N, D), torch.randn(B, N,
                                                                   1), None))


@pytest.mark.parametrize('name', VARIANTS)
def test_variants(name, body, inputs):
    head = PostoMETROHead(body=body, **dict(SIZES, **VARIANTS[name]))
    prediction = head(*inputs)
    assert prediction.camera.shape == (B, 3)
    assert prediction.joints_3d.shape == (B, JOINTS, 3)
    sizes = [level.shape for level in prediction.vertices]
    assert sizes == [(B, v, 3) for v in reversed(body.levels.sizes)]
    (prediction.camera.sum() + prediction.joints_3d.square().sum() +
     prediction.vertices[-1].square().sum()).backward()
    for key, parameter in head.named_parameters():
        assert parameter.grad is not None, key


@pytest.mark.parametrize('name', ['both', 'released', 'template'])
def test_persons_do_not_mix(name, body, inputs):
    head = PostoMETROHead(body=body, **dict(SIZES, **VARIANTS[name])).eval()
    feats, tokens = inputs
    prediction = head(*inputs)
    turned = head((feats[0].flip(0), ), [x.flip(0) for x in tokens[:2]])
    torch.testing.assert_close(turned.camera.flip(0), prediction.camera)
    torch.testing.assert_close(turned.joints_3d.flip(0), prediction.joints_3d)
    torch.testing.assert_close(turned.vertices[-1].flip(0),
                               prediction.vertices[-1])


def test_both_kinds_of_tokens_matter(body, inputs):
    head = PostoMETROHead(body=body, **SIZES).eval()
    feats, tokens = inputs
    joints = head(*inputs).joints_3d
    for other in ((feats[0] + 1, tokens), (feats, (tokens[0].flip(1),
                                                   tokens[1])),
                  (feats, (tokens[0], tokens[1] + 1))):
        assert (head(*other).joints_3d - joints).abs().max() > 1e-5


def test_starts_from_the_template(body, inputs):
    head = PostoMETROHead(
        body=body,
        template_init=True,
        output_init_std=0.,
        camera_init_scale=0.9,
        **SIZES)
    prediction = head(*inputs)
    assert prediction.camera.tolist() == [[pytest.approx(0.9), 0., 0.]] * B
    zeros = torch.zeros(1, 23, 3)
    rest = body(torch.zeros(1, 10), zeros, torch.tensor([[torch.pi, 0.,
                                                          0.]])).vertices
    rest = rest - body.regress_joints(rest, 'h36m17')[:, :1]
    torch.testing.assert_close(
        prediction.vertices[0],
        body.levels.downsample(rest, level=2).expand(B, -1, -1))
    torch.testing.assert_close(
        prediction.joints_3d,
        body.regress_joints(rest, 'j14').expand(B, -1, -1))
    # head above hips (y points down), right hip on the left of the picture
    assert prediction.joints_3d[0, 13, 1] < prediction.joints_3d[0, 2, 1]
    assert prediction.joints_3d[0, 2, 0] < prediction.joints_3d[0, 3, 0]


def optimizer_step(head, inputs):
    head.train()
    torch.optim.SGD(head.parameters(), 1.).zero_grad()
    head(*inputs).vertices[-1].square().sum().backward()
    torch.optim.SGD(head.parameters(), 1.).step()
    head.eval()


def swap_with_average(head, inputs):
    """As MMEngine's EMAHook does before validation."""
    average = ExponentialMovingAverage(head, momentum=0.5)
    optimizer_step(head, inputs)
    average.update_parameters(head)
    for ema, parameter in zip(average.module.parameters(), head.parameters()):
        before = parameter.data.clone()
        parameter.data.copy_(ema.data)
        ema.data.copy_(before)


def load_other_weights(head, inputs):
    head.load_state_dict({k: v + 1 for k, v in head.state_dict().items()})


def through_half_precision(head, inputs):
    head.bfloat16().float()


@pytest.mark.parametrize('mode', [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize('change', [
    optimizer_step, swap_with_average, load_other_weights,
    through_half_precision,
    lambda head, _: head.joint_tokens.weight.data.mul_(2),
    lambda head, _: head.vertex_tokens.weight.data.neg_(),
    lambda head, _: head.transformers[0].decoder.layers[
        0].norm1.bias.data.add_(1), lambda head, _: head.transformers[
            0].decoder.layers[0].self_attn.in_proj_weight.data.neg_(),
    lambda head, _: head.transformers[0].decoder.layers[0].norm2.bias.data[
        0].add_(1), lambda head, _: head.transformers[0].decoder.layers[
            0].multihead_attn.in_proj_weight.data.neg_(), lambda head, _: head.
    transformers[0].decoder.layers[0].multihead_attn.in_proj_bias.data.add_(1)
])
def test_what_is_kept_between_images_is_never_old(change, mode, body, inputs):
    head = PostoMETROHead(body=body, **SIZES).eval()
    with mode():
        before = head(*inputs)
    change(head, inputs)
    with mode():
        found = head(*inputs)
        again = head(*inputs)
        expected = copy.deepcopy(head)(*inputs)
    assert (found.joints_3d - before.joints_3d).abs().max() > 1e-4
    for prediction in (found, again):
        torch.testing.assert_close(prediction.joints_3d, expected.joints_3d)
        torch.testing.assert_close(prediction.vertices, expected.vertices)


def test_what_is_kept_between_images_spares_work(body, inputs, monkeypatch):
    head = PostoMETROHead(body=body, **SIZES).eval()
    layer = head.transformers[0].decoder.layers[0]
    calls = []
    original = layer.attend_mesh
    monkeypatch.setattr(layer, 'attend_mesh',
                        lambda *args: calls.append(1) or original(*args))
    with torch.no_grad():
        head(*inputs), head(inputs[0], [x + 1 for x in inputs[1][:2]])
    assert len(calls) == 1
    head(*inputs).joints_3d.sum().backward()  # needs its own graph
    assert layer.self_attn.in_proj_weight.grad is not None
    assert len(calls) == 2


def test_dropout_alone_in_training_is_drawn_for_every_image(body, inputs):
    head = PostoMETROHead(body=body, **dict(SIZES, dropout=.5)).eval()
    head.transformers[0].decoder.layers[0].dropout.train()
    seen = []
    layer = head.transformers[0].decoder.layers[0].norm2
    layer.register_forward_hook(lambda *args: seen.append(args[-1]))
    with torch.no_grad():
        head(*inputs), head(*inputs)
    assert not torch.equal(*seen)


def test_what_is_kept_between_images_is_not_saved(body, inputs):
    head = PostoMETROHead(body=body, **SIZES).eval()

    def size(thing):
        file = io.BytesIO()
        torch.save(thing, file)
        return len(file.getvalue())

    before = size(head.state_dict()), size(head)
    with torch.no_grad():
        expected = head(*inputs)
        assert head.transformers[0].decoder.layers[0].remembered._last
        assert (size(head.state_dict()), size(head)) == before
        program = torch.export.export(
            head, (inputs[0], tuple(inputs[1][:2])), strict=False)
        found = program.module()(inputs[0], tuple(inputs[1][:2]))
    torch.testing.assert_close(found.vertices[-1], expected.vertices[-1])
    names = program.graph_signature.inputs_to_parameters.values()
    # the queries are parameters of what is exported, not numbers of today
    assert any('joint_tokens' in name for name in names)


def test_projection_as_the_paper_writes_it(body, inputs):
    head = PostoMETROHead(
        body=body, projection='paper', camera_init_scale=.9, **SIZES)
    points = head(*inputs)
    with torch.no_grad():  # the same weights, read as METRO reads them
        head.projection = 'metro'
        plain = head(*inputs).camera
    seen = weak_perspective_project(points.joints_3d, points.camera)
    expected = plain[:, None, :1] * points.joints_3d[..., :2] + plain[:, None,
                                                                      1:]
    torch.testing.assert_close(seen, expected)
    with torch.no_grad():  # nobody is seen: no division by zero
        head.projection = 'paper'
        head.camera_head.weight.zero_()
        head.camera_head.bias.zero_()
        assert torch.isfinite(head(*inputs).camera).all()


def test_position_code_tells_pose_tokens_apart(body):
    """Without it and the mixers, the order of pose tokens has no say."""
    order = torch.randperm(N)
    tokens, confidence = torch.randn(B, N, D), torch.randn(B, N, 1)
    settings = dict(
        SIZES, use_image_tokens=False, pose_modulator=dict(kind='linear'))
    for code in (False, True):
        head = PostoMETROHead(body=body, pose_position_code=code, **settings)
        head.eval()
        with torch.no_grad():
            one = head(None, (tokens, confidence)).vertices[0]
            two = head(None,
                       (tokens[:, order], confidence[:, order])).vertices[0]
        assert torch.allclose(one, two, atol=1e-5) != code


def test_state_holds_no_geometry(body):
    head = PostoMETROHead(body=body, template_init=True, **SIZES)
    parameters = {name for name, _ in head.named_parameters()}
    assert set(head.state_dict()) == parameters


def test_autocast(body, inputs):
    head = PostoMETROHead(body=body, **SIZES)
    expected = head(*inputs)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        prediction = head(*inputs)
    for actual, wanted in ((prediction.camera, expected.camera),
                           (prediction.joints_3d, expected.joints_3d),
                           (prediction.vertices[-1], expected.vertices[-1])):
        assert actual.dtype == torch.float32
        torch.testing.assert_close(actual, wanted, rtol=0.1, atol=0.1)
    prediction.vertices[-1].sum().backward()
    assert torch.isfinite(head.vertex_tokens.weight.grad).all()


@pytest.mark.parametrize('training', [False, True])
def test_compiles_to_one_graph(training, body, inputs):
    """Dropout included, which is torch's own then."""
    head = PostoMETROHead(body=body, **dict(SIZES, dropout=.1)).train(training)
    torch.compiler.reset()
    compiled = torch.compile(head, fullgraph=True, backend='eager')
    with torch.set_grad_enabled(training):
        prediction = compiled(*inputs)
    if training:
        prediction.vertices[-1].sum().backward()
        assert head.joint_tokens.weight.grad.isfinite().all()
    else:
        torch.testing.assert_close(prediction.vertices[-1],
                                   head(*inputs).vertices[-1])


def test_errors(body, inputs):
    head = PostoMETROHead(body=body, **SIZES)
    with pytest.raises(ValueError, match='got none'):
        head(inputs[0])
    with pytest.raises(ValueError, match='num_tokens'):
        head(inputs[0], (torch.zeros(B, N + 1, D), torch.zeros(B, N + 1, 1)))
    for bad, message in ((dict(use_pose_tokens=False,
                               use_image_tokens=False), 'or both'),
                         (dict(use_pose_tokens=False,
                               official_compat=True), 'official_compat'),
                         (dict(projection='weak'), 'projection'),
                         (dict(num_heads=(2, 2, 2)), 'same number')):
        with pytest.raises(ValueError, match=message):
            PostoMETROHead(body=body, **dict(SIZES, **bad))
    with pytest.raises(ValueError, match='J14'):
        PostoMETROHead(body=body, num_joints=5, template_init=True, **SIZES)


def test_official_names():
    assert from_official_key('transformer_2.encoder.norm.weight') == (
        'transformers.1.encoder.norm.weight')
    assert from_official_key('encoder.3.MLP_token.ff.0.bias') == (
        'pose_modulator.mixers.3.MLP_token.ff.0.bias')
    assert from_official_key('backbone.0.weight') is None
    state = head_state_from_official({
        'module.cam_predictor.bias': torch.ones(3),
        'pct.backbone.x': torch.ones(1)
    })
    assert list(state) == ['camera_head.bias']
