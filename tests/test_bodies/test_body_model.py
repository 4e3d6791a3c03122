# Copyright (c) The mpm_postometro authors. All rights reserved.
import math
import pickle
from collections import defaultdict

import numpy as np
import pytest
import torch

from mpm_postometro.bodies import (SKELETONS, BodyData, BodyModel,
                                   joint_mapping, load_body)
from mpm_postometro.bodies.body_io import read_body
from mpm_postometro.bodies.rotations import (axis_angle_to_matrix,
                                             mirror_axis_angle)


@pytest.fixture
def smpl_file(tmp_path, smpl_arrays):
    file = tmp_path / 'SMPL_NEUTRAL.pkl'
    file.write_bytes(pickle.dumps(smpl_arrays, 2))
    return file


def random_inputs(batch, dtype=torch.float32, seed=0, spread=.5):
    generator = torch.Generator().manual_seed(seed)

    def randn(*shape):
        return torch.randn(*shape, generator=generator).to(dtype)

    return dict(
        betas=randn(batch, 10),
        body_pose=spread * randn(batch, 23, 3),
        global_orient=randn(batch, 3),
        transl=randn(batch, 3))


def test_agrees_with_smplx(smpl_file):
    smplx = pytest.importorskip('smplx')
    # An independent reader of the same file, too.
    oracle = smplx.SMPL(
        str(smpl_file), vertex_ids=defaultdict(int), dtype=torch.float64)
    body = load_body(smpl_file, dtype=torch.float64)
    inputs = random_inputs(4, torch.float64)
    expected = oracle(**{
        **inputs, 'body_pose': inputs['body_pose'].flatten(1)
    })
    actual = body(**inputs)
    torch.testing.assert_close(
        actual.vertices, expected.vertices, rtol=0, atol=1e-7)
    torch.testing.assert_close(
        actual.joints, expected.joints[:, :24], rtol=0, atol=1e-7)
    low = load_body(smpl_file)(**random_inputs(4)).vertices
    torch.testing.assert_close(
        low.double(), expected.vertices, rtol=0, atol=1e-5)


def test_open_body_agrees_with_smplx(open_body):
    lbs = pytest.importorskip('smplx.lbs')
    data = read_body(None)
    inputs = random_inputs(3)
    pose = torch.cat([inputs['global_orient'][:, None], inputs['body_pose']],
                     1)
    vertices, joints = lbs.lbs(inputs['betas'], pose,
                               torch.tensor(data.v_template),
                               torch.tensor(data.shapedirs),
                               torch.zeros(207, 3 * open_body.num_vertices),
                               torch.tensor(data.regressors['smpl24']),
                               torch.tensor(data.parents),
                               torch.tensor(data.weights))
    out = open_body(**inputs)
    transl = inputs['transl'][:, None]
    torch.testing.assert_close(
        out.vertices, vertices + transl, rtol=0, atol=5e-6)
    torch.testing.assert_close(out.joints, joints + transl, rtol=0, atol=5e-6)


def test_gradients(tmp_path, random_smpl):
    file = tmp_path / 'small.pkl'
    file.write_bytes(pickle.dumps(random_smpl(num_vertices=5), 2))
    body = load_body(file, dtype=torch.float64)
    inputs = random_inputs(2, torch.float64)
    inputs['body_pose'][0] = 0  # the rest pose, where networks start
    inputs['global_orient'][0] = torch.tensor([math.pi - 1e-3, 0, 0])
    inputs = [x.requires_grad_() for x in inputs.values()]
    assert torch.autograd.gradcheck(lambda *x: tuple(body(*x)), inputs)
    fast = [x.detach().requires_grad_() for x in inputs]
    assert torch.autograd.gradgradcheck(
        lambda *x: body(*x).joints[:, -1:], fast[:3] + [fast[3]],
        fast_mode=True)  # yapf: disable


def test_float32_gradient_in_the_rest_pose_is_finite(open_body):
    inputs = [
        torch.zeros(2, 10), torch.zeros(2, 23, 3), torch.zeros(2, 3)
    ]  # yapf: disable
    inputs = [x.requires_grad_() for x in inputs]
    open_body(*inputs).vertices.square().sum().backward()
    for x in inputs:
        assert torch.isfinite(x.grad).all() and x.grad.abs().max() > 0


