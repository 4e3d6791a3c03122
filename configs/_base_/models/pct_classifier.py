# PCT stage two at the published size; configs that inherit this file name
# the backbone and its last map.
model = dict(
    type='TopdownPoseEstimator',
    head=dict(
        type='PCTHead',
        tokenizer=dict(type='PCTTokenizer', num_joints=17),
        tokenizer_checkpoint='work_dirs/pct_tokenizer_coco-256x256/'
        'epoch_50.pth'),
    test_cfg=dict(flip_test=True))
