# Copyright (c) The mpm_postometro authors. All rights reserved.
"""PCT's configs of COCO and MPII say what was published."""
import os.path as osp
from functools import lru_cache

import numpy as np
import pytest
from mmcv.transforms import Compose
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS, TRANSFORMS
from tiny_people import COCO

PCT = osp.join(
    osp.dirname(osp.dirname(osp.abspath(__file__))), 'configs', 'pct')
SIZES = dict(
    b=dict(embed_dim=128, depths=(2, 2, 18, 2), drop_path_rate=0.3),
    l=dict(embed_dim=192, depths=(2, 2, 18, 2), drop_path_rate=0.5),
    h=dict(embed_dim=256, depths=(2, 2, 42, 2), drop_path_rate=0.55))
BACKBONES = ['swinv2-b', 'swinv2-l', 'swinv2-h', 'res50', 'hrnet-w48']
# lr, weight decay, epochs, samples a GPU, of the sum over 8 GPUs
TOKENIZER = (1e-2, 0.15, 50, 64, 512)
CLASSIFIER = (8e-4, 0.05, 210, 32, 256)
RECIPES = {
    'heatmap_swinv2-b': (5e-4, 0.05, 150, 32, 256),
    'heatmap_swinv2-l': (3.33e-4, 0.0625, 150, 32, 256),
    'heatmap_swinv2-h': (2.5e-4, 0.1, 150, 32, 256),
    'pct_tokenizer': TOKENIZER,
}
for backbone in BACKBONES:
    RECIPES[f'pct_tokenizer-guided_{backbone}'] = TOKENIZER
    RECIPES[f'pct_classifier_{backbone}'] = CLASSIFIER
    RECIPES[f'pct_classifier-guided_{backbone}'] = CLASSIFIER


@lru_cache(None)
def read(name):
    return Config.fromfile(osp.join(PCT, f'{name}.py'))


def step(pipeline, name):
    """Arguments of a transform that a pipeline has once."""
    found, = (dict(t) for t in pipeline if t['type'] == name)
    del found['type']
    return found


@pytest.mark.parametrize('name', RECIPES)
def test_schedule_and_crops(name):
    lr, decay, epochs, batch, whole = RECIPES[name]
    cfg = read(f'{name}_coco-256x256')
    optimizer = cfg.optim_wrapper.optimizer
    assert optimizer.type == 'AdamW'
    assert optimizer.lr == lr and optimizer.weight_decay == decay
    assert tuple(optimizer.betas) == (0.9, 0.999)
    assert 'clip_grad' not in cfg.optim_wrapper
    half = 'tokenizer' not in name
    assert (cfg.optim_wrapper.type == 'AmpOptimWrapper') == half
    assert cfg.train_cfg.max_epochs == epochs
    assert cfg.train_dataloader.batch_size == batch
    assert cfg.auto_scale_lr.base_batch_size == whole == 8 * batch
    warm_up, cosine = cfg.param_scheduler
    assert warm_up == dict(
        type='LinearLR', start_factor=1e-3, by_epoch=False, begin=0, end=500)
    assert cosine.type == 'CosineAnnealingLR'
    assert cosine.eta_min_ratio == 1e-5 and cosine.convert_to_iter_based

    train = cfg.train_dataloader.dataset.pipeline
    assert step(train, 'GetBBoxCenterScale') == dict(padding=1.25)
    assert step(train, 'MeshFlip') == dict(prob=0.5)
    # Published is "more than 8".
    assert step(train, 'RandomHalfBody') == dict(
        prob=0.3, min_total_keypoints=9)
    # MMPose cuts its normal distribution at these, twice the published 40.
    assert step(train, 'RandomBBoxTransform') == dict(
        shift_factor=0.16,
        shift_prob=0.3,
        scale_factor=(0.5, 1.5),
        rotate_factor=80.,
        rotate_prob=0.6)
    val = cfg.val_dataloader.dataset.pipeline
    assert step(val, 'GetBBoxCenterScale') == dict(
        padding=1.25 if 'heatmap' in name else 1.12)
    for pipeline in (train, val):
        assert step(pipeline, 'MeshAffine') == dict(
            input_size=(256, 256), outside='keep')
    if name == 'pct_tokenizer':  # reads no picture
        return
    assert step(train, 'ColorJitter') == dict(
        brightness=0.4, contrast=0.4, saturation=0.4, hue=0.2)
    assert step(train, 'GridDropout') == dict(unit_size=(10, 40), prob=0.5)
    assert TRANSFORMS.build(dict(type='GridDropout')).ratio == 0.5


