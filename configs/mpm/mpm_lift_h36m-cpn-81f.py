# As 243f, but 81 frames, every one.
_base_ = './mpm_lift_h36m-cpn-243f.py'

model = dict(backbone=dict(num_frames=81), heads={'3d': dict(num_frames=81)})
train_dataloader = dict(dataset=dict(seq_len=81, frame_step=1))
val_dataloader = dict(dataset=dict(seq_len=81, frame_step=1))
test_dataloader = dict(dataset=dict(seq_len=81, frame_step=1))
