# FastMETRO-L-R50 as published; configs that inherit this file name the body.
# Weights come from a converted checkpoint; to train from ImageNet's, as
# FastMETRO does, name them in model.backbone.init_cfg.
_base_ = ['./postometro.py']

model = dict(
    backbone=dict(type='ResNet', depth=50),
    head=dict(use_pose_tokens=False, learned_upsample=True),
    loss=dict(
        type='MeshLoss',
        vertices=100.,
        vertex_levels=(.25, .5, .25),
        edges=500.,
        edge_lengths=.01,
        normals=10.))