@pytest.mark.parametrize('size', SIZES)
def test_backbones(size):
    heatmap, classifier, guided = (
        read(f'{name}_swinv2-{size}_coco-256x256').model
        for name in ('heatmap', 'pct_classifier', 'pct_tokenizer-guided'))
    for backbone, frozen in ((heatmap.backbone, -1), (classifier.backbone, 5),
                             (guided.guide_backbone, 5)):
        assert {key: backbone[key] for key in SIZES[size]} == SIZES[size]
        assert backbone.window_size == (16, 16, 16, 8)
        assert backbone.pretrained_window_sizes == (12, 12, 12, 6)
        assert backbone.get('frozen_stages', -1) == frozen
    cfg = read(f'heatmap_swinv2-{size}_coco-256x256')
    assert cfg.optim_wrapper.paramwise_cfg.layer_decay_rate == (
        0.95 if size == 'h' else 0.9)
    assert cfg.codec.type == 'MSRAHeatmap' and cfg.codec.sigma == 2
    for model in (heatmap, classifier):
        assert model.test_cfg.flip_test


@pytest.mark.parametrize('data', ['coco', 'mpii'])
def test_losses_of_the_tokenizer(data):
    init_default_scope('mmpose')
    cfg = read(f'pct_tokenizer_{data}-256x256')
    model = MODELS.build(cfg.model)
    assert model.loss_joint.beta == 0.05
    assert model.latent_weight == 15
    assert model.tokenizer.joint_drop == 0.2
    quantizer = model.tokenizer.quantizer
    assert quantizer.codebook.shape == (2048, 512)
    assert model.tokenizer.num_tokens == 34


@pytest.mark.parametrize('name', [
    'pct_tokenizer_{}-256x256', 'pct_tokenizer-guided_hrnet-w48_{}-256x256',
    'pct_classifier_hrnet-w48_{}-256x256'
])
@pytest.mark.parametrize('data, count', [('coco', 17), ('mpii', 16)])
def test_joints_outside_the_crop_stay_labelled(name, data, count):
    """In both stages; what is not labelled is not labelled."""
    np.random.seed(0)
    cfg = read(name.format(data))
    loaders = [cfg.train_dataloader]
    if 'tokenizer' in name:
        loaders.append(cfg.val_dataloader)
    for loader in loaders:
        steps = [
            TRANSFORMS.build(t) for t in loader.dataset.pipeline
            if t['type'] != 'LoadImage'
        ]
        points = np.full((1, count, 2), 150, np.float32)
        points += np.random.uniform(-40, 40, points.shape)
        points[0, 5] = (150, 900)
        points[0, 6] = 0
        visible = np.ones((1, count), np.float32)
        visible[0, 6] = 0
        packed = Compose(steps)(
            dict(
                img=np.full((300, 300, 3), 99, np.uint8),
                img_shape=(300, 300),
                bbox=np.array([[100, 100, 200, 200]], np.float32),
                bbox_score=np.ones(1, np.float32),
                keypoints=points,
                keypoints_visible=visible,
                flip_indices=list(range(count)),
                upper_body_ids=COCO['upper_body_ids'][:5],
                lower_body_ids=COCO['lower_body_ids'][:4]))
        labels = packed['data_samples'].gt_instance_labels
        assert labels.keypoint_weights[0].tolist() == visible[0].tolist()
        far = labels.keypoint_labels[0, 5]
        assert far.abs().max() > 256 and far.isfinite().all()
