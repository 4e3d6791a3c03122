# MPM completes 3D poses, CMU motion capture, from the network
# of stage one: 27 frames.
_base_ = ['../_base_/mpm_completion.py', '../_base_/datasets/cmu_sequences.py']

checkpoint = 'work_dirs/mpm_pretrain_cmu-27f/epoch_50.pth'
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained', checkpoint=checkpoint, prefix='backbone.')))
train_dataloader = dict(dataset=_base_.cmu_train)
val_dataloader = dict(dataset=dict(**_base_.cmu_val, clip_step=20))
test_dataloader = dict(dataset=_base_.cmu_test)
