# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Small networks and clips for the tests of MPM's estimator."""
import torch
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample

FRAMES, JOINTS = 9, 5
FLIP = [0, 3, 4, 1, 2]
HEAD = dict(
    num_joints=JOINTS, channels=16, feedforward_channels=20, num_heads=2)
DECODERS = {
    '2d': dict(type='MPMDecoderHead', coord_dims=2, **HEAD),
    '3d': dict(type='MPMDecoderHead', coord_dims=3, **HEAD)
}
LIFTER = {
    '3d':
    dict(type='MPMLiftingHead', num_frames=FRAMES, strides=(1, 3, 3), **HEAD)
}

# stage: backbone, heads, tasks, masks
STAGES = dict(
    pretraining=(dict(), DECODERS, [('2d', '2d', 5), ('3d', '3d', 2)], True),
    pretraining_with_lifting=(dict(), DECODERS, [('2d', '2d', 5),
                                                 ('3d', '3d', 5),
                                                 ('2d', '3d', 1)], True),
    completion_3d=(dict(modalities=('3d', )), {
        '3d': DECODERS['3d']
    }, [('3d', '3d', 1)], True),
    completion_2d_to_3d=(dict(modalities=('2d', )), DECODERS, [('2d', '3d', 2),
                                                               ('2d', '2d', 1)
                                                               ], True),
    lifting=(dict(modalities=('2d', ),
                  masking=False), LIFTER, [('2d', '3d', 1)], False),
)


def build(stage, backbone=None, **changes):
    torch.manual_seed(0)
    own, heads, tasks, _ = STAGES[stage]
    cfg = dict(
        type='MPMEstimator',
        backbone=dict(
            type='MPM',
            num_frames=FRAMES,
            hidden_channels=24,
            num_layers=2,
            **HEAD,
            **own,
            **(backbone or {})),
        heads=heads,
        tasks=[
            dict(source=source, target=target, weight=weight)
            for source, target, weight in tasks
        ])
    cfg.update(changes)
    return MODELS.build(cfg)


def make_batch(masked=True, batch=4, has_2d=None, has_3d=None, tube=False):
    """What ``pseudo_collate`` makes of clips."""
    generator = torch.Generator().manual_seed(1)
    inputs = dict(
        camera=torch.tensor([2.2, 2.2, 0, 0, 0, 0, 0, 0, 0]).expand(batch, 9),
        root_3d=torch.tensor([0., 0., 4.]).expand(batch, FRAMES, 3),
        has_2d=torch.tensor(has_2d or [True] * batch),
        has_3d=torch.tensor(has_3d or [True] * batch))
    for name in ('2d', '3d'):
        poses = torch.randn(
            batch, FRAMES, JOINTS, int(name[0]), generator=generator)
        if name == '3d':
            poses[:, :, 0] = 0
        poses[~inputs[f'has_{name}']] = 0
        inputs[f'keypoints_{name}'] = poses
        if masked:
            scores = torch.rand(batch, FRAMES, JOINTS, generator=generator)
            inputs[f'joint_mask_{name}'] = scores.argsort(-1) < 2
            if tube:
                continue
            scores = torch.rand(batch, FRAMES, generator=generator)
            inputs[f'frame_mask_{name}'] = scores.argsort(-1) < 5
    samples = [
        PoseDataSample(metainfo=dict(flip_indices=FLIP, target_index=4))
        for _ in range(batch)
    ]
    return dict(
        inputs={
            k: list(v)
            for k, v in inputs.items()
        }, data_samples=samples)
