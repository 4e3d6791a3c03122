# Copyright (c) The mpm_postometro authors. All rights reserved.
# A classifier of COCO, small and short: for one person on one photo.
_base_ = [
    '../../configs/pct/pct_classifier_res50_coco-256x256.py',
]

model = dict(
    backbone=dict(
        depth=18,
        stem_channels=4,
        base_channels=4,
        frozen_stages=-1,
        init_cfg=None),
    head=dict(
        in_channels=32,
        conv_channels=16,
        hidden_channels=16,
        channel_hidden=16,
        num_mixers=1,
        tokenizer_checkpoint=None,
        tokenizer=dict(
            num_tokens=8,
            num_codes=32,
            token_dim=16,
            encoder=dict(num_blocks=1, channels=32, channel_hidden=32),
            coord_scale=128.,
            coord_offset=127.5)))

# One person is not to be learnt by heart from all sides in seconds.
mild = dict(
    RandomHalfBody=dict(prob=0.),
    RandomBBoxTransform=dict(scale_factor=(0.85, 1.05), rotate_factor=0.))
train_pipeline = [
    dict(step, **mild.get(step['type'], {})) for step in _base_.train_pipeline
]
train_dataloader = dict(
    batch_size=8,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(num_workers=0, persistent_workers=False)
# Boxes of a detector, of very different size and score.
test_dataloader = dict(
    batch_size=4,
    num_workers=0,
    persistent_workers=False,
    dataset=dict(bbox_file='data/coco/detections.json'))

randomness = dict(seed=1)
train_cfg = dict(max_epochs=2, val_interval=2)
# Half precision needs a GPU.
optim_wrapper = dict(type='OptimWrapper', optimizer=dict(lr=5e-3))
param_scheduler = [
    dict(type='CosineAnnealingLR', by_epoch=True, convert_to_iter_based=True)
]
