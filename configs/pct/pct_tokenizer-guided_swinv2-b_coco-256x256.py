# PCT stage one on COCO, as published: guided by image features of SwinV2-B.
# After heatmap_swinv2-b_coco-256x256.py:
#
#   bash tools/dist_train.sh \
#       configs/pct/pct_tokenizer-guided_swinv2-b_coco-256x256.py 8
_base_ = [
    './pct_tokenizer_coco-256x256.py',
    '../_base_/models/swinv2_b.py',
]

model = dict(
    data_preprocessor={{_base_.data_preprocessor}},
    guide_backbone=dict(
        **_base_.frozen_backbone,
        init_cfg=dict(
            type='Pretrained',
            prefix='backbone.',
            checkpoint='work_dirs/heatmap_swinv2-b_coco-256x256/'
            'epoch_150.pth')),
    tokenizer=dict(guide_ratio=0.5, guide_channels={{_base_.feat_channels}}))

train_dataloader = dict(dataset=dict(pipeline={{_base_.train_pipeline}}))
val_dataloader = dict(dataset=dict(pipeline={{_base_.labelled_test_pipeline}}))
test_dataloader = val_dataloader
