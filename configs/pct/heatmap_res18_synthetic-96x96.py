# PCT before stage one, small: MMPose's heatmaps teach the backbone to find
# joints. The classifier and the mesh network keep this backbone frozen.
_base_ = [
    '../_base_/short_runtime.py',
    '../_base_/datasets/synthetic_body_small.py',
    '../_base_/models/res18_small.py',
]

codec = dict(
    type='MSRAHeatmap', input_size=(96, 96), heatmap_size=(12, 12), sigma=1)

model = dict(
    type='TopdownPoseEstimator',
    data_preprocessor={{_base_.data_preprocessor}},
    backbone={{_base_.backbone}},
    head=dict(
        type='HeatmapHead',
        in_channels={{_base_.feat_channels}},
        out_channels=17,
        deconv_out_channels=(64, ),
        deconv_kernel_sizes=(4, ),
        loss=dict(type='KeypointMSELoss', use_target_weight=True),
        decoder=codec),
    # Accuracy on every training batch would cost a tenth of the time.
    train_cfg=dict(compute_acc=False),
    test_cfg=dict(flip_test=False))

train_pipeline = [
    *_base_.train_pipeline[:-1],
    dict(type='GenerateTarget', encoder=codec),
    dict(type='PackPoseInputs'),
]
train_dataloader = dict(batch_size=32, dataset=dict(pipeline=train_pipeline))

optim_wrapper = dict(optimizer=dict(lr=7e-3))
train_cfg = dict(max_epochs=8)
val_evaluator = [dict(type='KeypointErrorMetric')]
test_evaluator = val_evaluator
