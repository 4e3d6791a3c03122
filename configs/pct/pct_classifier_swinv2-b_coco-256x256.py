# PCT stage two on COCO with SwinV2-B, without image guidance. After
# heatmap_swinv2-b_coco-256x256.py and pct_tokenizer_coco-256x256.py:
#
#   bash tools/dist_train.sh \
#       configs/pct/pct_classifier_swinv2-b_coco-256x256.py 8
_base_ = [
    '../_base_/pct_runtime.py',
    '../_base_/datasets/coco_256x256.py',
    '../_base_/models/pct_classifier.py',
    '../_base_/models/swinv2_b.py',
]

model = dict(
    data_preprocessor={{_base_.data_preprocessor}},
    backbone=dict(
        **_base_.frozen_backbone,
        init_cfg=dict(
            type='Pretrained',
            prefix='backbone.',
            checkpoint='work_dirs/heatmap_swinv2-b_coco-256x256/'
            'epoch_150.pth')),
    head=dict(
        in_channels={{_base_.feat_channels}}, feat_size={{_base_.feat_size}}))