def test_rest_pose_is_the_template(open_body):
    out = open_body(
        torch.zeros(1, 10), torch.zeros(1, 23, 3), torch.zeros(1, 3))
    torch.testing.assert_close(
        out.vertices[0], open_body.v_template, rtol=0, atol=1e-6)
    torch.testing.assert_close(
        open_body.regress_joints(out.vertices, 'smpl24'), out.joints,
        rtol=0, atol=1e-6)  # yapf: disable
    # x left, y up, z forward
    joints = dict(zip(SKELETONS['smpl24'].joint_names, out.joints[0]))
    assert joints['left_wrist'][0] > .5 > -.5 > joints['right_wrist'][0]
    assert joints['head'][1] > joints['pelvis'][1] > joints['left_ankle'][1]
    assert joints['left_foot'][2] > joints['left_ankle'][2]


def test_every_accepted_form_gives_the_same(smpl_file):
    body = load_body(smpl_file, dtype=torch.float64)
    inputs = random_inputs(3, torch.float64)  # 3: where cross products trip
    expected = body(**inputs)
    pose, orient = inputs['body_pose'], inputs['global_orient']
    for body_pose in (pose.flatten(1), axis_angle_to_matrix(pose)):
        for global_orient in (orient[:, None], axis_angle_to_matrix(orient),
                              axis_angle_to_matrix(orient)[:, None]):
            out = body(inputs['betas'], body_pose, global_orient,
                       inputs['transl'][:, None])
            torch.testing.assert_close(out.vertices, expected.vertices)
            torch.testing.assert_close(out.joints, expected.joints)


def test_wrong_shapes_are_named(open_body):
    good = [torch.zeros(1, 10), torch.zeros(1, 23, 3), torch.zeros(1, 3)]
    for index, shape, text in ((0, (1, 11), 'S <= 10'), (0, (10, ), 'betas'),
                               (1, (1, 24, 3), r'body_pose.*\(B, 23, 3\)'),
                               (1, (1, 72), 'body_pose'), (2, (1, 4),
                                                           'global_orient')):
        bad = list(good)
        bad[index] = torch.zeros(*shape)
        with pytest.raises(ValueError, match=text):
            open_body(*bad)
    with pytest.raises(ValueError, match='6890, 3'):
        open_body.regress_joints(torch.zeros(1, 431, 3), 'j14')


def test_rotating_the_body_rotates_the_result(open_body):
    body = load_body(dtype=torch.float64)
    inputs = random_inputs(2, torch.float64)
    turn = axis_angle_to_matrix(torch.tensor([.3, -1.2, 2.], dtype=body.dtype))
    orient = axis_angle_to_matrix(inputs['global_orient'])
    plain = body(inputs['betas'], inputs['body_pose'], orient)
    turned = body(inputs['betas'], inputs['body_pose'], turn @ orient)
    root = plain.joints[:, :1]
    torch.testing.assert_close(turned.joints[:, :1], root)
    torch.testing.assert_close(turned.vertices,
                               (plain.vertices - root) @ turn.T + root)
    moved = body(**inputs)
    orient_only = body(**{**inputs, 'transl': None})
    torch.testing.assert_close(
        moved.vertices - orient_only.vertices,
        inputs['transl'][:, None].expand_as(moved.vertices))


def test_samples_do_not_see_each_other(open_body):
    inputs = random_inputs(4)
    order = [2, 0, 3, 1]
    whole = open_body(**inputs)
    shuffled = open_body(**{k: v[order] for k, v in inputs.items()})
    torch.testing.assert_close(
        shuffled.vertices, whole.vertices[order], rtol=0, atol=1e-6)
    one = open_body(**{k: v[1:2] for k, v in inputs.items()})
    torch.testing.assert_close(
        one.vertices, whole.vertices[1:2], rtol=0, atol=2e-6)
    empty = open_body(**{k: v[:0] for k, v in inputs.items()})
    assert empty.vertices.shape == (0, 6890, 3)


def test_batch_of_one_is_shared(open_body):
    inputs = random_inputs(3)
    inputs['betas'] = inputs['betas'][:1]
    shared = open_body(**inputs)
    inputs['betas'] = inputs['betas'].expand(3, -1)
    torch.testing.assert_close(shared.vertices, open_body(**inputs).vertices)
    inputs['betas'] = inputs['betas'] * torch.tensor([1.] * 4 + [0.] * 6)
    full = open_body(**inputs).vertices
    inputs['betas'] = inputs['betas'][:, :4]
    torch.testing.assert_close(open_body(**inputs).vertices, full)


