# MPM lifts true 2D poses, MPI-INF-3DHP, from scratch: 16 joints, 81 frames.
_base_ = ['../_base_/mpm_lift.py', '../_base_/datasets/3dhp_sequences.py']

model = dict(
    backbone=dict(num_frames=81, num_joints=16),
    heads={'3d': dict(num_frames=81, num_joints=16)})
train_dataloader = dict(dataset=dict(**_base_.mpi_train, seq_len=81))
val_dataloader = dict(dataset=dict(**_base_.mpi_test, seq_len=81))
test_dataloader = val_dataloader
