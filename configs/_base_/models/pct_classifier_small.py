# PCT stage two on the small backbone: MMPose's own top-down estimator.
_base_ = ['./res18_small.py', './pct_tokenizer_small.py']
classifier = dict(
    type='TopdownPoseEstimator',
    data_preprocessor={{_base_.data_preprocessor}},
    backbone=dict(
        type='ResNet',
        depth=18,
        stem_channels=16,
        base_channels=32,
        strides=(2, 2, 2, 1),
        frozen_stages=4),
    head=dict(
        type='PCTHead',
        in_channels=256,
        feat_size={{_base_.feat_size}},
        conv_channels=128,
        conv_num_blocks=2,
        hidden_channels=32,
        num_mixers=4,
        token_hidden=64,
        channel_hidden=128,
        tokenizer={{_base_.tokenizer}}),
    test_cfg=dict(flip_test=False))
