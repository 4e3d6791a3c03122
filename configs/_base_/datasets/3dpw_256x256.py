# 3DPW, and how the published mesh networks see people: crops of 1.2 times the
# person, 256 x 256; in training turned, scaled and recoloured, not flipped.
# Expects
#
#   data/3dpw/sequenceFiles/{train,validation,test}/*.pkl
#   data/3dpw/imageFiles/*/*.jpg
#
# Another split (ALL, OCC, PC, Non-OC) is an option of the command:
#
#   --cfg-options test_dataloader.dataset.split=OCC
#
# True meshes are those of the neutral SMPL, as METRO has them, and true joints
# Human3.6M's of these. METRO's own joints need J_regressor_extra.npy,
#
#   --cfg-options test_dataloader.dataset.regressor=j24
#
# SPIN's protocol makes meshes of the genders, test_evaluator.protocol=spin
# (docs/evaluation.md).
_base_ = ['../smpl.py']

input_size = (256, 256)
dataset_type = 'ThreeDPWDataset'
data_root = 'data/3dpw'

train_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale', padding=1.2),
    dict(type='RandomScaleRotation'),
    dict(type='MeshAffine', input_size=input_size, body={{_base_.body}}),
    dict(type='ChannelGain', low=0.6, high=1.4),
    dict(type='PackMeshInputs'),
]
test_pipeline = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale', padding=1.2),
    dict(type='MeshAffine', input_size=input_size, body={{_base_.body}}),
    dict(type='PackMeshInputs'),
]

# To fine-tune on.
dpw_train = dict(
    type=dataset_type,
    data_root=data_root,
    split='TRAIN',
    gender='neutral',
    body={{_base_.body}},
    pipeline=train_pipeline)
train_dataloader = dict(
    batch_size=16,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dpw_train)
val_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split='VALIDATION',
        gender='neutral',
        body={{_base_.body}},
        pipeline=test_pipeline,
        test_mode=True))
test_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        split='TEST',
        gender='neutral',
        body={{_base_.body}},
        pipeline=test_pipeline,
        test_mode=True))

val_evaluator = dict(type='MeshMetric', body={{_base_.body}})
test_evaluator = val_evaluator
