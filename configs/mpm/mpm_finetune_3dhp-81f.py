# MPM stage two: lifting, from the network of stage one.
_base_ = './mpm_lift_3dhp-81f.py'

checkpoint = 'work_dirs/mpm_pretrain_3dhp-81f/epoch_50.pth'
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained', checkpoint=checkpoint, prefix='backbone.')))
