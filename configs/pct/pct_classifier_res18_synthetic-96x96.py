# PCT stage two, small: image -> pose tokens on the built-in data. Set
# model.head.tokenizer_checkpoint to the checkpoint of stage one, and
# model.backbone.init_cfg to the backbone trained on heatmaps, which stays
# frozen as published.
_base_ = [
    '../_base_/short_runtime.py',
    '../_base_/datasets/synthetic_body_small.py',
    '../_base_/models/pct_classifier_small.py',
]

model = {{_base_.classifier}}

train_dataloader = dict(batch_size=32)
train_cfg = dict(max_epochs=3)
optim_wrapper = dict(optimizer=dict(lr=2e-3))

val_evaluator = [dict(type='KeypointErrorMetric')]
test_evaluator = val_evaluator
