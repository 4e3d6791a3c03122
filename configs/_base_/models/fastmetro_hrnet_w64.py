# FastMETRO-L-H64 as published: its backbone is HRNet-W64 with what its
# ImageNet classifier does to the four maps.
_base_ = ['./fastmetro.py']

model = dict(
    backbone=dict(
        _delete_=True,
        type='HRNet',
        extra=dict(
            stage1=dict(
                num_modules=1,
                num_branches=1,
                block='BOTTLENECK',
                num_blocks=(4, ),
                num_channels=(64, )),
            stage2=dict(
                num_modules=1,
                num_branches=2,
                block='BASIC',
                num_blocks=(4, 4),
                num_channels=(64, 128)),
            stage3=dict(
                num_modules=4,
                num_branches=3,
                block='BASIC',
                num_blocks=(4, 4, 4),
                num_channels=(64, 128, 256)),
            stage4=dict(
                num_modules=3,
                num_branches=4,
                block='BASIC',
                num_blocks=(4, 4, 4, 4),
                num_channels=(64, 128, 256, 512),
                multiscale_output=True))),
    neck=dict(type='HRNetClassificationNeck', in_channels=(64, 128, 256, 512)))
