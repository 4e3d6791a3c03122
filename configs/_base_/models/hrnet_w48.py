# HRNet-W48 of MMPose. The head reads its coarsest map, 384 x 8 x 8.
#
# Weights come from a heatmap network of MMPose's zoo. That read the finest
# map only: what the last fusion does to the coarse one has no weights there.
# So the last stage learns, and the others stay as they are.
_base_ = ['./hrnet_w48_backbone.py']

backbone = {{_base_.hrnet_w48}}
frozen_backbone = dict(
    **_base_.hrnet_w48,
    frozen_stages=3,
    init_cfg=dict(
        type='Pretrained',
        prefix='backbone.',
        checkpoint='https://download.openmmlab.com/mmpose/v1/'
        'body_2d_keypoint/topdown_heatmap/coco/'
        'td-hm_hrnet-w48_8xb32-210e_coco-256x192-0e67c616_20220913.pth'))
# What guides a tokenizer never learns, so that it is all of the network that
# has weights: the finest map, 48 x 64 x 64.
guide_backbone = dict(
    frozen_backbone,
    extra=dict(
        _base_.hrnet_w48.extra,
        stage4=dict(_base_.hrnet_w48.extra.stage4, multiscale_output=False)),
    frozen_stages=4)
guide_channels = 48
# The last fusion also makes the three finer maps, which nobody reads.
find_unused_parameters = True
data_preprocessor = dict(
    type='PoseDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True)
feat_channels = 384
feat_size = (8, 8)
