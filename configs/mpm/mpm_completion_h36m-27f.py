# MPM completes 3D poses, Human3.6M, from the network of stage
# one: 27 frames.
_base_ = [
    '../_base_/mpm_completion.py', '../_base_/datasets/h36m_sequences.py'
]

checkpoint = 'work_dirs/mpm_pretrain_h36m-gt-27f/epoch_50.pth'
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained', checkpoint=checkpoint, prefix='backbone.')))
# No 2D is looked at, and its file is not needed.
train_dataloader = dict(dataset=dict(_base_.h36m_train, keypoint_file=None))
val_dataloader = dict(
    dataset=dict(_base_.h36m_test, keypoint_file=None, clip_step=20))
test_dataloader = dict(dataset=dict(_base_.h36m_test, keypoint_file=None))
