# Copyright (c) The mpm_postometro authors. All rights reserved.
import copy

import numpy as np
import pytest
import torch
from mmengine.logging import MMLogger
from mmengine.runner import Runner
from mmengine.structures import InstanceData
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample

from mpm_postometro.bodies import load_body
from mpm_postometro.compat import load_checkpoint_file

B, SIZE = 3, 64
BACKBONE = dict(type='ResNet', depth=18, base_channels=4, stem_channels=4)
TOKENIZER = dict(
    type='PCTTokenizer',
    num_tokens=5,
    num_codes=7,
    token_dim=12,
    encoder=dict(channels=8, token_hidden=4, channel_hidden=4, num_blocks=1),
    decoder=dict(channels=8, token_hidden=4, channel_hidden=4, num_blocks=1))
POSE_BRANCH = dict(
    type='TopdownPoseEstimator',
    backbone=BACKBONE,
    head=dict(
        type='PCTHead',
        in_channels=32,
        feat_size=(2, 2),
        tokenizer=TOKENIZER,
        conv_channels=8,
        num_mixers=1,
        hidden_channels=8,
        token_hidden=4,
        channel_hidden=4))
HEAD = dict(
    type='PostoMETROHead',
    in_channels=32,
    token_dim=12,
    num_tokens=5,
    hidden_dims=(16, 8),
    feedforward_dims=(16, 16),
    num_layers=1,
    num_heads=2,
    dropout=0.)


@pytest.fixture(scope='module')
def body():
    return load_body()


def build(body, **kwargs):
    args = dict(
        type='MeshEstimator',
        backbone=BACKBONE,
        head=HEAD,
        body=body,
        pose_branch=POSE_BRANCH)
    return MODELS.build(copy_config(dict(args, **kwargs)))


def copy_config(config):
    """Modules stay the same, dicts are copied (registries change them)."""
    if isinstance(config, dict):
        return {key: copy_config(value) for key, value in config.items()}
    return config


def samples(labelled=True):
    rng = np.random.default_rng(0)

    def draw(*shape, scale=1.):
        return torch.tensor(rng.normal(size=(1, *shape)) * scale).float()

    result = []
    for i in range(B):
        sample = PoseDataSample(
            metainfo=dict(
                id=i,
                input_center=np.array([50. + i, 60.]),
                input_scale=np.array([128., 128.]),
                input_size=np.array([SIZE, SIZE])))
        sample.gt_instance_labels = InstanceData(
            keypoint_labels=SIZE / 2 + draw(17, 2, scale=9.),
            keypoint_weights=torch.ones(1, 17),
            joints_2d=SIZE / 2 + draw(14, 2, scale=9.),
            joints_2d_weights=torch.ones(1, 14) * labelled,
            joints_3d=draw(14, 3),
            joints_3d_weights=torch.ones(1, 14) * labelled,
            global_orient=draw(3),
            body_pose=draw(23, 3, scale=.2),
            betas=draw(10),
            has_smpl=torch.ones(1) * labelled,
            has_joints_3d=torch.ones(1) * labelled)
        sample.gt_instances = InstanceData(
            bboxes=np.array([[0., 0., 9., 9.]]), bbox_scores=np.ones(1))
        result.append(sample)
    return result


def images():
    generator = torch.Generator().manual_seed(1)
    return torch.randn(B, 3, SIZE, SIZE, generator=generator)


def step(model, data_samples):
    losses = model.loss(images(), data_samples)
    total = sum(losses.values())
    total.backward()
    return losses, total


def test_training_step_leaves_the_pose_branch_alone(body):
    model = build(body).train()
    assert model.head.training and model.backbone.training
    assert not any(m.training for m in model.pose_branch.modules())
    before = copy.deepcopy(model.pose_branch.state_dict())
    optimizer = torch.optim.SGD(model.parameters(), 1e-4, weight_decay=.1)
    losses, total = step(model, samples())
    assert torch.isfinite(total) and set(losses) == {
        'loss_vertices', 'loss_joints_3d', 'loss_joints_2d',
        'loss_mesh_joints_3d', 'loss_mesh_joints_2d'
    }
    optimizer.step()
    for name, value in model.pose_branch.state_dict().items():
        assert torch.equal(value, before[name]), name
    assert all(p.grad is None for p in model.pose_branch.parameters())
    for name, parameter in model.named_parameters():
        if not name.startswith('pose_branch.'):
            assert parameter.grad is not None, name
    tokens = model.extract_pose_tokens(images())
    assert not tokens.tokens.requires_grad
    assert not tokens.confidence.requires_grad


