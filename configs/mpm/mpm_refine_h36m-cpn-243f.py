# The last step of MPM's lifting: x and y are mixed with those of the 2D pose
# at the predicted depth.
_base_ = './mpm_finetune_h36m-cpn-243f.py'

model = dict(backbone=dict(init_cfg=None), refiner=dict(type='MPMRefiner'))
load_from = 'work_dirs/mpm_finetune_h36m-cpn-243f/epoch_50.pth'
optim_wrapper = dict(optimizer=dict(lr=1e-4))
