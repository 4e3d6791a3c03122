# MPM lifts 2D poses of which limbs are hidden in all frames (2D-to-3D
# completion). Errors are told for each pair of limbs.
_base_ = ['./mpm_runtime.py']

model = dict(
    type='MPMEstimator',
    backbone=dict(type='MPM', num_frames=27, modalities=('2d', )),
    heads={
        '2d': dict(type='MPMDecoderHead', coord_dims=2, num_layers=2),
        '3d': dict(type='MPMDecoderHead', coord_dims=3, num_layers=2)
    },
    tasks=[
        dict(source='2d', target='3d', weight=2.),
        dict(source='2d', target='2d', weight=1.)
    ],
    test_cfg=dict(flip_test=True))

limb_pairs = [['left_leg', 'right_leg'], ['left_arm', 'right_arm'],
              ['left_arm', 'left_leg'], ['right_arm', 'right_leg']]
train_pipeline = [
    dict(type='NormalizeScreen'),
    dict(type='RootRelative'),
    dict(type='FlipSequence'),
    dict(
        type='TubeMask',
        limbs=limb_pairs,
        num_joints=(1, 6),
        modalities=('2d', )),
    dict(type='PackPoseSequence'),
]
test_pipeline = [
    dict(type='NormalizeScreen'),
    dict(type='RootRelative'),
    dict(type='TubeMask', limbs=limb_pairs, modalities=('2d', )),
    dict(type='PackPoseSequence'),
]
train_dataloader = dict(dataset=dict(seq_len=27, pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(seq_len=27, pipeline=test_pipeline, test_mode=True))
test_dataloader = val_dataloader

val_evaluator = dict(group_by='mask_name')
test_evaluator = val_evaluator
