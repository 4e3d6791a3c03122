# As pct_tokenizer_mocap.py, but poses are 3D: metres in the frame of the
# virtual camera, the pelvis at 0. There is no crop.
_base_ = ['./pct_tokenizer_mocap.py']

model = dict(
    tokenizer=dict(coord_dims=3, coord_scale=1.0, coord_offset=0.0),
    # The weight that pixels have in 2D, where 48 are one unit.
    loss_joint=dict(type='SmoothL1KeypointLoss', beta=0.001, loss_weight=48.0))

pipeline = [dict(type='PackKeypointInputs')]
train_dataloader = dict(dataset=dict(coord_dims=3, pipeline=pipeline))
val_dataloader = dict(dataset=dict(coord_dims=3, pipeline=pipeline))
test_dataloader = dict(dataset=dict(coord_dims=3, pipeline=pipeline))

val_evaluator = [
    dict(type='KeypointErrorMetric', unit='mm'),
    dict(type='CodebookMetric', num_codes=256)
]
test_evaluator = val_evaluator
