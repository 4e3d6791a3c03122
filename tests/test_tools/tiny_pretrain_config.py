# Copyright (c) The mpm_postometro authors. All rights reserved.
# Masked pre-training on a few clips, for the runners' tests: masks, flips and
# dropout of each epoch, shuffled clips, Adam and BatchNorm as in every config.
_base_ = ['../../configs/mpm/mpm_pretrain_small_cmu-27f.py']
custom_imports = dict(
    imports=['mpm_postometro', 'tiny_training', 'tiny_clips'],
    allow_failed_imports=False)

randomness = dict(seed=3)
log_processor = dict(window_size=1)  # of each step, not a mean
default_hooks = dict(logger=dict(interval=1), checkpoint=dict(interval=1))
custom_hooks = [
    dict(type='SyncBuffersHook'),
    dict(type='DatasetEpochHook'),
    dict(type='InterruptOnce')
]

tiny = dict(channels=16, feedforward_channels=32, dropout=0.1)
model = dict(
    backbone=dict(
        **tiny,
        hidden_channels=32,
        num_layers=1,
        num_frames=9,
        frame_dropout=0.1),
    heads={
        '2d': tiny,
        '3d': tiny
    })
train_dataloader = dict(batch_size=8, dataset=dict(seq_len=9))
# An odd number: two processes get shares of different size.
val_dataloader = dict(
    batch_size=4, dataset=dict(seq_len=9, clip_step=3, num_cameras=3))
test_dataloader = val_dataloader
param_scheduler = [dict(type='ExponentialLR', gamma=0.97, by_epoch=True)]
