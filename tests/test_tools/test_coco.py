# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Both stages of PCT on a real COCO file and photo, and the tools' test of it
in one process and in two."""
import json
import os
from pathlib import Path

import cv2
import mmengine
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.runner import Runner
from tiny_photo import write_photo_coco

HERE = Path(__file__).resolve().parent
TOKENIZER = HERE / 'tiny_coco_tokenizer.py'
CLASSIFIER = HERE / 'tiny_coco_classifier.py'


@pytest.fixture(scope='module')
def folder(tmp_path_factory, data_dir):
    """Where the tools run: it has the ``data/coco`` that configs name."""
    folder = tmp_path_factory.mktemp('coco')
    write_photo_coco(data_dir / 'photos', folder / 'data' / 'coco', repeat=320)
    return folder


def _last_metrics(work_dir) -> dict:
    file, = work_dir.glob('*/vis_data/scalars.json')
    return json.loads(file.read_text().splitlines()[-1])


@pytest.fixture(scope='module')
def tokenizer(folder):
    before = os.getcwd()
    os.chdir(folder)
    try:
        cfg = Config.fromfile(TOKENIZER)
        Runner.from_cfg(Config(dict(cfg, work_dir='tokenizer'))).train()
    finally:
        os.chdir(before)
    return folder / 'tokenizer'


@pytest.fixture(scope='module')
def classifier(run, folder, tokenizer):
    run('train.py',
        CLASSIFIER,
        '--work-dir',
        'classifier',
        '--cfg-options',
        'model.head.tokenizer_checkpoint=tokenizer/epoch_20.pth',
        cwd=folder)
    return folder / 'classifier'


def test_the_tokenizer_learns_from_annotations_alone(tokenizer):
    metrics = _last_metrics(tokenizer)
    assert metrics['coco/AP'] >= 0.5
    assert metrics['keypoint/epe'] < 5  # per cent of the box


def test_the_classifier_finds_the_person(classifier):
    assert _last_metrics(classifier)['coco/AP'] >= 0.4


def test_two_processes_measure_what_one_measures(run, folder, classifier):
    test = (CLASSIFIER, 'classifier/epoch_2.pth')
    run('test.py',
        *test,
        '--work-dir',
        'one',
        '--out',
        'one.json',
        '--dump',
        'one.pkl',
        '--show-dir',
        'drawn',
        cwd=folder)
    run('dist_test.sh',
        *test,
        2,
        '--work-dir',
        'two',
        '--out',
        'two.json',
        '--dump',
        'two.pkl',
        cwd=folder)
    one, two = (mmengine.load(folder / f'{n}.json') for n in ('one', 'two'))
    assert one.keys() == two.keys()
    assert two == pytest.approx(one, rel=1e-6)
    assert 0.3 <= one['coco/AP'] < 1 and one['coco/AR'] > 0

    # The boxes of the detector, with MMPose's fields.
    one, two = ({
        sample['id']: sample['pred_instances']
        for sample in mmengine.load(folder / f'{n}.pkl')
    } for n in ('one', 'two'))
    found = mmengine.load(folder / 'data' / 'coco' / 'detections.json')
    assert one.keys() == two.keys() and len(one) == len(found) > 20
    for i, pred in one.items():
        assert pred['keypoints'].shape == (1, 17, 2)
        assert pred['keypoint_scores'].shape == (1, 17)
        assert pred['bbox_scores'] == pytest.approx(found[i]['score'])
        for key in ('keypoints', 'keypoint_scores'):
            np.testing.assert_allclose(
                two[i][key], pred[key], rtol=1e-4, atol=1e-2)
    drawn = sorted(folder.glob('one/*/drawn/*.jpg'))
    assert len(drawn) == len(found)  # the first is of the surest box
    photo = cv2.imread(str(next(folder.glob('data/coco/val2017/*.jpg'))))
    difference = cv2.absdiff(cv2.imread(str(drawn[0])), photo)
    assert (difference.max(-1) > 50).mean() > 0.001
