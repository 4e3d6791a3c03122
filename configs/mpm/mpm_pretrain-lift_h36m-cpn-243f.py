# MPM stage one with a third task, masked 2D lifting.
_base_ = './mpm_pretrain_h36m-cpn-243f.py'

model = dict(tasks=[
    dict(source='2d', target='2d', weight=5.),
    dict(source='3d', target='3d', weight=5.),
    dict(source='2d', target='3d', weight=1.)
])
