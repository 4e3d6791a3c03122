# FastMETRO-M, see fastmetro-l_res50_mix-256x256.py.
_base_ = ['./fastmetro-l_res50_mix-256x256.py']
model = dict(head=dict(num_layers=2))
