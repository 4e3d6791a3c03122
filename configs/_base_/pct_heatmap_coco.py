# MMPose's heatmaps on COCO as PCT trains its backbone with them; configs that
# inherit this file name the backbone, a SwinV2.
_base_ = ['./pct_runtime.py', './datasets/coco_256x256.py']

codec = dict(
    type='MSRAHeatmap', input_size=(256, 256), heatmap_size=(64, 64), sigma=2)

model = dict(
    type='TopdownPoseEstimator',
    head=dict(
        type='HeatmapHead',
        out_channels=17,
        deconv_out_channels=(32, 32, 32),
        deconv_kernel_sizes=(2, 2, 2),
        loss=dict(type='KeypointMSELoss', use_target_weight=True),
        decoder=codec),
    test_cfg=dict(flip_test=True, flip_mode='heatmap', shift_heatmap=True))

train_pipeline = [
    *_base_.train_pipeline[:-2],
    dict(type='GenerateTarget', encoder=codec),
    dict(type='PackPoseInputs'),
]
test_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale', padding=1.25),
    *_base_.test_pipeline[2:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

train_cfg = dict(max_epochs=150)
optim_wrapper = dict(
    optimizer=dict(lr=5e-4),
    constructor='SwinLayerDecayOptimWrapperConstructor',
    paramwise_cfg=dict(layer_decay_rate=0.9))
