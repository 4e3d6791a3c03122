# VideoPose3D's network as MMPose has it, trained as the small MPM.
_base_ = './mpm_lift_small_cmu-27f.py'

model = dict(
    backbone=dict(_delete_=True, type='ClipTCN'),
    heads={'3d': dict(_delete_=True, type='TargetPoseHead', channels=1024)})
