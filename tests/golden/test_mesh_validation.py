# Copyright (c) The mpm_postometro authors. All rights reserved.
"""MeshMetric, METRO's protocol, against the published validation."""
import pytest
import torch
from mesh_networks import Golden, golden_files
from mmengine.structures import InstanceData
from mmpose.structures import PoseDataSample

from mpm_postometro.bodies import BodyOutput
from mpm_postometro.evaluation import MeshMetric

J24_TO_J14 = [*range(13), 18]
H36M_TO_J14 = [3, 2, 1, 4, 5, 6, 16, 15, 14, 11, 12, 13, 8, 10]


class GoldenBody:
    """The file has true vertices: betas say which person's they are."""

    identity = 'golden:0'
    name = 'golden'

    def __init__(self, golden):
        self.regressor = golden['in/J_regressor']
        self.vertices = golden['in/gt_vertices_fine']
        self.num_vertices = self.vertices.shape[1]

    def to(self, device):
        return self

    def __call__(self, betas, body_pose, global_orient):
        return BodyOutput(self.vertices[betas[:, 0].long()], None)

    def pelvis(self, vertices):
        return (self.regressor @ vertices)[:, :1]


@pytest.mark.parametrize('path', golden_files('mesh_losses_metrics.npz'))
@pytest.mark.parametrize('flags', ['all', 'theirs'])
def test_validation(path, flags):
    golden = Golden(path)
    body = GoldenBody(golden)
    metric = MeshMetric()
    metric.body = metric._bodies['neutral'] = body
    pred = golden['in/pred_3d_vertices_fine']
    pred = pred - body.pelvis(pred)
    joints = (body.regressor @ pred)[:, H36M_TO_J14]
    true = golden['in/joints_3d'][:, J24_TO_J14, :3]
    has_smpl, has_3d = (
        golden[f'in/has_{kind}'].float() for kind in ('smpl', '3d'))
    if flags == 'all':
        has_smpl[:] = has_3d[:] = 1
    for i in range(len(pred)):
        sample = PoseDataSample(metainfo=dict(id=i))
        sample.pred_instances = InstanceData(
            vertices=pred[i:i + 1], keypoints_3d=joints[i:i + 1])
        sample.gt_instance_labels = InstanceData(
            joints_3d=true[i:i + 1],
            joints_3d_weights=torch.ones(1, 14),
            has_joints_3d=has_3d[i:i + 1],
            has_smpl=has_smpl[i:i + 1],
            betas=torch.tensor([[float(i)]]),
            body_pose=torch.zeros(1, 23, 3),
            global_orient=torch.zeros(1, 3))
        metric.process(None, [sample])
    metrics = metric.evaluate(len(pred))
    group = 'val_allvalid' if flags == 'all' else 'val'
    for ours, theirs in (('mpjpe', 'mPJPE'), ('mpvpe', 'mPVPE')):
        assert metrics[f'mesh/{ours}'] == pytest.approx(
            1000 * golden[f'out/{group}/{theirs}'].item(), rel=1e-5)
    assert metrics['mesh/persons'] == has_3d.sum()
    assert metrics['mesh/persons_mesh'] == has_smpl.sum()
    if flags == 'all':  # with flags, theirs is a known defect
        assert metrics['mesh/pa_mpjpe'] == pytest.approx(
            1000 * golden['out/val_allvalid/PAmPJPE'].item(), rel=1e-5)
