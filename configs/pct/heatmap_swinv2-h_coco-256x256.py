# PCT before stage one: MMPose's heatmaps teach SwinV2-H to find joints, as
# published. Start from weights of image pre-training (SimMIM), converted by
# tools/model_converters/convert_pct.py:
#
#   bash tools/dist_train.sh \
#       configs/pct/heatmap_swinv2-h_coco-256x256.py 8 --cfg-options \
#       model.backbone.init_cfg.type=Pretrained \
#       model.backbone.init_cfg.prefix=backbone. \
#       model.backbone.init_cfg.checkpoint=CONVERTED
_base_ = [
    '../_base_/pct_heatmap_coco.py',
    '../_base_/models/swinv2_h.py',
]

model = dict(
    data_preprocessor={{_base_.data_preprocessor}},
    backbone={{_base_.backbone}},
    head=dict(
        in_channels={{_base_.feat_channels}},
        deconv_out_channels=(64, 64, 64)))

optim_wrapper = dict(
    optimizer=dict(lr=2.5e-4, weight_decay=0.1),
    paramwise_cfg=dict(layer_decay_rate=0.95))
