# Copyright (c) The mpm_postometro authors. All rights reserved.
# The tokenizer of COCO, small and short: for one person on one photo.
_base_ = ['../../configs/pct/pct_tokenizer_coco-256x256.py']

model = dict(
    tokenizer=dict(
        num_tokens=8,
        num_codes=32,
        token_dim=16,
        encoder=dict(num_blocks=1, channels=32, channel_hidden=32),
        quantizer=dict(kmeans_iters=5, revive_threshold=0.05),
        # Short trainings need it.
        coord_scale=128.,
        coord_offset=127.5))

# One person is not to be learnt by heart from all sides in seconds.
mild = dict(
    RandomHalfBody=dict(prob=0.),
    RandomBBoxTransform=dict(scale_factor=(0.85, 1.05), rotate_factor=0.))
train_pipeline = [
    dict(step, **mild.get(step['type'], {}))
    for step in _base_.keypoint_train_pipeline
]
train_dataloader = dict(
    batch_size=32,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=0, persistent_workers=False)
test_dataloader = dict(num_workers=0, persistent_workers=False)

randomness = dict(seed=1)
train_cfg = dict(max_epochs=20, val_interval=20)
optim_wrapper = dict(optimizer=dict(lr=1e-2))
param_scheduler = [
    dict(type='CosineAnnealingLR', by_epoch=True, convert_to_iter_based=True)
]
