# Pose tokens of the true 2D pose, with confidence 10, in training and test
# (Table 6).
_base_ = ['./postometro_res50_3dpw-256x256.py']
model = dict(
    token_source='ground_truth',
    pose_branch=dict(
        head=dict(tokenizer=dict(_delete_=True, type='PCTTokenizer'))),
    pose_branch_checkpoint=(
        'work_dirs/pct_classifier_swinv2-b_coco-256x256/epoch_210.pth'))
truth = dict(keypoints='projected')
train_dataloader = dict(dataset=truth)
val_dataloader = dict(dataset=truth)
test_dataloader = dict(dataset=truth)
del truth
load_from = 'work_dirs/postometro-unguided_res50_mix-256x256/epoch_30.pth'
