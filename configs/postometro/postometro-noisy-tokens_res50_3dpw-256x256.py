# To test postometro_res50_3dpw-256x256.py with noisy pose tokens (Appendix C):
# Gaussian noise on the logits. Its deviation is not published; another one is
# an option: --cfg-options model.token_noise=2.0
_base_ = ['./postometro_res50_3dpw-256x256.py']
model = dict(token_noise=1.0)
