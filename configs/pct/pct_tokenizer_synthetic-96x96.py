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
    *_base_.train_pipeline[:-1],
    dict(type='PackKeypointInputs'),
]
test_pipeline = [
    *_base_.test_pipeline[:-1],
    dict(type='PackKeypointInputs'),
]
train_dataloader = dict(
    batch_size=64, dataset=dict(keypoints_only=True, pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=100, dataset=dict(keypoints_only=True, pipeline=test_pipeline))
test_dataloader = dict(
    batch_size=100, dataset=dict(keypoints_only=True, pipeline=test_pipeline))

val_evaluator = [
    dict(type='KeypointErrorMetric'),
    dict(type='CodebookMetric', num_codes={{_base_.tokenizer.num_codes}})
]
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=4, val_interval=4)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
