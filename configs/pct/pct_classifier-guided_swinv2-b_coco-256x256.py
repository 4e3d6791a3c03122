# PCT stage two on COCO, as published: with SwinV2-B and a tokenizer that was
# guided by it. After pct_tokenizer-guided_swinv2-b_coco-256x256.py:
#
#   bash tools/dist_train.sh \
#       configs/pct/pct_classifier-guided_swinv2-b_coco-256x256.py 8
_base_ = ['./pct_classifier_swinv2-b_coco-256x256.py']

model = dict(
    type='GuidedTopdownPoseEstimator',
    guide_backbone={{_base_.frozen_backbone}},
    head=dict(
        tokenizer=dict(
            guide_ratio=0.5, guide_channels={{_base_.feat_channels}}),
        tokenizer_checkpoint='work_dirs/'
        'pct_tokenizer-guided_swinv2-b_coco-256x256/epoch_50.pth'))
