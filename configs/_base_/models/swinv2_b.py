# SwinV2-B as published with PCT, on pictures of 256 x 256. Needs timm:
#   pip install timm
backbone = dict(
    type='TimmSwinV2',
    embed_dim=128,
    depths=(2, 2, 18, 2),
    num_heads=(4, 8, 16, 32),
    img_size=256,
    window_size=(16, 16, 16, 8),
    pretrained_window_sizes=(12, 12, 12, 6),
    drop_path_rate=0.3,
    with_cp=True)
# As it comes out of the heatmap training, and stays: all four stages and the
# last norm.
frozen_backbone = dict(**backbone, frozen_stages=5)
data_preprocessor = dict(
    type='PoseDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True)
feat_channels = 1024
feat_size = (8, 8)
