# SwinV2-L: half as wide again as SwinV2-B.
_base_ = ['./swinv2_b.py']

sizes = dict(embed_dim=192, num_heads=(6, 12, 24, 48), drop_path_rate=0.5)
backbone = sizes
frozen_backbone = sizes
feat_channels = 1536
del sizes
