# PostoMETRO's network as its authors published its code, which differs from
# the paper: the confidence comes in behind the mixers, the second transformer
# gets the pose tokens twice, and the first step of upsampling is learned. For
# the day of their weights: tools/model_converters/convert_postometro.py
# (docs/checkpoints.md). They will need SMPL, and hold the pose branch.
_base_ = [
    '../_base_/postometro_runtime.py',
    '../_base_/datasets/synthetic_body.py',
    '../_base_/models/postometro.py',
    '../_base_/models/pct_branch.py',
]

model = dict(
    body={{_base_.body}},
    backbone=dict(type='ResNet', depth=50),
    pose_branch={{_base_.pose_branch}},
    pose_branch_checkpoint=None,
    head=dict(
        learned_upsample=True,
        official_compat=True,
        pose_modulator=dict(order='code', num_blocks=4)))

train_dataloader = dict(batch_size=16)
val_evaluator = dict(type='MeshMetric', body={{_base_.body}})
test_evaluator = val_evaluator
auto_scale_lr = dict(base_batch_size=128)
