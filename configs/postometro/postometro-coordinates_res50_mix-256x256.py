# The 2D joints that PCT predicts as pose tokens (Table 11).
_base_ = ['./postometro_res50_mix-256x256.py']
model = dict(
    token_source='coordinates',
    head=dict(token_dim=2, num_tokens=17, pose_modulator=dict(hidden_dim=512)))
