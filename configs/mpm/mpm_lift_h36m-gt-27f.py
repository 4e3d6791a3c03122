# As h36m-cpn, but the true 2D poses.
_base_ = './mpm_lift_h36m-cpn-27f.py'

keypoint_file = 'data_2d_h36m_gt.npz'
train_dataloader = dict(dataset=dict(keypoint_file=keypoint_file))
val_dataloader = dict(dataset=dict(keypoint_file=keypoint_file))
test_dataloader = dict(dataset=dict(keypoint_file=keypoint_file))
