# SwinV2-H: twice as wide as SwinV2-B, with 42 blocks in the third stage.
_base_ = ['./swinv2_b.py']

sizes = dict(
    embed_dim=256,
    depths=(2, 2, 42, 2),
    num_heads=(8, 16, 32, 64),
    drop_path_rate=0.55)
backbone = sizes
frozen_backbone = sizes
feat_channels = 2048
del sizes
