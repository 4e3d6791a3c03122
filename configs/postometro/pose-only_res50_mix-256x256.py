# Without image tokens (Table 5).
_base_ = ['./postometro_res50_mix-256x256.py']
model = dict(backbone=None, head=dict(use_image_tokens=False))
