# ResNet-50 of MMPose. Its weights come from a heatmap network of MMPose's zoo
# and stay, as PCT's backbone does, so that no heatmap training is needed.
backbone = dict(type='ResNet', depth=50)
frozen_backbone = dict(
    **backbone,
    frozen_stages=4,
    init_cfg=dict(
        type='Pretrained',
        prefix='backbone.',
        checkpoint='https://download.openmmlab.com/mmpose/v1/'
        'body_2d_keypoint/topdown_heatmap/coco/'
        'td-hm_res50_8xb64-210e_coco-256x192-04af38ce_20220923.pth'))
data_preprocessor = dict(
    type='PoseDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True)
feat_channels = 2048
feat_size = (8, 8)
