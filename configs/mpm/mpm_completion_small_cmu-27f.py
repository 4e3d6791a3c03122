# MPM, small, completes 3D poses.
_base_ = ['./mpm_completion_cmu-27f.py', '../_base_/mpm_small.py']

checkpoint = 'work_dirs/mpm_pretrain_small_cmu-27f/epoch_3.pth'

model = dict(
    backbone=dict(
        **_base_.small_backbone, init_cfg=dict(checkpoint=checkpoint)),
    heads={'3d': _base_.small_layers})
train_dataloader = dict(**_base_.small_loader, dataset=dict(clip_step=8))
val_dataloader = dict(**_base_.small_loader, dataset=dict(clip_step=20))
test_dataloader = dict(**_base_.small_loader, dataset=dict(clip_step=4))

train_cfg = dict(max_epochs=2)
optim_wrapper = dict(optimizer=_base_.small_optimizer)
param_scheduler = _base_.small_schedule