def test_a_batch_without_labels(body):
    model = build(body)
    data_samples = samples(labelled=False)
    # what an unlabelled field holds must not matter
    data_samples[1].gt_instance_labels.joints_3d.fill_(float('nan'))
    losses, total = step(model, data_samples)
    assert total == 0
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert parameter.grad is not None, name
            assert (parameter.grad == 0).all(), name


def test_a_person_without_labels_changes_nothing(body):
    """Losses of two persons equal those of two and an unlabelled third,
    but for 2D, where the reference averages over everybody."""
    model = build(
        body, pose_branch=None, head=dict(HEAD, use_pose_tokens=False)).eval()
    data_samples = samples()
    data_samples[2] = samples(labelled=False)[2]
    mixed = model.loss(images(), data_samples)
    alone = model.loss(images()[:2], data_samples[:2])
    for name in mixed:
        factor = 2 / 3 if name.endswith('2d') else 1.
        torch.testing.assert_close(mixed[name], factor * alone[name])


def test_targets(body):
    model = build(body)
    data_samples = samples()
    targets = model.targets(images(), data_samples)
    assert targets.vertices[0] is None and targets.vertices[1] is None
    labels = data_samples[1].gt_instance_labels
    vertices = body(labels.betas, labels.body_pose,
                    labels.global_orient).vertices
    vertices = vertices - body.regress_joints(vertices, 'h36m17')[:, :1]
    torch.testing.assert_close(targets.vertices[-1][1:2], vertices)
    torch.testing.assert_close(targets.joints_2d[1:2],
                               labels.joints_2d / SIZE * 2 - 1)


def test_all_mesh_levels(body):
    loss = dict(
        type='MeshLoss',
        vertices=100.,
        vertex_levels=(.25, .5, .25),
        edges=500.,
        edge_lengths=.01,
        normals=10.)
    model = build(body, loss=loss)
    targets = model.targets(images(), samples())
    assert [v.shape[1] for v in targets.vertices] == [
        *reversed(body.levels.sizes)]  # yapf: disable
    losses, total = step(model, samples())
    assert torch.isfinite(total) and losses['loss_edges'] > 0
    edges = model.loss_module._mesh_edges(body)
    faces = {tuple(f) for f in body.levels.faces(1).tolist()}
    assert 1.4 < len(edges) / len(faces) < 1.6  # a closed surface: 3 / 2


def test_a_batch_can_be_learned(body):
    head = dict(HEAD, template_init=True, output_init_std=.01)
    model = build(body, head=head).train()
    optimizer = torch.optim.Adam(
        [p for p in model.parameters() if p.requires_grad], 1e-2)
    data_samples = samples()
    for sample in data_samples:  # joints that belong to the mesh
        labels = sample.gt_instance_labels
        vertices = body(labels.betas, labels.body_pose,
                        labels.global_orient).vertices
        labels.joints_3d = body.regress_joints(vertices, 'j14')
        labels.joints_2d = (.8 * labels.joints_3d[..., :2] + 1) / 2 * SIZE
    history = []
    for _ in range(25):
        optimizer.zero_grad()
        history.append(step(model, data_samples)[0])
        optimizer.step()
    for name in history[0]:
        assert history[-1][name] < .9 * history[0][name], name


