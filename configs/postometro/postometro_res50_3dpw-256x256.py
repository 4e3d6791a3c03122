# postometro_res50_mix-256x256.py, fine-tuned on 3DPW's training split
# (Table 1).
_base_ = ['./postometro_res50_mix-256x256.py']

train_dataloader = dict(dataset=dict(_base_.dpw_train, _delete_=True))
optim_wrapper = dict(optimizer=dict(lr=2e-5))
load_from = 'work_dirs/postometro_res50_mix-256x256/epoch_30.pth'
