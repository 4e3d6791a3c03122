# The same on HRNet-W48, see postometro-official_res50_256x256.py.
_base_ = [
    './postometro-official_res50_256x256.py',
    '../_base_/models/hrnet_w48_backbone.py',
]

model = dict(
    backbone=dict(_delete_=True, **_base_.hrnet_w48),
    head=dict(in_channels=384))

train_dataloader = dict(batch_size=12)
# HRNet's last fusion also makes the three finer maps, which nobody reads.
find_unused_parameters = True
auto_scale_lr = dict(base_batch_size=96)
