# The published mesh network on any backbone; configs that inherit this file
# name the backbone, the width of its last map and the body.
model = dict(
    type='MeshEstimator',
    data_preprocessor=dict(
        type='PoseDataPreprocessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True),
    head=dict(
        type='PostoMETROHead',
        in_channels=2048,
        num_joints=14,
        hidden_dims=(512, 128),
        feedforward_dims=(2048, 512),
        num_layers=3,
        num_heads=8,
        dropout=0.1,
        token_dim=512,
        num_tokens=34))