@pytest.mark.parametrize('warp', [False, True])
def test_predict(body, warp):
    model = build(body).eval()
    data_samples = samples()
    if warp:  # a crop that is turned by 30 degrees
        angle = np.pi / 6
        turn = .5 * np.array([[np.cos(angle), -np.sin(angle)],
                              [np.sin(angle), np.cos(angle)]])
        matrix = np.concatenate([turn, [[3.], [-4.]]], 1)
        data_samples[1].set_metainfo(dict(warp_mat=matrix))
    with torch.no_grad():
        results = model(images(), data_samples, mode='predict')
        camera = model(images(), None, mode='tensor').camera
    found = results[1].pred_instances
    assert len(results) == B and len(found) == 1
    vertices, joints = found.vertices, found.keypoints_3d
    assert vertices.shape == (1, body.num_vertices, 3)
    assert joints.shape == (1, 14, 3)
    assert body.regress_joints(vertices, 'h36m17')[:, 0].abs().max() < 1e-5
    torch.testing.assert_close(found.camera, camera[1:2])

    s, t = camera[1, 0], camera[1, 1:]
    crop = ((s * (joints[..., :2] + t) + 1) / 2 * SIZE).numpy()
    if warp:  # there and back
        back = found.keypoints @ turn.T + matrix[:, 2]
    else:  # top left corner of the crop, twice as many pixels
        corner = np.array([51., 60.]) - 64
        back = (found.keypoints - corner) / 2
    np.testing.assert_allclose(back, crop, atol=1e-3)
    assert found.keypoint_scores.shape == (1, 14)
    assert found.bboxes.tolist() == [[0., 0., 9., 9.]]


def test_predict_needs_to_know_the_crop(body):
    model = build(body).eval()
    data_samples = samples()
    data_samples[0] = PoseDataSample()
    with pytest.raises(KeyError, match='warp_mat'):
        model.predict(images(), data_samples)


def test_ground_truth_tokens(body):
    model = build(body, token_source='ground_truth')
    data_samples = samples()
    tokens = model.extract_pose_tokens(images(), data_samples)
    codebook = model.pose_branch.head.tokenizer.codebook
    distance = torch.cdist(tokens.tokens.flatten(0, 1), codebook)
    assert (distance.amin(1) < 1e-4).all()
    assert (tokens.confidence == 10).all()
    # of the joints, not of the image
    data_samples[0].gt_instance_labels.keypoint_labels *= -9
    other = model.extract_pose_tokens(0 * images(), data_samples)
    assert torch.equal(other.tokens[1:], tokens.tokens[1:])
    with pytest.raises(ValueError, match='data samples'):
        model.extract_pose_tokens(images())
    data_samples[2].gt_instance_labels.keypoint_weights *= 0
    with pytest.raises(ValueError, match='sample 2 .* has none'):
        model.extract_pose_tokens(images(), data_samples)


def test_coordinates_in_the_place_of_tokens(body):
    head = dict(
        HEAD, token_dim=2, num_tokens=17, pose_modulator=dict(hidden_dim=8))
    model = build(body, token_source='coordinates', head=head)
    found = model.extract_pose_tokens(images())
    assert found.tokens.shape == (B, 17, 2)
    assert found.confidence.shape == (B, 17, 1) and found.logits is None
    # those that the pose branch predicts, in [-1, 1] of the crop
    branch = model.pose_branch
    with torch.no_grad():
        tokens = branch.head.pose_tokens(branch.extract_feat(images()))
        joints = branch.head.tokenizer.decode(tokens.tokens)
    torch.testing.assert_close((found.tokens + 1) / 2 * SIZE, joints)
    step(model, samples())
    assert model.head.pose_modulator.start_embed.weight.grad.abs().sum() > 0
    assert all(p.grad is None for p in branch.parameters())


def test_noise_on_the_logits(body):
    torch.manual_seed(0)
    clean = build(body).eval()
    noisy = build(body, token_noise=3.).eval()
    noisy.load_state_dict(clean.state_dict())
    before = clean.extract_pose_tokens(images())
    after = [noisy.extract_pose_tokens(images()) for _ in range(200)]
    difference = torch.stack([a.logits - before.logits for a in after])
    assert abs(difference.mean()) < .1 and abs(difference.std() - 3) < .1
    for a in after[:2]:  # tokens and confidence follow
        torch.testing.assert_close(
            a.tokens,
            a.logits.softmax(-1) @ noisy.pose_branch.head.tokenizer.codebook)
        assert torch.equal(a.confidence, a.logits.amax(-1, keepdim=True))
    assert torch.equal(
        clean.extract_pose_tokens(images()).logits, before.logits)


