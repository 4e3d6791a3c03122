# MPM completes 3D poses of which a limb or some joints are missing in all
# frames. Errors are told for each limb.
_base_ = ['./mpm_runtime.py']

model = dict(
    type='MPMEstimator',
    backbone=dict(type='MPM', num_frames=27, modalities=('3d', )),
    heads={'3d': dict(type='MPMDecoderHead', coord_dims=3, num_layers=2)},
    tasks=[dict(source='3d', target='3d')],
    test_cfg=dict(flip_test=True))

limbs = ['left_leg', 'right_leg', 'left_arm', 'right_arm']
train_pipeline = [
    dict(type='NormalizeScreen'),
    dict(type='RootRelative'),
    dict(type='FlipSequence'),
    dict(type='TubeMask', limbs=limbs, num_joints=(1, 3), modalities=('3d', )),
    dict(type='PackPoseSequence'),
]
test_pipeline = [
    dict(type='NormalizeScreen'),
    dict(type='RootRelative'),
    dict(type='TubeMask', limbs=limbs, modalities=('3d', )),
    dict(type='PackPoseSequence'),
]
train_dataloader = dict(dataset=dict(seq_len=27, pipeline=train_pipeline))
val_dataloader = dict(
    dataset=dict(seq_len=27, pipeline=test_pipeline, test_mode=True))
test_dataloader = val_dataloader

val_evaluator = dict(group_by='mask_name')
test_evaluator = val_evaluator
