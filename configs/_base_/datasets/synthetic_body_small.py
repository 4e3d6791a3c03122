# The built-in data set, drawn at 128 x 128 and seen at 96 x 96: small enough
# to train on in minutes on two cores. Rendered once into `cache_dir`, then
# read from there. No augmentation but the flip: random boxes take more
# than a third of the loader's time, and a few epochs hardly overfit.
_base_ = ['../body.py']

dataset_type = 'SyntheticBodyDataset'
input_size = (96, 96)
cache_dir = 'data/synthetic_body_small'

train_pipeline = [
    dict(type='GetBBoxCenterScale', padding=1.25),
    dict(type='MeshFlip', prob=0.5),
    dict(type='MeshAffine', input_size=input_size, body={{_base_.body}}),
    dict(type='PackMeshInputs'),
]
test_pipeline = [
    dict(type='GetBBoxCenterScale', padding=1.25),
    dict(type='MeshAffine', input_size=input_size, body={{_base_.body}}),
    dict(type='PackMeshInputs'),
]

train_dataloader = dict(
    batch_size=16,
    num_workers=0,
    persistent_workers=False,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        split='train',
        length=6000,
        seed=0,
        image_size=128,
        cache_dir=cache_dir,
        body={{_base_.body}},
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=50,
    num_workers=0,
    persistent_workers=False,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(
        type=dataset_type,
        split='val',
        length=300,
        seed=0,
        image_size=128,
        cache_dir=cache_dir,
        body={{_base_.body}},
        pipeline=test_pipeline,
        test_mode=True))
test_dataloader = dict(
    batch_size=50,
    num_workers=0,
    persistent_workers=False,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(
        type=dataset_type,
        split='test',
        length=1000,
        seed=0,
        image_size=128,
        cache_dir=cache_dir,
        body={{_base_.body}},
        pipeline=test_pipeline,
        test_mode=True))
