# Copyright (c) The mpm_postometro authors. All rights reserved.
"""What the configs make of COCO's files."""
from types import SimpleNamespace

import mmcv
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData
from mmpose.apis import inference_topdown
from mmpose.models.pose_estimators import TopdownPoseEstimator
from mmpose.registry import DATASETS, METRICS, MODELS
from tiny_people import write_coco
from tiny_photo import write_photo_coco

CONFIG = 'configs/pct/pct_classifier_res50_coco-256x256.py'


@pytest.fixture(scope='module')
def cfg(repo_root):
    init_default_scope('mmpose')
    return Config.fromfile(repo_root / CONFIG)


@pytest.fixture(params=['photo', 'drawn'])
def in_coco(request, tmp_path, monkeypatch):
    """Be where ``data/coco`` is."""
    root = tmp_path / 'data' / 'coco'
    if request.param == 'photo':
        folder = request.getfixturevalue('data_dir') / 'photos'
        write_photo_coco(folder, root)
    else:
        write_coco(root)
    monkeypatch.chdir(tmp_path)


def measure(cfg, move=0.):
    """CocoMetric of true joints, predicted in the pixels of the crop and
    ``move`` pixels beside."""
    dataset = DATASETS.build(
        dict(cfg.val_dataloader.dataset, pipeline=cfg.labelled_test_pipeline))
    samples = [item['data_samples'] for item in dataset]
    preds = []
    for sample in samples:
        crop = sample.gt_instance_labels.keypoint_labels.numpy()
        preds.append(
            InstanceData(
                keypoints=crop + np.float32(move),
                keypoint_scores=np.full(crop.shape[:2], 3., np.float32)))
    samples = TopdownPoseEstimator.add_pred_to_datasample(
        SimpleNamespace(test_cfg={}), preds, None, samples)
    metric = METRICS.build(cfg.val_evaluator[0])
    metric.dataset_meta = dataset.metainfo
    metric.process({}, [sample.to_dict() for sample in samples])
    return metric.evaluate(len(samples))


def test_true_joints_have_average_precision_one(cfg, in_coco):
    perfect, near, far = (measure(cfg, move) for move in (0., 10., 1000.))
    for name in ('coco/AP', 'coco/AR'):
        assert perfect[name] == pytest.approx(1)
    assert 0 < near['coco/AP'] < 1
    assert far['coco/AP'] == 0


def test_the_tokenizer_sees_the_same_crops_without_pictures(
        cfg, in_coco, monkeypatch):
    """From the same random numbers, one gets the keypoints that the other
    has labels of."""
    images, keypoints = (
        DATASETS.build(dict(cfg.train_dataloader.dataset, pipeline=pipeline))
        for pipeline in (cfg.train_pipeline, cfg.keypoint_train_pipeline))

    def draw(dataset, seed):
        np.random.seed(seed)
        return dataset[0]

    seeds = range(12)
    with_image = [draw(images, seed) for seed in seeds]

    def forbidden(*args, **kwargs):
        raise AssertionError('stage one reads no picture')

    monkeypatch.setattr(mmcv, 'imfrombytes', forbidden)
    with pytest.raises(AssertionError, match='reads no picture'):
        draw(images, 0)
    flips = set()
    for seed, expected in zip(seeds, with_image):
        assert expected['inputs'].shape == (3, 256, 256)
        expected = expected['data_samples']
        packed = draw(keypoints, seed)
        sample = packed['data_samples']
        assert sample.flip == expected.flip
        flips.add(sample.flip)
        labels, true = (s.gt_instance_labels for s in (sample, expected))
        assert labels.keypoint_weights.equal(true.keypoint_weights)
        seen = true.keypoint_weights > 0
        assert seen.any()
        torch.testing.assert_close(
            labels.keypoint_labels[seen],
            true.keypoint_labels[seen],
            rtol=0,
            atol=2e-3)
        torch.testing.assert_close(packed['inputs'][..., :2][seen[0]],
                                   labels.keypoint_labels[seen])
    assert flips == {False, True}


def test_mmpose_predicts_with_the_config(cfg, repo_root, in_coco, tmp_path):
    """MMPose's own inference needs an image and a box, but no labels."""
    small = Config.fromfile(repo_root / 'tests' / 'test_tools' /
                            'tiny_coco_classifier.py')
    model = MODELS.build(small.model).eval()
    model.cfg = small
    model.dataset_meta = DATASETS.build(small.val_dataloader.dataset).metainfo
    image = next((tmp_path / 'data/coco/val2017').glob('*.jpg'))
    result, = inference_topdown(
        model, str(image), bboxes=np.array([[10., 10, 100, 110]]))
    pred = result.pred_instances
    assert pred.keypoints.shape == (1, 17, 2)
    assert pred.keypoint_scores.shape == (1, 17)
    assert np.isfinite(pred.keypoints).all()
