# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Losses and measures against the numbers of the published FastMETRO."""
import json
import os

import numpy as np
import pytest
import torch
from scipy import sparse

from mpm_postometro.bodies.cameras import weak_perspective_project
from mpm_postometro.bodies.rotations import axis_angle_to_matrix
from mpm_postometro.evaluation import functional
from mpm_postometro.models.layers import SparseMatrix
from mpm_postometro.models.losses import (edge_length_losses, faces_to_edges,
                                          joint_2d_loss, joint_3d_loss,
                                          normal_loss, smooth_l1_keypoint_loss,
                                          vertex_loss)

GOLDEN = os.environ.get('MPM_POSTOMETRO_GOLDEN')
pytestmark = pytest.mark.skipif(
    not GOLDEN, reason='MPM_POSTOMETRO_GOLDEN (golden numbers) is not set')

HIPS = (2, 3)
PELVIS_24 = 14
J24_TO_J14 = [*range(13), 18]
H36M_TO_J14 = [3, 2, 1, 4, 5, 6, 16, 15, 14, 11, 12, 13, 8, 10]


def load(name):
    path = os.path.join(GOLDEN, name)
    with np.load(path, allow_pickle=False) as file:
        return {
            k:
            torch.from_numpy(file[k])
            if file[k].dtype.kind in 'fiub' else json.loads(str(file[k]))
            for k in file.files
        }


@pytest.fixture(scope='module')
def golden():
    return load('mesh_losses_metrics.npz')


def close(actual, expected, scale=1e-5):
    expected = torch.as_tensor(expected).reshape(actual.shape)
    torch.testing.assert_close(
        actual.to(expected.dtype),
        expected,
        rtol=scale,
        atol=scale * expected.abs().max().item())


def test_single_losses(golden):
    g = golden
    two, three = g['in/kp2d_gt'], g['in/kp3d_gt']
    close(
        joint_2d_loss(g['in/kp2d_pred'], two[..., :2], two[..., 2]),
        g['out/fn/keypoint_2d_loss'])
    close(
        joint_3d_loss(
            g['in/kp3d_pred'],
            three[..., :3],
            three[..., 3],
            g['in/has_3d'],
            root=HIPS), g['out/fn/keypoint_3d_loss'])
    close(
        vertex_loss(g['in/pred_3d_vertices_fine'], g['in/gt_vertices_fine'],
                    g['in/has_smpl']), g['out/fn/vertices_loss'])
    nobody = torch.zeros_like(g['in/has_3d'])
    close(
        joint_3d_loss(
            g['in/kp3d_pred'],
            three[..., :3],
            three[..., 3],
            nobody,
            root=HIPS), g['out/fn/keypoint_3d_loss_none'])
    close(
        vertex_loss(g['in/pred_3d_vertices_fine'], g['in/gt_vertices_fine'],
                    nobody), g['out/fn/vertices_loss_none'])


def test_geometry(golden):
    g = golden
    close(
        weak_perspective_project(g['in/X3d'], g['in/pred_cam']),
        g['out/fn/ortho_proj'])
    close(
        axis_angle_to_matrix(g['in/gt_pose'].reshape(-1, 3)),
        g['out/fn/rodrigues'])
    close(
        SparseMatrix(sparse.csr_matrix(g['in/U0'].numpy()))(
            g['in/pred_3d_vertices_intermediate']),
        g['out/fn/upsample_intermediate_to_fine'])


def test_edge_and_normal_losses(golden):
    g = golden
    pair = (g['in/pred_3d_vertices_intermediate'],
            g['in/gt_vertices_intermediate'])
    for name, edges in (('edges', g['in/edges']),
                        ('faces', faces_to_edges(g['in/faces']))):
        differ, own = edge_length_losses(*pair, edges, g['in/has_smpl'])
        close(differ, g[f'out/fn/edge_gt_loss_{name}'])
        close(own, g[f'out/fn/edge_self_loss_{name}'])
    close(
        normal_loss(*pair, g['in/faces'], g['in/has_smpl']),
        g['out/fn/normal_loss'])


def pelvis(vertices, regressor):
    return (regressor @ vertices)[:, :1]


