# FastMETRO-L-H64 on 3DPW: evaluation as published, with neutral true meshes,
# and its fine-tuning, from a converted checkpoint (docs/checkpoints.md).
_base_ = [
    '../_base_/postometro_runtime.py',
    '../_base_/datasets/3dpw_224x224.py',
    '../_base_/models/fastmetro_hrnet_w64.py',
]

model = dict(body={{_base_.body}})

train_cfg = dict(max_epochs=8)
optim_wrapper = dict(optimizer=dict(lr=2e-5))
auto_scale_lr = dict(base_batch_size=64)
load_from = 'work_dirs/fastmetro-l_hrnet-w64_224x224/converted_h36m.pth'