def test_forward_kinematics_keeps_bone_lengths(open_body):
    inputs = random_inputs(2, seed=3)
    rest = open_body(inputs['betas'], torch.zeros(2, 23, 3),
                     torch.zeros(2, 3)).joints
    posed = open_body(**inputs).joints
    parents = list(open_body.parents[1:])

    def lengths(joints):
        return (joints[:, 1:] - joints[:, parents]).norm(dim=-1)

    torch.testing.assert_close(
        lengths(posed), lengths(rest), rtol=0, atol=1e-5)


def symmetric_body(smpl_arrays):
    """A body whose second half of vertices mirrors the first."""
    half = len(smpl_arrays['v_template']) // 2
    flip = list(SKELETONS['smpl24'].flip_indices)
    negate = np.array([-1., 1., 1.])
    arrays = {k: smpl_arrays[k][:half] for k in ('v_template', 'weights')}
    own = smpl_arrays['J_regressor'].toarray()[:, :half]
    regressor = np.concatenate([own, own[flip]], 1)
    return BodyModel(
        BodyData(
            name='symmetric',
            source='test',
            v_template=np.concatenate(
                [arrays['v_template'], arrays['v_template'] * negate]),
            faces=smpl_arrays['f'].astype(np.int64),
            shapedirs=np.zeros((2 * half, 3, 10)),
            weights=np.concatenate(
                [arrays['weights'], arrays['weights'][:, flip]]),
            parents=np.array(SKELETONS['smpl24'].parents),
            regressors=dict(smpl24=regressor / regressor.sum(1)[:, None]),
            mirror_indices=np.roll(np.arange(2 * half), half)),
        dtype=torch.float64)


def mirror_errors(body):
    """Distances between a mirrored body and the body in mirrored pose."""
    inputs = random_inputs(2, torch.float64, spread=.3)
    inputs['betas'] = torch.zeros(2, 10)
    swap = [i - 1 for i in SKELETONS['smpl24'].flip_indices[1:]]
    negate = torch.tensor([-1., 1., 1.], dtype=body.dtype)
    other = body(
        betas=inputs['betas'],
        body_pose=mirror_axis_angle(inputs['body_pose'], swap),
        global_orient=mirror_axis_angle(inputs['global_orient']),
        transl=inputs['transl'] * negate)
    out = body(**inputs)
    flip = list(SKELETONS['smpl24'].flip_indices)
    vertices = out.vertices[:, body.mirror_indices] * negate
    return ((other.joints - out.joints[:, flip] * negate).norm(dim=-1),
            (other.vertices - vertices).norm(dim=-1))


def test_a_mirrored_pose_gives_the_mirrored_body(smpl_arrays):
    joints, vertices = mirror_errors(symmetric_body(smpl_arrays))
    assert joints.max() < 1e-12 and vertices.max() < 1e-12


def test_the_open_body_mirrors(open_body):
    joints, vertices = mirror_errors(open_body)
    assert joints.max() < 1e-5 and vertices.max() < 1e-5


@pytest.mark.parametrize('name', ['smpl24', 'h36m17', 'j14', 'coco17'])
def test_regressors_give_the_skeleton(open_body, name):
    skeleton = SKELETONS[name]
    joints = open_body.regress_joints(open_body.v_template, name)
    assert joints.shape == (skeleton.num_joints, 3)
    torch.testing.assert_close(
        open_body.joint_regressor(name).sum(1), torch.ones(len(joints)))
    for joint, x in zip(skeleton.joint_names, joints[:, 0].tolist()):
        if joint.startswith('left_'):
            assert x > .01, joint
        elif joint.startswith('right_'):
            assert x < -.01, joint
        else:
            assert abs(x) < .01, joint
    tree = open_body.regress_joints(open_body.v_template, 'smpl24')
    mapping = joint_mapping('smpl24', name, allow_missing=True)
    for row, source in enumerate(mapping):
        if source >= 0:  # same place in the body: within centimetres
            distance = (joints[row] - tree[source]).norm()
            assert distance < .06, skeleton.joint_names[row]


