# MPM lifts true 2D poses, CMU motion capture, from scratch: 27 frames.
_base_ = ['../_base_/mpm_lift.py', '../_base_/datasets/cmu_sequences.py']

model = dict(backbone=dict(num_frames=27), heads={'3d': dict(num_frames=27)})
train_dataloader = dict(dataset=dict(**_base_.cmu_train, seq_len=27))
val_dataloader = dict(dataset=dict(**_base_.cmu_val, seq_len=27, clip_step=20))
test_dataloader = dict(dataset=dict(**_base_.cmu_test, seq_len=27))
