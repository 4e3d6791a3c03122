# The confidence joins the pose tokens before the mixer layers, as the paper
# says, and not behind them, as the authors' code has it.
_base_ = ['./postometro_res50_mix-256x256.py']
model = dict(head=dict(pose_modulator=dict(order='paper')))
