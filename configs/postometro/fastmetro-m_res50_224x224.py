# FastMETRO-M-R50 as published, see fastmetro-l_res50_224x224.py.
_base_ = ['./fastmetro-l_res50_224x224.py']
model = dict(head=dict(num_layers=2))
