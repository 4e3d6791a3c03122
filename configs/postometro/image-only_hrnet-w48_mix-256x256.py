# Without pose tokens: the baseline of Table 1.
_base_ = ['./postometro_hrnet-w48_mix-256x256.py']
model = dict(pose_branch=None, head=dict(use_pose_tokens=False))
