# FastMETRO-L on this mixture: no pose tokens, the first step of upsampling
# learned, losses on three mesh levels, edges and normals, flipped people.
_base_ = ['./image-only_res50_mix-256x256.py']

model = dict(
    head=dict(learned_upsample=True),
    loss=dict(
        type='MeshLoss',
        vertices=100.,
        vertex_levels=(.25, .5, .25),
        edges=500.,
        edge_lengths=.01,
        normals=10.))

flipped = [
    *_base_.train_pipeline[:2],
    dict(type='MeshFlip', prob=0.5),
    *_base_.train_pipeline[2:],
]
train_dataloader = dict(
    dataset=dict(datasets=[
        dict(dataset, pipeline=flipped)
        for dataset in _base_.train_dataloader.dataset.datasets
    ]))
