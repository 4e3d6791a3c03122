# Runtime of PCT as published, on 8 GPUs: AdamW, 500 iterations of warm-up and
# one cosine; half precision where the backbone runs. Without a GPU add
#
#   --cfg-options optim_wrapper.type=OptimWrapper
_base_ = ['./default_runtime.py']

train_cfg = dict(by_epoch=True, max_epochs=210, val_interval=5)
optim_wrapper = dict(
    type='AmpOptimWrapper',
    optimizer=dict(
        type='AdamW', lr=8e-4, betas=(0.9, 0.999), weight_decay=0.05),
    constructor='MatrixDecayOptimWrapperConstructor')
param_scheduler = [
    dict(type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=500),
    dict(
        type='CosineAnnealingLR',
        eta_min_ratio=1e-5,
        by_epoch=True,
        convert_to_iter_based=True),
]
default_hooks = dict(
    checkpoint=dict(interval=5, save_best='coco/AP', rule='greater'))
auto_scale_lr = dict(base_batch_size=256)
