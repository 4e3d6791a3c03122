# MPM, small, lifts true 2D poses, from scratch.
_base_ = ['./mpm_lift_cmu-27f.py', '../_base_/mpm_small.py']

model = dict(backbone=_base_.small_backbone, heads={'3d': _base_.small_layers})
train_dataloader = dict(**_base_.small_loader, dataset=dict(clip_step=8))
val_dataloader = dict(**_base_.small_loader, dataset=dict(clip_step=20))
test_dataloader = dict(**_base_.small_loader, dataset=dict(clip_step=4))

train_cfg = dict(max_epochs=2)
optim_wrapper = dict(optimizer=_base_.small_optimizer)
param_scheduler = _base_.small_schedule
