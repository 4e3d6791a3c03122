# MPM stage two: 3D poses of all frames and of the middle one, lifted from 2D.
_base_ = ['./mpm_runtime.py']

model = dict(
    type='MPMEstimator',
    backbone=dict(
        type='MPM',
        num_frames=243,
        frame_dropout=0.2,
        modalities=('2d', ),
        masking=False),
    heads={'3d': dict(type='MPMLiftingHead', num_frames=243)},
    tasks=[dict(source='2d', target='3d')],
    test_cfg=dict(flip_test=True))

train_pipeline = [
    dict(type='NormalizeScreen'),
    dict(type='RootRelative'),
    dict(type='FlipSequence'),
    dict(type='PackPoseSequence'),
]
test_pipeline = [
    dict(type='NormalizeScreen'),
    dict(type='RootRelative'),
    dict(type='PackPoseSequence'),
]
train_dataloader = dict(dataset=dict(seq_len=243, pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(seq_len=243, pipeline=test_pipeline, test_mode=True))
test_dataloader = val_dataloader

optim_wrapper = dict(optimizer=dict(lr=7e-4))
