# PCT stage one on COCO, guided by image features of HRNet-W48.
# The backbone comes from MMPose's zoo.
#
#   bash tools/dist_train.sh \
#       configs/pct/pct_tokenizer-guided_hrnet-w48_coco-256x256.py 8
_base_ = [
    './pct_tokenizer_coco-256x256.py',
    '../_base_/models/hrnet_w48.py',
]

model = dict(
    data_preprocessor={{_base_.data_preprocessor}},
    guide_backbone={{_base_.guide_backbone}},
    tokenizer=dict(guide_ratio=0.5, guide_channels={{_base_.guide_channels}}))

train_dataloader = dict(dataset=dict(pipeline={{_base_.train_pipeline}}))
val_dataloader = dict(dataset=dict(pipeline={{_base_.labelled_test_pipeline}}))
test_dataloader = val_dataloader

# Here no part of HRNet learns.
find_unused_parameters = False
