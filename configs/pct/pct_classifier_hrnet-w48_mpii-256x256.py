# PCT stage two on MPII with HRNet-W48, without image guidance. The backbone
# comes from MMPose's zoo, trained on MPII. After
# pct_tokenizer_mpii-256x256.py:
#
#   bash tools/dist_train.sh \
#       configs/pct/pct_classifier_hrnet-w48_mpii-256x256.py 8
_base_ = [
    '../_base_/pct_runtime.py',
    '../_base_/datasets/mpii_256x256.py',
    '../_base_/models/pct_classifier.py',
    '../_base_/models/hrnet_w48.py',
]

backbone_mpii = dict(
    _base_.frozen_backbone,
    init_cfg=dict(
        type='Pretrained',
        prefix='backbone.',
        checkpoint='https://download.openmmlab.com/mmpose/'
        'top_down/hrnet/hrnet_w48_mpii_256x256-92cab7bd_20200812.pth'))
model = dict(
    data_preprocessor={{_base_.data_preprocessor}},
    backbone=backbone_mpii,
    head=dict(
        in_channels={{_base_.feat_channels}},
        feat_size={{_base_.feat_size}},
        tokenizer=dict(num_joints=16),
        tokenizer_checkpoint='work_dirs/pct_tokenizer_mpii-256x256/'
        'epoch_50.pth'))

default_hooks = dict(checkpoint=dict(save_best='PCK'))
