# 8 mixer layers for pose tokens in place of 4 (Table 8).
_base_ = ['./postometro_res50_mix-256x256.py']
model = dict(head=dict(pose_modulator=dict(num_blocks=8)))
