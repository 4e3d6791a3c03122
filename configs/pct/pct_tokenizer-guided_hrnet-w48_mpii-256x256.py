# PCT stage one on MPII, guided by image features of HRNet-W48. The backbone
# comes from MMPose's zoo, trained on MPII.
#
#   bash tools/dist_train.sh \
#       configs/pct/pct_tokenizer-guided_hrnet-w48_mpii-256x256.py 8
_base_ = [
    './pct_tokenizer_mpii-256x256.py',
    '../_base_/models/hrnet_w48.py',
]

guide_backbone_mpii = dict(
    _base_.guide_backbone,
    init_cfg=dict(
        type='Pretrained',
        prefix='backbone.',
        checkpoint='https://download.openmmlab.com/mmpose/'
        'top_down/hrnet/hrnet_w48_mpii_256x256-92cab7bd_20200812.pth'))
model = dict(
    data_preprocessor={{_base_.data_preprocessor}},
    guide_backbone=guide_backbone_mpii,
    tokenizer=dict(guide_ratio=0.5, guide_channels={{_base_.guide_channels}}))

train_dataloader = dict(dataset=dict(pipeline={{_base_.train_pipeline}}))
val_dataloader = dict(dataset=dict(pipeline={{_base_.labelled_test_pipeline}}))
test_dataloader = val_dataloader

# Here no part of HRNet learns.
find_unused_parameters = False