def test_j14_is_h36m(open_body):
    vertices = open_body(**random_inputs(2)).vertices
    rows = [3, 2, 1, 4, 5, 6, 16, 15, 14, 11, 12, 13, 8, 10]
    torch.testing.assert_close(
        open_body.regress_joints(vertices, 'j14'),
        open_body.regress_joints(vertices, 'h36m17')[:, rows])
    with pytest.raises(ValueError, match="'h36m16', only"):
        open_body.regress_joints(vertices, 'h36m16')


def test_no_geometry_in_a_checkpoint(open_body, smpl_file):
    for body in (open_body, load_body(smpl_file)):
        assert not body.state_dict()
        assert not list(body.parameters())
    holder = torch.nn.Module()
    holder.body = open_body
    holder.layer = torch.nn.Linear(2, 2)
    assert set(holder.state_dict()) == {'layer.weight', 'layer.bias'}
    holder.load_state_dict(holder.state_dict(), strict=True)


def test_dtype_is_that_of_the_module(open_body):
    inputs = random_inputs(1)
    double = load_body().double()
    out = double(**inputs)
    assert out.vertices.dtype == torch.float64
    assert double.faces.dtype == torch.int64
    assert double.levels.downsample(out.vertices).dtype == torch.float64
    torch.testing.assert_close(
        out.vertices.float(), open_body(**inputs).vertices, rtol=0, atol=5e-6)
    with torch.autocast('cpu', torch.bfloat16):
        low = open_body(**inputs)
        joints = open_body.regress_joints(low.vertices, 'j14')
    assert joints.dtype == torch.float32
    torch.testing.assert_close(low.vertices, open_body(**inputs).vertices)


def test_bodies_do_not_share_memory():
    first, second = load_body(), load_body()
    first._template.zero_()
    assert second._template.abs().max() > 0
    assert load_body()._template.abs().max() > 0


def test_num_betas():
    short, full = load_body(num_betas=4), load_body()
    inputs = random_inputs(1)
    inputs['betas'][:, 4:] = 0
    expected = full(**inputs).vertices
    inputs['betas'] = inputs['betas'][:, :4]
    torch.testing.assert_close(short(**inputs).vertices, expected)
    with pytest.raises(ValueError, match='num_betas=11'):
        load_body(num_betas=11)


def test_another_tree_than_smpl():
    """Sizes and order come from the data; children may follow in depth."""
    data = read_body(None)
    parents = [-1, 0, 1, 0, 3, 1]
    joints = len(parents)
    rng = np.random.default_rng(0)
    fields = dict(data.__dict__)
    fields.update(
        parents=np.array(parents),
        weights=np.full((6890, joints), 1 / joints),
        regressors=dict(smpl24=rng.random((joints, 6890)) / 3445))
    body = BodyModel(BodyData(**fields), dtype=torch.float64)
    pose = torch.randn(2, joints - 1, 3, dtype=torch.float64)
    orient = torch.randn(2, 3, dtype=torch.float64)
    zeros = torch.zeros(2, 10)
    rest = body(zeros, 0 * pose, 0 * orient).joints
    out = body(zeros, pose, orient)
    assert out.joints.shape == (2, joints, 3)

    local = axis_angle_to_matrix(torch.cat([orient[:, None], pose], 1))
    world, position = [local[:, 0]], [rest[:, 0]]
    for joint, parent in list(enumerate(parents))[1:]:
        offset = (rest[:, joint] - rest[:, parent])[..., None]
        position.append(position[parent] + (world[parent] @ offset)[..., 0])
        world.append(world[parent] @ local[:, joint])
    torch.testing.assert_close(out.joints, torch.stack(position, 1))


@pytest.mark.skipif(not torch.cuda.is_available(), reason='needs a GPU')
def test_gpu_gives_what_the_cpu_gives(open_body):
    inputs = random_inputs(3)
    body = load_body().cuda()

    def run(body, device):
        leaves = {k: v.to(device).requires_grad_() for k, v in inputs.items()}
        fine = body(**leaves).vertices
        again = body.levels.upsample(body.levels.downsample(fine))
        joints = body.regress_joints(again, 'j14')
        joints.square().sum().backward()
        return [fine, again, joints] + [v.grad for v in leaves.values()]

    for cpu, gpu in zip(run(open_body, 'cpu'), run(body, 'cuda')):
        torch.testing.assert_close(gpu.cpu(), cpu, rtol=1e-4, atol=1e-4)
