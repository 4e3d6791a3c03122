# MPM stage one on Human3.6M, 2D by CPN: 243 frames, every second one.
_base_ = ['../_base_/mpm_pretrain.py', '../_base_/datasets/h36m_sequences.py']

train_dataloader = dict(dataset=dict(**_base_.h36m_train, frame_step=2))
val_dataloader = dict(
    dataset=dict(**_base_.h36m_test, frame_step=2, clip_step=20))
test_dataloader = dict(dataset=dict(**_base_.h36m_test, frame_step=2))
