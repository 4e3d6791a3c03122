# FastMETRO-L-R50 as published, at its 224 x 224 pixels: what its checkpoints
# become by tools/model_converters/convert_postometro.py (docs/checkpoints.md).
# They need SMPL: its vertices are not those of the built-in body.
#
#   MPM_POSTOMETRO_BODY=path/to/SMPL_NEUTRAL.pkl python tools/test.py \
#       configs/postometro/fastmetro-l_res50_224x224.py CHECKPOINT
_base_ = [
    '../_base_/postometro_runtime.py',
    '../_base_/datasets/synthetic_body_224x224.py',
    '../_base_/models/fastmetro.py',
]

model = dict(body={{_base_.body}})

train_dataloader = dict(batch_size=16)
val_evaluator = dict(type='MeshMetric', body={{_base_.body}})
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=60)
auto_scale_lr = dict(base_batch_size=64)
