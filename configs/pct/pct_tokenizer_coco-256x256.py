# PCT stage one on COCO, as published without image guidance. Reads no picture:
#
#   bash tools/dist_train.sh configs/pct/pct_tokenizer_coco-256x256.py 8
_base_ = [
    '../_base_/pct_runtime.py',
    '../_base_/datasets/coco_256x256.py',
]

model = dict(
    type='TokenizerEstimator',
    tokenizer=dict(type='PCTTokenizer', num_joints=17))

train_dataloader = dict(
    batch_size=64, dataset=dict(pipeline={{_base_.keypoint_train_pipeline}}))
val_dataloader = dict(
    batch_size=64, dataset=dict(pipeline={{_base_.keypoint_test_pipeline}}))
test_dataloader = val_dataloader

val_evaluator = [
    *_base_.val_evaluator,
    dict(type='KeypointErrorMetric', unit='box'),
    dict(type='CodebookMetric', num_codes=2048),
]
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=50)
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(lr=1e-2, weight_decay=0.15))
auto_scale_lr = dict(base_batch_size=512)
