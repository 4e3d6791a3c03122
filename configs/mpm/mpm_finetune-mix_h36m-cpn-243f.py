# MPM stage two: lifting, from the network of stage one on three data sets.
_base_ = './mpm_lift_h36m-cpn-243f.py'

checkpoint = 'work_dirs/mpm_pretrain_mix-243f/epoch_50.pth'
model = dict(
    backbone=dict(
        num_joints=16,
        num_layers=3,
        init_cfg=dict(
            type='Pretrained', checkpoint=checkpoint, prefix='backbone.')),
    heads={'3d': dict(num_joints=16)})
train_dataloader = dict(dataset=dict(skeleton='h36m16'))
val_dataloader = dict(dataset=dict(skeleton='h36m16'))
test_dataloader = dict(dataset=dict(skeleton='h36m16'))
