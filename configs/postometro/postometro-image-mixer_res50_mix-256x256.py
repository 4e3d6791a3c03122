# Mixer layers for image tokens too (Table 7).
_base_ = ['./postometro_res50_mix-256x256.py']
model = dict(head=dict(image_modulator=dict(feat_size=(8, 8))))
