# A ResNet-18 of half the width: 0.3 GFLOP for a picture of 128 x 128.
backbone = dict(
    type='ResNet', depth=18, stem_channels=32, base_channels=32)
data_preprocessor = dict(
    type='PoseDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True)
feat_size = (4, 4)
