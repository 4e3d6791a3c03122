# postometro_res50_mix-256x256.py, fine-tuned and tested on 3DOH50K
# (Table 2).
_base_ = ['./postometro_res50_mix-256x256.py']

train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='ThreeDOHDataset',
        ann_file='data/3doh/trainset/annots.json',
        data_prefix=dict(img='data/3doh/trainset'),
        body={{_base_.body}},
        pipeline={{_base_.train_pipeline}}))
test_dataset = dict(
    _delete_=True,
    type='ThreeDOHDataset',
    ann_file='data/3doh/testset/annots.json',
    data_prefix=dict(img='data/3doh/testset'),
    body={{_base_.body}},
    pipeline={{_base_.test_pipeline}},
    test_mode=True)
val_dataloader = dict(dataset=test_dataset)
test_dataloader = dict(dataset=test_dataset)
del test_dataset
# There is no third part of the data: the test says how training goes on, but
# no checkpoint is chosen by it.
default_hooks = dict(checkpoint=dict(save_best=None))
load_from = 'work_dirs/postometro_res50_mix-256x256/epoch_30.pth'
