# FastMETRO-L-H64 as published, see fastmetro-l_res50_224x224.py.
_base_ = [
    '../_base_/postometro_runtime.py',
    '../_base_/datasets/synthetic_body_224x224.py',
    '../_base_/models/fastmetro_hrnet_w64.py',
]

model = dict(body={{_base_.body}})

train_dataloader = dict(batch_size=16)
val_evaluator = dict(type='MeshMetric', body={{_base_.body}})
test_evaluator = val_evaluator
train_cfg = dict(max_epochs=60)
auto_scale_lr = dict(base_batch_size=64)
