# PCT stage two on COCO with ResNet-50, without image guidance. The backbone
# comes from MMPose's zoo. After pct_tokenizer_coco-256x256.py:
#
#   bash tools/dist_train.sh \
#       configs/pct/pct_classifier_res50_coco-256x256.py 8
_base_ = [
    '../_base_/pct_runtime.py',
    '../_base_/datasets/coco_256x256.py',
    '../_base_/models/pct_classifier.py',
    '../_base_/models/res50.py',
]

model = dict(
    data_preprocessor={{_base_.data_preprocessor}},
    backbone={{_base_.frozen_backbone}},
    head=dict(
        in_channels={{_base_.feat_channels}}, feat_size={{_base_.feat_size}}))
