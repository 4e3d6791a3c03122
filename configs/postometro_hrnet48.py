# PostoMETRO at the published size (image -> 3D human mesh, 256 x 256,
# HRNet-W48, transformers of width 512 and 128 with three layers each), with
# the published schedule (AdamW 1e-4, 30 epochs, 96 images a step), on the
# built-in data. Its pose branch needs timm.
#
#   bash tools/dist_train.sh configs/postometro_hrnet48.py 8
_base_ = [
    './_base_/default_runtime.py',
    './_base_/datasets/synthetic_body.py',
    './_base_/models/hrnet_w48_backbone.py',
    './_base_/models/postometro.py',
    './_base_/models/swinv2_b.py',
]

model = dict(
    body={{_base_.body}},
    # The head reads the 1/32 map: 384 x 8 x 8.
    backbone={{_base_.hrnet_w48}},
    # The classifier keeps a backbone of its own, SwinV2-B as published, and
    # is frozen. Point pose_branch_checkpoint to its weights.
    pose_branch=dict(
        type='TopdownPoseEstimator',
        backbone={{_base_.frozen_backbone}},
        head=dict(
            type='PCTHead',
            in_channels={{_base_.feat_channels}},
            feat_size={{_base_.feat_size}},
            # Guided by the image in its own training, as published.
            tokenizer=dict(
                type='PCTTokenizer',
                guide_ratio=0.5,
                guide_channels={{_base_.feat_channels}})),
        test_cfg=dict(flip_test=False)),
    pose_branch_checkpoint=None,
    head=dict(in_channels=384))

train_dataloader = dict(batch_size=12)
val_evaluator = dict(type='MeshMetric', body={{_base_.body}})
test_evaluator = val_evaluator
default_hooks = dict(visualization=dict(type='MeshVisualizationHook'))

train_cfg = dict(by_epoch=True, max_epochs=30, val_interval=1)
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(
        type='AdamW', lr=1e-4, betas=(0.9, 0.999), weight_decay=1e-4),
    clip_grad=dict(max_norm=0.3))
# HRNet's last fusion also makes the three finer maps, which nobody reads.
find_unused_parameters = True
auto_scale_lr = dict(base_batch_size=96)
