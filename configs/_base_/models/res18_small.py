# A ResNet-18 of half the width that halves the picture early: most of what a
# short training sees should be other people, not other pixels. A picture of
# 96 x 96 becomes 3 x 3 cells.
backbone = dict(
    type='ResNet',
    depth=18,
    stem_channels=16,
    base_channels=32,
    strides=(2, 2, 2, 1))
data_preprocessor = dict(
    type='PoseDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True)
feat_size = (3, 3)
