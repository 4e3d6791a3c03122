# PCT stage one, small: the pose tokenizer on the joints of the built-in data.
_base_ = [
    '../_base_/short_runtime.py',
    '../_base_/datasets/synthetic_body_small.py',
    '../_base_/models/pct_tokenizer_small.py',
]

model = dict(
    type='TokenizerEstimator',
    tokenizer={{_base_.tokenizer}},
    data_preprocessor=None)

train_pipeline = [
    dict(type='GetBBoxCenterScale', padding=1.25),
    dict(
        type='RandomBBoxTransform',
        shift_factor=0.05,
        shift_prob=1.0,
        scale_factor=(0.85, 1.15),
        scale_prob=1.0,
        rotate_factor=30.0,
        rotate_prob=0.6),
    dict(type='MeshFlip', prob=0.5),
    dict(type='MeshAffine', input_size=(96, 96)),
    dict(type='PackKeypointInputs'),
]
test_pipeline = [
    dict(type='GetBBoxCenterScale', padding=1.25),
    dict(type='MeshAffine', input_size=(96, 96)),
    dict(type='PackKeypointInputs'),
]
train_dataloader = dict(
    batch_size=64, dataset=dict(keypoints_only=True, pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=100, dataset=dict(keypoints_only=True, pipeline=test_pipeline))
test_dataloader = dict(
    batch_size=100, dataset=dict(keypoints_only=True, pipeline=test_pipeline))

val_evaluator = [dict(type='EPE')]
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=4, val_interval=4)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
