# As 243f, but 27 frames, every one.
_base_ = './mpm_lift_h36m-cpn-243f.py'

model = dict(backbone=dict(num_frames=27), heads={'3d': dict(num_frames=27)})
train_dataloader = dict(dataset=dict(seq_len=27, frame_step=1))
val_dataloader = dict(dataset=dict(seq_len=27, frame_step=1))
test_dataloader = dict(dataset=dict(seq_len=27, frame_step=1))
