# The baseline: the small mesh transformer without pose tokens (FastMETRO).
_base_ = ['./postometro_res18_synthetic-96x96.py']
model = dict(pose_branch=None, head=dict(use_pose_tokens=False))
