# Pose tokens of a tokenizer that no image guides, so that the true 2D pose
# alone gives them too: postometro-true-tokens_res50_3dpw-256x256.py goes on
# from here.
_base_ = ['./postometro_res50_mix-256x256.py']
model = dict(
    pose_branch=dict(
        head=dict(tokenizer=dict(_delete_=True, type='PCTTokenizer'))),
    pose_branch_checkpoint=(
        'work_dirs/pct_classifier_swinv2-b_coco-256x256/epoch_210.pth'))
