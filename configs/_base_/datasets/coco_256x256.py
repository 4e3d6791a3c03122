# COCO's people, cropped and changed as PCT does it. Expects
#
#   data/coco/annotations/person_keypoints_{train,val}2017.json
#   data/coco/{train,val}2017/*.jpg
#
# Boxes of validation and test are the true ones, as published; for those of
# a detector set test_dataloader.dataset.bbox_file.
dataset_type = 'CocoDataset'
data_root = 'data/coco/'
input_size = (256, 256)
# As published, joints outside the crop are labelled like those inside.
outside = 'keep'
codec = dict(type='PixelLabel', input_size=input_size, outside=outside)

# MMPose's names for what is published as rotation 40 and scale 0.5. Published
# is shift, flip, half body, then scale and rotation; MMPose draws the shift
# together with the last two. Works without the picture too, which the
# tokenizer does not need.
random_crop = [
    dict(type='GetBBoxCenterScale', padding=1.25),
    dict(type='MeshFlip', prob=0.5),
    dict(type='RandomHalfBody', prob=0.3, min_total_keypoints=9),
    dict(
        type='RandomBBoxTransform',
        shift_factor=0.16,
        shift_prob=0.3,
        scale_factor=(0.5, 1.5),
        rotate_factor=80.,
        rotate_prob=0.6),
    dict(type='MeshAffine', input_size=input_size, outside=outside),
]
crop = [
    dict(type='GetBBoxCenterScale', padding=1.12),
    dict(type='MeshAffine', input_size=input_size, outside=outside),
]

train_pipeline = [
    dict(type='LoadImage'),
    *random_crop,
    dict(
        type='ColorJitter',
        brightness=0.4,
        contrast=0.4,
        saturation=0.4,
        hue=0.2),
    dict(type='GridDropout', unit_size=(10, 40), prob=0.5),
    dict(type='GenerateTarget', encoder=codec),
    dict(type='PackPoseInputs'),
]
test_pipeline = [
    dict(type='LoadImage'),
    *crop,
    dict(type='PackPoseInputs'),
]
# For tokenizers that are guided by the picture.
labelled_test_pipeline = [
    *test_pipeline[:-1],
    dict(type='GenerateTarget', encoder=codec),
    dict(type='PackPoseInputs'),
]
keypoint_train_pipeline = [*random_crop, dict(type='PackKeypointInputs')]
keypoint_test_pipeline = [*crop, dict(type='PackKeypointInputs')]

train_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_mode='topdown',
        ann_file='annotations/person_keypoints_train2017.json',
        data_prefix=dict(img='train2017/'),
        pipeline=train_pipeline))
val_dataloader = dict(
    batch_size=32,
    num_workers=4,
    persistent_workers=True,
    drop_last=False,
    sampler=dict(type='DefaultSampler', shuffle=False, round_up=False),
    dataset=dict(
        type=dataset_type,
        data_root=data_root,
        data_mode='topdown',
        ann_file='annotations/person_keypoints_val2017.json',
        data_prefix=dict(img='val2017/'),
        test_mode=True,
        pipeline=test_pipeline))
test_dataloader = val_dataloader

# Reads the annotations that the data set names.
val_evaluator = [dict(type='CocoMetric')]
test_evaluator = val_evaluator
