# Copyright (c) The mpm_postometro authors. All rights reserved.
# A tokenizer on poses from memory, for the runners' tests. Nothing random
# but the initial weights and the order of the samples, so that the same
# global batch gives the same step whatever the number of processes.
_base_ = ['mmpose::_base_/default_runtime.py']
custom_imports = dict(
    imports=['mpm_postometro', 'tiny_training'], allow_failed_imports=False)

randomness = dict(seed=3)
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=1))
custom_hooks = [dict(type='InterruptOnce')]
vis_backends = [dict(type='LocalVisBackend')]
visualizer = dict(type='Visualizer', vis_backends=vis_backends)

model = dict(
    type='TokenizerEstimator',
    tokenizer=dict(
        type='PCTTokenizer',
        num_tokens=4,
        num_codes=16,
        token_dim=16,
        joint_drop=0.))
# Not Adam: it blows rounding up where a gradient is nought.
optim_wrapper = dict(optimizer=dict(type='SGD', lr=1e-2, momentum=0.9))
param_scheduler = dict(type='CosineAnnealingLR', T_max=3)
train_cfg = dict(by_epoch=True, max_epochs=3, val_interval=1)
val_cfg = dict()
test_cfg = dict()

batch_size = 8
train_dataloader = dict(
    batch_size=batch_size,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='RandomPoses', length=32, seed=0))
# An odd number: two processes get shares of different size.
val_dataloader = dict(
    batch_size=4,
    num_workers=0,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(type='RandomPoses', length=13, seed=1))
test_dataloader = val_dataloader
val_evaluator = dict(type='EPE')
test_evaluator = val_evaluator