class Samples(torch.utils.data.Dataset):
    """What the runner trains on: as many persons as a batch has."""

    def __len__(self):
        return B

    def __getitem__(self, index):
        return dict(inputs=images()[index], data_samples=samples()[index])


def numbers_of(node, path='', seen=None):
    """All tensors and arrays in an object, with where they are."""
    seen = {} if seen is None else seen
    if id(node) in seen:
        return
    seen[id(node)] = node
    if isinstance(node, (torch.Tensor, np.ndarray)):
        yield path, torch.as_tensor(node)
    elif isinstance(node, dict):
        for key, value in node.items():
            yield from numbers_of(value, f'{path}.{key}', seen)
    elif isinstance(node, (list, tuple)):
        if node and all(type(value) in (int, float) for value in node):
            yield path, torch.tensor(node)
        for i, value in enumerate(node):
            yield from numbers_of(value, f'{path}.{i}', seen)
    elif hasattr(node, '__dict__'):  # e.g. log histories
        yield from numbers_of(vars(node), path, seen)


def test_checkpoint_file_holds_no_geometry(body, tmp_path):
    """In no part of it, in whatever order of the numbers."""
    head = dict(HEAD, template_init=True, use_image_tokens=True)
    model = build(body, head=head, init_cfg=None)
    runner = Runner(
        model,
        str(tmp_path),
        train_dataloader=dict(
            batch_size=B,
            dataset=Samples(),
            sampler=dict(type='DefaultSampler'),
            collate_fn=dict(type='pseudo_collate')),
        optim_wrapper=dict(optimizer=dict(type='AdamW', lr=1e-3)),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook')),
        default_scope='mmpose',
        experiment_name='checkpoint_holds_no_geometry')
    runner.train()
    content = load_checkpoint_file(str(tmp_path / 'epoch_1.pth'))
    found = dict(numbers_of(content))
    for part in ('state_dict.head', 'state_dict.pose_branch',
                 'optimizer.state', 'message_hub.log_scalars'):
        assert any(name.startswith(f'.{part}') for name in found), part

    vertices = set(body.levels.sizes[:2]) | {len(body.faces)}
    tensors = [
        *body.buffers(), *body.levels.buffers(), model.head.template,
        *(torch.tensor(step.data)
          for step in (body.levels.upsample_matrix(1, 0),
                       body.levels.upsample_matrix(2, 1)))
    ]
    geometry = {}
    for tensor in tensors:
        values = tensor.detach().flatten().double().sort().values
        if values.unique().numel() > 3:  # no masks
            geometry.setdefault(values.numel(), []).append(values)
    assert len(geometry) > 8
    for name, tensor in found.items():
        assert not vertices & set(tensor.shape), name
        assert not any(tensor.numel() % v == 0
                       for v in vertices if tensor.numel()), name
        values = tensor.detach().flatten().double().sort().values
        for array in geometry.get(tensor.numel(), []):
            assert not torch.allclose(values, array, atol=1e-6), name
    assert not any('.body.' in name for name in found)


def test_pose_branch_checkpoint(body, tmp_path):
    branch = MODELS.build(copy_config(POSE_BRANCH))
    for value in branch.state_dict().values():
        if value.is_floating_point():
            value.uniform_()
    path = str(tmp_path / 'classifier.pth')
    torch.save(dict(state_dict=branch.state_dict()), path)
    model = build(body, pose_branch_checkpoint=path)
    model.init_weights()  # after the initial values of the branch itself
    for name, value in model.pose_branch.state_dict().items():
        assert torch.equal(value, branch.state_dict()[name]), name
    # a checkpoint of the whole needs no other file
    build(
        body,
        pose_branch_checkpoint='gone.pth').load_state_dict(model.state_dict())

    state = branch.state_dict()
    state.pop('head.cls_pred_layer.bias')
    torch.save(dict(state_dict=state), path)
    with pytest.raises(ValueError, match='missing head.cls_pred_layer.bias'):
        build(body, pose_branch_checkpoint=path).init_weights()


