# Copyright (c) The mpm_postometro authors. All rights reserved.
# The small PostoMETRO on a few people, for the runners' tests. Nothing random
# but the initial weights and the order of the people, so that the same global
# batch gives the same step whatever the number of processes.
_base_ = ['../../configs/postometro/postometro_res18_synthetic-96x96.py']

custom_imports = dict(
    imports=['mpm_postometro', 'tiny_training'], allow_failed_imports=False)

randomness = dict(seed=3)
custom_hooks = [dict(type='KillOnce')]
default_hooks = dict(logger=dict(interval=1))
train_pipeline = [
    step for step in _base_.train_pipeline if step['type'] != 'MeshFlip'
]
train_dataloader = dict(
    batch_size=4,
    dataset=dict(length=8, cache_dir=None, pipeline=train_pipeline))
# An odd number: two processes get shares of different size. The same people
# are validated and tested.
people = dict(split='val', length=5, cache_dir=None)
val_dataloader = dict(batch_size=2, dataset=people)
test_dataloader = dict(batch_size=2, dataset=people)

# Not Adam: it blows rounding up where a gradient is nought. Nor clipping: it
# would hide a gradient of the wrong size. Nor a warm-up: two epochs are to
# move the weights.
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='SGD', lr=1e-4, momentum=0.9),
    clip_grad=None)
param_scheduler = None
train_cfg = dict(max_epochs=2)
