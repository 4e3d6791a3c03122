# Runtime of MPM as published: Adam with AMSGrad, 50 epochs, a learning rate
# that falls by 3 % after each. A batch of 1,024 clips is that of one GPU; on
# eight of them
#
#   --cfg-options train_dataloader.batch_size=128
_base_ = ['./default_runtime.py']

train_cfg = dict(by_epoch=True, max_epochs=50, val_interval=1)
val_cfg = dict()
test_cfg = dict()
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='Adam', lr=1e-4, amsgrad=True))
param_scheduler = [dict(type='ExponentialLR', gamma=0.97, by_epoch=True)]
# Each epoch draws other clips, masks and dropout, a resumed one those it would
# have drawn.
randomness = dict(seed=0)
custom_hooks = [dict(type='SyncBuffersHook'), dict(type='DatasetEpochHook')]
auto_scale_lr = dict(base_batch_size=1024)

# BatchNorm wants more than one clip: the last, smaller batch is left out.
train_dataloader = dict(
    batch_size=1024,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    collate_fn=dict(type='collate_sequences'),
    sampler=dict(type='DefaultSampler', shuffle=True))
val_dataloader = dict(
    batch_size=1024,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    drop_last=False,
    collate_fn=dict(type='collate_sequences'),
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False))
test_dataloader = val_dataloader

val_evaluator = dict(type='PoseSequenceMetric', group_by=None)
test_evaluator = dict(type='PoseSequenceMetric')
