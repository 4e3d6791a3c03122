# Both modulators linear (Table 7).
_base_ = ['./postometro_res50_mix-256x256.py']
model = dict(head=dict(pose_modulator=dict(kind='linear')))
