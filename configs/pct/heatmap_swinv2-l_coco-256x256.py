# PCT before stage one: MMPose's heatmaps teach SwinV2-L to find joints, as
# published. Start from weights of image pre-training (SimMIM), converted by
# tools/model_converters/convert_pct.py:
#
#   bash tools/dist_train.sh \
#       configs/pct/heatmap_swinv2-l_coco-256x256.py 8 --cfg-options \
#       model.backbone.init_cfg.type=Pretrained \
#       model.backbone.init_cfg.prefix=backbone. \
#       model.backbone.init_cfg.checkpoint=CONVERTED
_base_ = [
    '../_base_/pct_heatmap_coco.py',
    '../_base_/models/swinv2_l.py',
]

model = dict(
    data_preprocessor={{_base_.data_preprocessor}},
    backbone={{_base_.backbone}},
    head=dict(
        in_channels={{_base_.feat_channels}},
        deconv_out_channels=(48, 48, 48)))

optim_wrapper = dict(optimizer=dict(lr=3.33e-4, weight_decay=0.0625))
