# The built-in data set: rendered people, no download and no licence needed.
# Configs that inherit this file override `input_size` where they must.
_base_ = ['../body.py']

dataset_type = 'SyntheticBodyDataset'
input_size = (256, 256)
cache_dir = None

train_pipeline = [
    dict(type='GetBBoxCenterScale', padding=1.25),
    dict(
        type='RandomBBoxTransform',
        shift_factor=0.05,
        shift_prob=1.0,
        scale_factor=(0.8, 1.2),
        scale_prob=1.0,
        rotate_factor=30.0,
        rotate_prob=0.6),
    dict(type='MeshAffine', input_size=input_size, body={{_base_.body}}),
    dict(type='ChannelGain', low=0.6, high=1.4),
    dict(type='PackMeshInputs'),
]
test_pipeline = [
    dict(type='GetBBoxCenterScale', padding=1.25),
    dict(type='MeshAffine', input_size=input_size, body={{_base_.body}}),
    dict(type='PackMeshInputs'),
]

train_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        split='train',
        length=100000,
        seed=0,
        image_size=input_size[0],
        cache_dir=cache_dir,
        body={{_base_.body}},
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(
        type=dataset_type,
        split='val',
        length=1000,
        seed=0,
        image_size=input_size[0],
        cache_dir=cache_dir,
        body={{_base_.body}},
        pipeline=test_pipeline,
        test_mode=True))
test_dataloader = val_dataloader