def test_pose_branch_leaves_its_guide_backbone_behind(body, tmp_path):
    guided = dict(TOKENIZER, guide_ratio=0.5, guide_channels=32)
    cfg = dict(POSE_BRANCH, head=dict(POSE_BRANCH['head'], tokenizer=guided))
    trained = MODELS.build(
        copy_config(
            dict(
                cfg,
                type='GuidedTopdownPoseEstimator',
                guide_backbone=BACKBONE)))
    for value in trained.state_dict().values():
        if value.is_floating_point():
            value.uniform_()
    path = str(tmp_path / 'guided.pth')
    torch.save(dict(state_dict=trained.state_dict()), path)
    model = build(body, pose_branch=cfg, pose_branch_checkpoint=path)
    model.init_weights()
    for name, value in model.pose_branch.state_dict().items():
        assert not name.startswith('guide_backbone.')
        assert torch.equal(value, trained.state_dict()[name]), name


def test_pose_tokens_alone_need_no_backbone(body):
    model = build(body, backbone=None, head=dict(HEAD, use_image_tokens=False))
    step(model, samples())
    assert not list(model.backbone.parameters())
    for name, parameter in model.named_parameters():
        assert (parameter.grad is None) == name.startswith('pose_branch.')


@pytest.mark.parametrize('bad,message', [
    (dict(pose_branch=None), 'needs a pose_branch'),
    (dict(backbone=None), 'needs a backbone'),
    (dict(token_source='noise'), 'token_source'),
    (dict(token_source='ground_truth', token_noise=1.), 'token_noise'),
    (dict(loss=dict(type='MeshLoss', vertex_levels=(0, 0, 0))),
     'vertex_levels'),
])
def test_errors(body, bad, message):
    with pytest.raises(ValueError, match=message):
        build(body, **bad)


def test_a_missing_label_is_named(body):
    data_samples = samples()
    del data_samples[2].gt_instance_labels.betas
    with pytest.raises(KeyError, match="sample 2 lacks the label 'betas'"):
        build(body).loss(images(), data_samples)


def test_labels_of_another_body_are_refused(body):
    model = build(body, pose_branch=None, head=dict(HEAD, use_pose_tokens=0))
    data_samples = samples()
    data_samples[0].set_metainfo(dict(label_body=body.identity))
    model.targets(images(), data_samples)
    data_samples[1].set_metainfo(dict(label_body='other:123'))
    with pytest.raises(ValueError, match=f'{body.identity}.*other:123'):
        model.targets(images(), data_samples)
    results = model.eval().predict(images(), data_samples)
    assert all(r.metainfo['pred_body'] == body.identity for r in results)


def warnings_of(model, monkeypatch):
    said = []
    monkeypatch.setattr(MMLogger.get_current_instance(), 'warning',
                        lambda text, *args: said.append(text))
    model.init_weights()
    return said


def test_frozen_parts_without_weights_are_named_once(body, tmp_path,
                                                     monkeypatch):
    said = warnings_of(build(body), monkeypatch)
    assert len(said) == 1
    assert 'model.pose_branch_checkpoint' in said[0]
    assert 'backbone' not in said[0]
    frozen = dict(BACKBONE, frozen_stages=4)
    said = warnings_of(build(body, backbone=frozen), monkeypatch)
    assert len(said) == 1
    assert 'model.pose_branch_checkpoint' in said[0]
    assert 'model.backbone.init_cfg' in said[0]

    branch = MODELS.build(copy_config(POSE_BRANCH))
    path = str(tmp_path / 'classifier.pth')
    torch.save(dict(state_dict=branch.state_dict()), path)
    pretrained = dict(
        frozen,
        init_cfg=dict(type='Pretrained', prefix='backbone.', checkpoint=path))
    model = build(body, backbone=pretrained, pose_branch_checkpoint=path)
    assert warnings_of(model, monkeypatch) == []

    # The tokenizer is all that ground-truth tokens need.
    tokenizer = str(tmp_path / 'tokenizer.pth')
    torch.save(branch.head.tokenizer.state_dict(), tokenizer)
    pose_branch = copy_config(POSE_BRANCH)
    pose_branch['head']['tokenizer_checkpoint'] = tokenizer
    for source, count in (('ground_truth', 0), ('logits', 1)):
        model = build(body, pose_branch=pose_branch, token_source=source)
        assert len(warnings_of(model, monkeypatch)) == count
