# PCT stage two on the small backbone: MMPose's own top-down estimator.
_base_ = ['./res18_small.py', './pct_tokenizer_small.py']
classifier = dict(
    type='TopdownPoseEstimator',
    data_preprocessor={{_base_.data_preprocessor}},
    backbone={{_base_.frozen_backbone}},
    head=dict(
        type='PCTHead',
        in_channels={{_base_.feat_channels}},
        feat_size={{_base_.feat_size}},
        conv_channels=64,
        conv_num_blocks=2,
        hidden_channels=32,
        num_mixers=4,
        token_hidden=64,
        channel_hidden=128,
        tokenizer={{_base_.tokenizer}}),
    test_cfg=dict(flip_test=False))
