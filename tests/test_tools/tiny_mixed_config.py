# Copyright (c) The mpm_postometro authors. All rights reserved.
# Pre-training in two processes, of which the second one never sees a 3D pose.
# Nothing is random but the initial weights, and what epoch and clip say.
_base_ = ['tiny_pretrain_config.py']

custom_hooks = [*_base_.custom_hooks, dict(type='FreezeBatchNorm')]
model = dict(
    backbone=dict(dropout=0., frame_dropout=0.),
    heads={
        '2d': dict(dropout=0.),
        '3d': dict(dropout=0.)
    })
train_dataloader = dict(
    sampler=dict(shuffle=False), dataset=dict(type='HalfIn3D'))
# Not Adam: it blows rounding up where a gradient is nought.
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='SGD', lr=1e-3, momentum=0.9))
train_cfg = dict(max_epochs=2)
