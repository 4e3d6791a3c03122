# MPM stage one, small: masked modelling on CMU motion capture.
_base_ = ['./mpm_pretrain_cmu-27f.py', '../_base_/mpm_small.py']

model = dict(
    backbone=_base_.small_backbone,
    heads={
        '2d': _base_.small_layers,
        '3d': _base_.small_layers
    })
train_dataloader = dict(**_base_.small_loader, dataset=dict(clip_step=8))
val_dataloader = dict(**_base_.small_loader, dataset=dict(clip_step=20))
test_dataloader = dict(**_base_.small_loader, dataset=dict(clip_step=4))

train_cfg = dict(max_epochs=3)
optim_wrapper = dict(optimizer=_base_.small_optimizer)
param_scheduler = _base_.small_schedule
