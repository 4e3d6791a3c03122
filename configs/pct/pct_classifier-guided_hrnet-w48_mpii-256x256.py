# PCT stage two on MPII with HRNet-W48 and a tokenizer that was guided by it.
# After pct_tokenizer-guided_hrnet-w48_mpii-256x256.py:
#
#   bash tools/dist_train.sh \
#       configs/pct/pct_classifier-guided_hrnet-w48_mpii-256x256.py 8
_base_ = ['./pct_classifier_hrnet-w48_mpii-256x256.py']

model = dict(
    type='GuidedTopdownPoseEstimator',
    guide_backbone=dict(
        _base_.guide_backbone, init_cfg=_base_.backbone_mpii.init_cfg),
    head=dict(
        tokenizer=dict(
            guide_ratio=0.5, guide_channels={{_base_.guide_channels}}),
        tokenizer_checkpoint='work_dirs/'
        'pct_tokenizer-guided_hrnet-w48_mpii-256x256/epoch_50.pth'))
