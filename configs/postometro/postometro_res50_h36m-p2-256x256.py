# To test postometro_res50_mix-256x256.py on Human3.6M, protocol 2: subjects 9
# and 11 seen from the front, measured joints, hence no errors of meshes.
_base_ = ['./postometro_res50_mix-256x256.py']

test_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='H36MPersonDataset',
        data_root='data/h36m',
        split='P2',
        pipeline={{_base_.test_pipeline}},
        test_mode=True))
