# A ResNet-18 of a quarter of the width that stops halving early: in a training
# of minutes, more people and finer maps teach more than more channels. A
# picture of 96 x 96 becomes 6 x 6 cells.
backbone = dict(
    type='ResNet',
    depth=18,
    stem_channels=16,
    base_channels=16,
    strides=(1, 2, 2, 1))
# As it comes out of the heatmap training, and stays.
frozen_backbone = dict(**backbone, frozen_stages=4)
data_preprocessor = dict(
    type='PoseDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    bgr_to_rgb=True)
feat_channels = 128
feat_size = (6, 6)
