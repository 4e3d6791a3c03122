# The built-in data set for FastMETRO, which takes 224 x 224 pixels.
_base_ = ['./synthetic_body.py']

input_size = (224, 224)
crop = dict(type='MeshAffine', input_size=input_size, body={{_base_.body}})
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
people = dict(image_size=input_size[0])

train_dataloader = dict(dataset=dict(pipeline=train_pipeline, **people))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline, **people))
test_dataloader = val_dataloader
