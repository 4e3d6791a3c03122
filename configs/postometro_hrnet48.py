# PostoMETRO at the published size (image -> 3D human mesh, 256 x 256,
# HRNet-W48, transformers of width 512 and 128 with three layers each), with
# the published schedule (AdamW 1e-4, 30 epochs, 96 images a step), on the
# built-in data. Its pose branch needs timm. On the published data:
# configs/postometro/postometro_hrnet-w48_mix-256x256.py.
#
#   bash tools/dist_train.sh configs/postometro_hrnet48.py 8
_base_ = [
    './_base_/postometro_runtime.py',
    './_base_/datasets/synthetic_body.py',
    './_base_/models/hrnet_w48_backbone.py',
    './_base_/models/postometro.py',
    './_base_/models/pct_branch.py',
]

model = dict(
    body={{_base_.body}},
    # The head reads the 1/32 map: 384 x 8 x 8.
    backbone={{_base_.hrnet_w48}},
    pose_branch={{_base_.pose_branch}},
    # Point this to the weights of the classifier.
    pose_branch_checkpoint=None,
    head=dict(in_channels=384))

train_dataloader = dict(batch_size=12)
val_evaluator = dict(type='MeshMetric', body={{_base_.body}})
test_evaluator = val_evaluator

# HRNet's last fusion also makes the three finer maps, which nobody reads.
find_unused_parameters = True
auto_scale_lr = dict(base_batch_size=96)
