# 3DPW for FastMETRO, which takes 224 x 224 pixels.
_base_ = ['./3dpw_256x256.py']

crop = dict(type='MeshAffine', input_size=(224, 224), body={{_base_.body}})
train_pipeline = [
    crop if step['type'] == 'MeshAffine' else step
    for step in _base_.train_pipeline
]
# FastMETRO mirrors people; after their boxes are known, before the crop.
at = [step['type'] for step in train_pipeline].index('GetBBoxCenterScale') + 1
train_pipeline.insert(at, dict(type='MeshFlip', prob=0.5))
del at
test_pipeline = [
    crop if step['type'] == 'MeshAffine' else step
    for step in _base_.test_pipeline
]

train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
