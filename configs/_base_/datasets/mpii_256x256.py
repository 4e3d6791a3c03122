# MPII's people, cropped and changed as those of COCO. Expects
#
#   data/mpii/annotations/{mpii_train.json,mpii_val.json,mpii_gt_val.mat}
#   data/mpii/images/*.jpg
_base_ = ['./coco_256x256.py']

dataset_type = 'MpiiDataset'
data_root = 'data/mpii/'
train_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/mpii_train.json',
        data_prefix=dict(img='images/')))
# Boxes of MPII are wider than COCO's, and MMPose measures with 1.25.
crop = [
    dict(type='GetBBoxCenterScale', padding=1.25),
    *_base_.crop[1:],
]
test_pipeline = [
    dict(type='LoadImage'),
    *crop,
    dict(type='PackPoseInputs'),
]
labelled_test_pipeline = [
    *test_pipeline[:-1],
    *_base_.labelled_test_pipeline[-2:],
]
keypoint_test_pipeline = [*crop, dict(type='PackKeypointInputs')]
val_dataloader = dict(
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        ann_file='annotations/mpii_val.json',
        headbox_file=f'{data_root}annotations/mpii_gt_val.mat',
        data_prefix=dict(img='images/'),
        pipeline=test_pipeline))
test_dataloader = val_dataloader

val_evaluator = [dict(type='MpiiPCKAccuracy')]
test_evaluator = val_evaluator
