# Copyright (c) The mpm_postometro authors. All rights reserved.
"""MeshLoss with FastMETRO's weights against the published training step."""
from types import SimpleNamespace

import pytest
import torch
from mesh_networks import Golden, golden_files

from mpm_postometro.models.heads import MeshPrediction
from mpm_postometro.models.losses import MeshLoss, MeshTargets

J24_TO_J14 = [*range(13), 18]
H36M_TO_J14 = [3, 2, 1, 4, 5, 6, 16, 15, 14, 11, 12, 13, 8, 10]


@pytest.mark.parametrize('path', golden_files('mesh_losses_metrics.npz'))
def test_training_step(path):
    golden = Golden(path)
    regressor = golden['in/J_regressor']

    def regress_joints(vertices, name):
        joints = regressor @ vertices
        return joints[:, H36M_TO_J14] if name == 'j14' else joints

    body = SimpleNamespace(
        regress_joints=regress_joints,
        pelvis=lambda vertices: regress_joints(vertices, 'h36m17')[:, :1],
        levels=SimpleNamespace(faces=lambda level: golden['in/faces']))
    loss = MeshLoss(
        vertices=100,
        vertex_levels=(.25, .5, .25),
        edges=500,
        edge_lengths=.01,
        normals=10)
    loss._mesh_edges = lambda body: golden['in/edges']
    assert loss.levels_needed == (True, True, True)

    names = ('pred_cam', 'pred_3d_joints', 'pred_3d_vertices_coarse',
             'pred_3d_vertices_intermediate', 'pred_3d_vertices_fine')
    leaves = [golden[f'in/{name}'].requires_grad_() for name in names]
    fine = golden['in/gt_vertices_fine']
    intermediate = golden['in/D0'] @ fine
    pelvis = regress_joints(fine, 'h36m17')[:, :1]
    vertices = (golden['in/D1'] @ intermediate, intermediate, fine)
    joints_3d = golden['in/joints_3d'][:, J24_TO_J14]
    joints_2d = golden['in/joints_2d'][:, J24_TO_J14]
    losses = loss(
        MeshPrediction(leaves[0], leaves[1], tuple(leaves[2:])),
        MeshTargets(
            tuple(v - pelvis for v in vertices), joints_3d[..., :3],
            joints_3d[..., 3], joints_2d[..., :2], joints_2d[..., 2],
            golden['in/has_smpl'], golden['in/has_3d']), body)
    terms = dict(
        joints_3d=('loss_joints_3d', 'loss_mesh_joints_3d'),
        joints_2d=('loss_joints_2d', 'loss_mesh_joints_2d'),
        vertices_3d=('loss_vertices', ),
        edge_normal=('loss_edges', 'loss_edge_lengths', 'loss_normals'))
    assert sorted(losses) == sorted(sum(terms.values(), ()))
    official = dict(
        joints_3d='3d_joints',
        joints_2d='2d_joints',
        vertices_3d='3d_vertices',
        edge_normal='edge_normal')
    for group, keys in terms.items():
        weight = golden.cfg['loss_weights'][group]
        assert sum(losses[k].item() for k in keys) / weight == pytest.approx(
            golden[f'out/train/loss_{official[group]}'].item(), rel=1e-5)
    total = sum(losses.values())
    assert total.item() == pytest.approx(
        golden['out/train/loss_total'].item(), rel=1e-5)
    total.backward()
    for name, leaf in zip(names, leaves):
        expected = golden[f'grad/{name}']
        torch.testing.assert_close(
            leaf.grad,
            expected,
            rtol=0,
            atol=3e-5 * expected.abs().max().item() + 1e-6)
