# PostoMETRO on HRNet-W48, trained on the mixture, as published, with 96
# images a step on 8 GPUs.
_base_ = [
    './postometro_res50_mix-256x256.py',
    '../_base_/models/hrnet_w48_backbone.py',
]

model = dict(
    # The head reads the 1/32 map, 384 x 8 x 8, whose last fusion has no
    # weights in MMPose's heatmap network: it starts at random.
    backbone=dict(
        **_base_.hrnet_w48,
        _delete_=True,
        init_cfg=dict(
            type='Pretrained',
            prefix='backbone.',
            checkpoint='https://download.openmmlab.com/mmpose/v1/'
            'body_2d_keypoint/topdown_heatmap/coco/'
            'td-hm_hrnet-w48_8xb32-210e_coco-256x192-0e67c616_20220913.pth')),
    head=dict(in_channels=384))

train_dataloader = dict(batch_size=12)
# HRNet's last fusion also makes the three finer maps, which nobody reads.
find_unused_parameters = True
auto_scale_lr = dict(base_batch_size=96)