def test_training_step(golden):
    """The whole published training step: every term and every gradient."""
    g = golden
    weight = g['cfg']['loss_weights']
    names = ('pred_3d_vertices_coarse', 'pred_3d_vertices_intermediate',
             'pred_3d_vertices_fine', 'pred_3d_joints', 'pred_cam')
    leaves = {k: g[f'in/{k}'].clone().requires_grad_() for k in names}
    coarse, middle, fine, token_joints, camera = leaves.values()
    regressor, has_smpl = g['in/J_regressor'], g['in/has_smpl']

    joints = g['in/joints_3d']
    target_3d = (joints[..., :3] -
                 joints[:, PELVIS_24:PELVIS_24 + 1, :3])[:, J24_TO_J14]
    weights_3d = joints[:, J24_TO_J14, 3]
    target_2d = g['in/joints_2d'][:, J24_TO_J14]
    gt_fine = g['in/gt_vertices_fine']
    gt_middle = g['in/D0'] @ gt_fine
    gt_coarse = g['in/D1'] @ gt_middle
    gt_root = pelvis(gt_fine, regressor)
    root = pelvis(fine, regressor)
    fine_c, middle_c, coarse_c = fine - root, middle - root, coarse - root
    mesh_joints = (regressor @ fine_c)[:, H36M_TO_J14]
    token_c = token_joints - token_joints[:, list(HIPS)].mean(1, keepdim=True)

    def project(points):
        return camera[:, None, :1] * (points[..., :2] + camera[:, None, 1:])

    loss_3d = sum(
        joint_3d_loss(p, target_3d, weights_3d, g['in/has_3d'], root=HIPS)
        for p in (token_c, mesh_joints))
    loss_2d = sum(
        joint_2d_loss(project(p), target_2d[..., :2], target_2d[..., 2])
        for p in (token_c, mesh_joints))
    loss_v = sum(
        weight[f'vertices_{name}'] * vertex_loss(p, t - gt_root, has_smpl)
        for name, p, t in (('coarse', coarse_c,
                            gt_coarse), ('intermediate', middle_c, gt_middle),
                           ('fine', fine_c, gt_fine)))
    differ, own = edge_length_losses(middle_c, gt_middle - gt_root,
                                     g['in/edges'], has_smpl)
    normal = normal_loss(middle_c, gt_middle - gt_root, g['in/faces'],
                         has_smpl)
    loss_e = (
        weight['edge_gt'] * differ + weight['edge_self'] * own +
        weight['normal'] * normal)
    total = (
        weight['joints_3d'] * loss_3d + weight['vertices_3d'] * loss_v +
        weight['edge_normal'] * loss_e + weight['joints_2d'] * loss_2d)

    close(loss_3d, g['out/train/loss_3d_joints'])
    close(loss_2d, g['out/train/loss_2d_joints'])
    close(loss_v, g['out/train/loss_3d_vertices'])
    close(loss_e, g['out/train/loss_edge_normal'])
    close(total, g['out/train/loss_total'])
    total.backward()
    for name, leaf in leaves.items():
        expected = g[f'grad/{name}']
        torch.testing.assert_close(
            leaf.grad,
            expected,
            rtol=0,
            atol=3e-5 * expected.abs().max().item() + 1e-6)


def test_errors(golden):
    g = golden
    pred, target = g['in/kp3d_pred'], g['in/kp3d_gt'][..., :3]
    close(functional.pa_mpjpe(pred, target), g['out/fn/pa_mpjpe_per_sample'])
    close(
        functional.pa_mpjpe(pred.double(), target.double()),
        g['out/fn/pa_mpjpe_per_sample_f64'], 1e-9)
    close(functional.procrustes_align(pred, target), g['out/fn/pa_aligned'])
    pred, target = (functional.centre(x, HIPS) for x in (pred, target))
    close(
        functional.mpjpe(pred, target)[g['in/has_3d'] > 0], g['out/fn/mpjpe'])
    close(
        functional.mpvpe(g['in/pred_3d_vertices_fine'],
                         g['in/gt_vertices_fine'])[g['in/has_smpl'] > 0],
        g['out/fn/mpvpe'])


def test_validation(golden):
    g = golden
    regressor = g['in/J_regressor']
    fine, gt_fine = g['in/pred_3d_vertices_fine'], g['in/gt_vertices_fine']
    fine = fine - pelvis(fine, regressor)
    gt_fine = gt_fine - pelvis(gt_fine, regressor)
    pred = (regressor @ fine)[:, H36M_TO_J14]
    target = g['in/joints_3d'][:, J24_TO_J14, :3]
    mpjpe = functional.mpjpe(
        functional.centre(pred, HIPS), functional.centre(target, HIPS))
    mpvpe = functional.mpvpe(fine, gt_fine)
    pa_mpjpe = functional.pa_mpjpe(pred, target)
    close(mpjpe.mean(), g['out/val_allvalid/mPJPE'])
    close(mpvpe.mean(), g['out/val_allvalid/mPVPE'])
    close(pa_mpjpe.mean(), g['out/val_allvalid/PAmPJPE'])
    close(mpjpe[g['in/has_3d'] > 0].mean(), g['out/val/mPJPE'])
    close(mpvpe[g['in/has_smpl'] > 0].mean(), g['out/val/mPVPE'])


@pytest.mark.parametrize('name', ['g0', 'g05'])
def test_tokenizer_keypoint_loss(name):
    g = load(f'pct_tokenizer_{name}.npz')
    target = g['in/loss_gt']
    close(
        smooth_l1_keypoint_loss(g['in/loss_pred'], target[..., :2],
                                target[..., 2]), g['out/loss_only_joint'])
