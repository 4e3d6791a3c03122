# For comparison: MMPose's regression of the joints, on the backbone of the
# small heatmap config and trained alike.
_base_ = [
    '../_base_/short_runtime.py',
    '../_base_/datasets/synthetic_body_small.py',
    '../_base_/models/res18_small.py',
]

codec = dict(type='RegressionLabel', input_size=(96, 96))

model = dict(
    type='TopdownPoseEstimator',
    data_preprocessor={{_base_.data_preprocessor}},
    backbone={{_base_.backbone}},
    neck=dict(type='GlobalAveragePooling'),
    head=dict(
        type='RegressionHead',
        in_channels={{_base_.feat_channels}},
        num_joints=17,
        loss=dict(type='SmoothL1Loss', use_target_weight=True),
        decoder=codec),
    test_cfg=dict(flip_test=False))

train_pipeline = [
    *_base_.train_pipeline[:-1],
    dict(type='GenerateTarget', encoder=codec),
    dict(type='PackPoseInputs'),
]
train_dataloader = dict(batch_size=32, dataset=dict(pipeline=train_pipeline))

optim_wrapper = dict(optimizer=dict(lr=5e-3))
train_cfg = dict(max_epochs=8)
val_evaluator = [dict(type='KeypointErrorMetric')]
test_evaluator = val_evaluator
