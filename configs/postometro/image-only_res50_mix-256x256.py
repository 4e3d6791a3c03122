# Without pose tokens: the baseline of Tables 1 and 5.
_base_ = ['./postometro_res50_mix-256x256.py']
model = dict(pose_branch=None, head=dict(use_pose_tokens=False))
