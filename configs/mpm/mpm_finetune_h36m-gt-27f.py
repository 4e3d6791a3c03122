# MPM stage two: lifting, from the network of stage one.
_base_ = './mpm_lift_h36m-gt-27f.py'

checkpoint = 'work_dirs/mpm_pretrain_h36m-gt-27f/epoch_50.pth'
model = dict(
    backbone=dict(
        init_cfg=dict(
            type='Pretrained', checkpoint=checkpoint, prefix='backbone.')))
