# The published mixture: Human3.6M, MuCo-3DHP, UP-3D, COCO and MPII, in their
# published shares; validation and test on 3DPW. Expects
#
#   data/h36m/annotations/Human36M_subject*_{data,camera,joint_3d,smpl_param}.json
#   data/h36m/images
#   data/muco/{MuCo-3DHP.json,smpl_param.json,augmented_set,unaugmented_set}
#   data/up3d/{trainval.txt,*_image.png,*_body.pkl,...}
#   data/cliff/{coco2014part_cliffGT.npz,mpii_cliffGT.npz}
#   data/eft/COCO2014-All-ver01.json
#   data/coco/train2014
#   data/mpii/images
#
# docs/datasets.md says where they come from. The paper used METRO's own tables
# of the first three, which can take their place.
_base_ = ['./3dpw_256x256.py']

pipeline = {{_base_.train_pipeline}}
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='MixedDataset',
        seed=0,
        # Thousands of people. MuCo-3DHP has several times as many as the
        # paper counts; each is seen in one of several epochs.
        ratios=[312, 102, 7, 75, 16],
        length=512000,
        datasets=[
            dict(
                type='H36MPersonDataset',
                data_root='data/h36m',
                split='TRAIN',
                fits='smpl_param',
                body={{_base_.body}},
                pipeline=pipeline),
            dict(
                type='MuCoDataset',
                ann_file='data/muco/MuCo-3DHP.json',
                fits='smpl_param.json',
                data_prefix=dict(img='data/muco'),
                body={{_base_.body}},
                pipeline=pipeline),
            dict(
                type='UP3DDataset',
                ann_file='data/up3d/trainval.txt',
                body={{_base_.body}},
                pipeline=pipeline),
            # CLIFF's labels where it has a person, else EFT's.
            dict(
                type='MergedPersonDataset',
                datasets=[
                    dict(
                        type='SPINDataset',
                        ann_file='data/cliff/coco2014part_cliffGT.npz',
                        data_prefix=dict(img='data/coco')),
                    dict(
                        type='EFTDataset',
                        ann_file='data/eft/COCO2014-All-ver01.json',
                        data_prefix=dict(img='data/coco/train2014')),
                ],
                pipeline=pipeline),
            dict(
                type='SPINDataset',
                ann_file='data/cliff/mpii_cliffGT.npz',
                data_prefix=dict(img='data/mpii'),
                pipeline=pipeline),
        ]))
del pipeline
