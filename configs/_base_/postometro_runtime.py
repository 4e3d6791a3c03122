# Runtime of PostoMETRO: AdamW at a constant rate, 30 epochs. Weight decay and
# clipping, on which the paper is silent, are FastMETRO's.
_base_ = ['./default_runtime.py']

train_cfg = dict(by_epoch=True, max_epochs=30, val_interval=1)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(
        type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=1e-4),
    clip_grad=dict(max_norm=0.3))
default_hooks = dict(
    checkpoint=dict(save_best='mesh/pa_mpjpe', rule='less'),
    visualization=dict(type='MeshVisualizationHook'))
# Mixed data sets go on where the epoch before ended.
custom_hooks = [dict(type='SyncBuffersHook'), dict(type='DatasetEpochHook')]
