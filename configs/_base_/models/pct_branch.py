# The pose branch of PostoMETRO: PCT's classifier with a backbone of its own,
# SwinV2-B as published, guided by the image in its own training. Frozen. Needs
# timm:
#   pip install timm
_base_ = ['./swinv2_b.py']

pose_branch = dict(
    type='TopdownPoseEstimator',
    backbone={{_base_.frozen_backbone}},
    head=dict(
        type='PCTHead',
        in_channels={{_base_.feat_channels}},
        feat_size={{_base_.feat_size}},
        tokenizer=dict(
            type='PCTTokenizer',
            guide_ratio=0.5,
            guide_channels={{_base_.feat_channels}})),
    test_cfg=dict(flip_test=False))
pose_branch_checkpoint = (
    'work_dirs/pct_classifier-guided_swinv2-b_coco-256x256/epoch_210.pth')
