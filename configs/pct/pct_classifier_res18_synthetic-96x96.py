# PCT stage two, small: image -> pose tokens on the built-in data. Set
# model.head.tokenizer_checkpoint to the checkpoint of stage one.
_base_ = [
    '../_base_/short_runtime.py',
    '../_base_/datasets/synthetic_body_small.py',
    '../_base_/models/pct_classifier_small.py',
]

model = {{_base_.classifier}}

val_evaluator = [
    dict(type='EPE'),
    dict(type='PCKAccuracy', thr=0.05, norm_item='bbox')
]
test_evaluator = val_evaluator
