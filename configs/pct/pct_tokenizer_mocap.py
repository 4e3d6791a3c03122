# PCT stage one, small: the pose tokenizer on motion capture (Human3.6M's 17
# joints), seen by virtual cameras. The folder of cmu_mocap_train.npz and so
# on is data/cmu_mocap or
#
#   MPM_POSTOMETRO_MOCAP=some/folder python tools/train.py ...
_base_ = [
    '../_base_/short_runtime.py',
    '../_base_/models/pct_tokenizer_small.py',
]

folder = '{{$MPM_POSTOMETRO_MOCAP:data/cmu_mocap}}'
input_size = (96, 96)

model = dict(
    type='TokenizerEstimator',
    tokenizer={{_base_.tokenizer}},
    data_preprocessor=None)

train_pipeline = [
    dict(type='GetBBoxCenterScale', padding=1.25),
    dict(type='MeshFlip', prob=0.5),
    dict(type='MeshAffine', input_size=input_size),
    dict(type='PackKeypointInputs'),
]
test_pipeline = [
    dict(type='GetBBoxCenterScale', padding=1.25),
    dict(type='MeshAffine', input_size=input_size),
    dict(type='PackKeypointInputs'),
]

# 60 frames a second: the training sees ten, the measures six.
train_dataloader = dict(
    batch_size=64,
    num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type='MocapKeypointDataset',
        ann_file=f'{folder}/cmu_mocap_train.npz',
        stride=6,
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=100,
    num_workers=0,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(
        type='MocapKeypointDataset',
        ann_file=f'{folder}/cmu_mocap_val.npz',
        stride=10,
        pipeline=test_pipeline,
        test_mode=True))
test_dataloader = dict(
    batch_size=100,
    num_workers=0,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(
        type='MocapKeypointDataset',
        ann_file=f'{folder}/cmu_mocap_test.npz',
        stride=10,
        pipeline=test_pipeline,
        test_mode=True))

val_evaluator = [
    # Pixels of the virtual picture say little: people differ in size there.
    dict(type='KeypointErrorMetric', unit='box'),
    dict(type='CodebookMetric', num_codes={{_base_.tokenizer.num_codes}})
]
test_evaluator = val_evaluator

train_cfg = dict(max_epochs=4)
optim_wrapper = dict(optimizer=dict(lr=2e-3))
