# Copyright (c) The mpm_postometro authors. All rights reserved.
# Lifting of a few clips, for the runners' tests.
_base_ = ['../../configs/mpm/mpm_lift_small_cmu-27f.py']

tiny = dict(channels=16, feedforward_channels=32)
model = dict(
    backbone=dict(**tiny, hidden_channels=32, num_layers=1, num_frames=9),
    heads={'3d': dict(**tiny, num_frames=9, strides=(1, 3, 3))})
# An odd number: two processes get shares of different size.
test_dataloader = dict(
    batch_size=4, dataset=dict(seq_len=9, clip_step=1, num_cameras=3))
