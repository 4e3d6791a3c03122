# MPM stage one: hidden 2D and 3D poses are predicted from what is left of
# them. About 71.8 % of all joints are hidden.
_base_ = ['./mpm_runtime.py']

model = dict(
    type='MPMEstimator',
    backbone=dict(type='MPM', num_frames=243),
    heads={
        '2d': dict(type='MPMDecoderHead', coord_dims=2),
        '3d': dict(type='MPMDecoderHead', coord_dims=3)
    },
    tasks=[
        dict(source='2d', target='2d', weight=5.),
        dict(source='3d', target='3d', weight=2.)
    ],
    test_cfg=dict(source='3d'))

mask = dict(type='RandomSpatioTemporalMask', frame_ratio=0.6, num_joints=5)
train_pipeline = [
    dict(type='NormalizeScreen'),
    dict(type='RootRelative'),
    dict(type='FlipSequence'),
    mask,
    dict(type='PackPoseSequence'),
]
# Validation tells the error of masked 3D modelling.
test_pipeline = [
    dict(type='NormalizeScreen'),
    dict(type='RootRelative'),
    mask,
    dict(type='PackPoseSequence'),
]
train_dataloader = dict(dataset=dict(seq_len=243, pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(seq_len=243, pipeline=test_pipeline, test_mode=True))
test_dataloader = val_dataloader
