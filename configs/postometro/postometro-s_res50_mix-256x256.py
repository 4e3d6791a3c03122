# The S model: one layer in each encoder and decoder, where L has three.
_base_ = ['./postometro_res50_mix-256x256.py']
model = dict(head=dict(num_layers=1))
