# PostoMETRO on ResNet-50, trained on the mixture of Human3.6M, MuCo-3DHP,
# UP-3D, COCO and MPII, as published (docs/postometro.md), with 128 images a
# step on 8 GPUs:
#
#   bash tools/dist_train.sh \
#       configs/postometro/postometro_res50_mix-256x256.py 8
_base_ = [
    '../_base_/postometro_runtime.py',
    '../_base_/datasets/mesh_mix_256x256.py',
    '../_base_/models/postometro.py',
    '../_base_/models/pct_branch.py',
]

model = dict(
    body={{_base_.body}},
    # SimpleBaseline's weights of COCO; the whole backbone learns on.
    backbone=dict(
        type='ResNet',
        depth=50,
        init_cfg=dict(
            type='Pretrained',
            prefix='backbone.',
            checkpoint='https://download.openmmlab.com/mmpose/v1/'
            'body_2d_keypoint/topdown_heatmap/coco/'
            'td-hm_res50_8xb64-210e_coco-256x192-04af38ce_20220923.pth')),
    pose_branch={{_base_.pose_branch}},
    pose_branch_checkpoint={{_base_.pose_branch_checkpoint}},
    head=dict(in_channels=2048))

train_dataloader = dict(batch_size=16)
auto_scale_lr = dict(base_batch_size=128)
