# Copyright (c) The mpm_postometro authors. All rights reserved.
import json

import numpy as np
import pytest
from mmpose.registry import DATASETS

from mpm_postometro.bodies.skeletons import SKELETONS
from mpm_postometro.datasets.body import DetectionSequenceDataset

COCO, H36M = SKELETONS['coco17'], SKELETONS['h36m17']
SIZE = dict(image_size=(640, 480), seq_len=3)


def result(frame, joints=17, score=1., **more):
    """Joint k is at (frame + k, 2 k), with score (k + 1) / 100."""
    k = np.arange(joints)
    points = np.stack([frame + k, 2 * k, (k + 1) / 100], 1)
    return dict(
        image_id=f'{frame}.jpg',
        category_id=1,
        keypoints=points.ravel().tolist(),
        score=score,
        **more)


@pytest.fixture
def write(tmp_path):

    def write(data, name='results.json'):
        text = data if isinstance(data, str) else json.dumps(data)
        (tmp_path / name).write_text(text)
        return str(tmp_path / name)

    return write


def test_joints_of_coco(write):
    path = write([result(f) for f in (2, 0, 1)])
    dataset = DATASETS.build(
        dict(type='DetectionSequenceDataset', ann_file=path, **SIZE))
    assert len(dataset) == 3
    item = dataset[1]
    assert item['has_2d'] and not item['has_3d']
    assert item['sequence'] == 'results' and item['image_size'] == (640, 480)
    points, scores = item['keypoints_2d'][1], item['keypoints_2d_scores'][1]

    def coco(*names):
        index = [COCO.index(n) for n in names]
        return [1 + np.mean(index), 2 * np.mean(index)], min(index) / 100 + .01

    sides = ('left_{}', 'right_{}')
    hips = [s.format('hip') for s in sides]
    shoulders = [s.format('shoulder') for s in sides]
    expected = dict(
        pelvis=coco(*hips),
        neck=coco(*shoulders),
        torso=coco(*hips, *shoulders),
        jaw=coco('nose'),
        head=coco('left_eye', 'right_eye'),
        left_knee=coco('left_knee'),
        right_wrist=coco('right_wrist'))
    for name, (point, score) in expected.items():
        i = H36M.index(name)
        np.testing.assert_allclose(points[i], point, err_msg=name)
        assert scores[i] == pytest.approx(score), name


def test_joints_of_halpe_and_h36m(write):
    item = DetectionSequenceDataset(write([result(0, joints=26)]), **SIZE)[0]
    x = item['keypoints_2d'][0, :, 0]
    for name, index in (('head', 17), ('neck', 18), ('pelvis', 19),
                        ('torso', 18.5), ('jaw', 0), ('left_hip', 11)):
        assert x[H36M.index(name)] == index, name
    item = DetectionSequenceDataset(
        write([result(0)]), layout='h36m17', **SIZE)[0]
    assert item['keypoints_2d'][0, :, 0].tolist() == list(range(17))


def test_tracks_gaps_and_best_person(write):
    path = write([
        result(10, idx=2),
        result(13, idx=2),
        result(10, idx=7, score=.5),
        result(11, idx=7, score=.5),
    ])
    dataset = DetectionSequenceDataset(path, **SIZE)
    assert [(s.name, len(s)) for s in dataset.sequences] == [('results/2', 4),
                                                             ('results/7', 2)]
    sequence = dataset.sequences[0]
    # straight from frame 10 to 13, and nobody was seen between
    knee = H36M.index('left_knee')
    np.testing.assert_allclose(sequence.keypoints_2d[:, knee, 0] -
                               sequence.keypoints_2d[0, knee, 0],
                               [0, 1, 2, 3])  # yapf: disable
    assert sequence.scores[[0, 3]].all() and not sequence.scores[1:3].any()
    assert len(DetectionSequenceDataset(path, min_frames=2, **SIZE)) == 6
    with pytest.raises(ValueError, match='no person in at least 5 frames'):
        DetectionSequenceDataset(path, min_frames=5, **SIZE)
    # without tracks the best person of a frame
    path = write([result(0, score=.2), {**result(5, score=.9), 'image_id': 0}])
    item = DetectionSequenceDataset(path, **SIZE)[0]
    assert item['keypoints_2d'][0, H36M.index('jaw'), 0] == 5


def test_annotations_of_coco(write):
    annotations = [
        {**result(i), 'image_id': 100 + i, 'track_id': 1}
        for i in range(4)]  # yapf: disable
    images = [
        dict(
            id=100 + i, file_name=f'video/{i:06d}.jpg', width=320, height=200)
        for i in range(4)
    ]
    path = write(dict(images=images, annotations=annotations))
    dataset = DetectionSequenceDataset(path, seq_len=3)
    assert len(dataset) == 4
    assert dataset[0]['image_size'] == (320, 200)
    images[2]['width'] = 300
    path = write(dict(images=images, annotations=annotations))
    with pytest.raises(ValueError, match="'images' have several sizes"):
        DetectionSequenceDataset(path)


@pytest.mark.parametrize('data, message', [
    ('{', 'results.json is no JSON file'),
    ({}, 'results.json must be a list of results'),
    ([], 'has no person'),
    ([dict(image_id=1)], "entry 0 must have 'image_id' and 'keypoints'"),
    ([result(0), result(1, joints=133)], r"entry 1: 'keypoints' has 399"),
    ([result(1, joints=133)], 'has 399 numbers, expected 3 for each of 17'),
    ([{
        **result(1), 'image_id': 'a.jpg'
    }], "entry 0: 'image_id' must have"),
    ([{
        **result(1), 'keypoints': 'x'
    }], "'keypoints' must be numbers"),
    ([{
        **result(1), 'keypoints': [float('nan')] * 51
    }], "entry 0: 'keypoints' is not finite"),
])
def test_what_is_wrong_is_named(write, data, message):
    with pytest.raises(ValueError, match=message):
        DetectionSequenceDataset(write(data), **SIZE)


def test_settings(write):
    with pytest.raises(ValueError, match="unknown layout 'martian'"):
        DetectionSequenceDataset(write([]), layout='martian')
    with pytest.raises(ValueError, match='image_size=.* is needed'):
        DetectionSequenceDataset(write([result(0)]))
    with pytest.raises(FileNotFoundError, match='nowhere.json'):
        DetectionSequenceDataset('nowhere.json', **SIZE)


def test_real_detections(data_dir):
    path = data_dir / 'detections' / 'boxing2_alphapose-results.json'
    dataset = DetectionSequenceDataset(
        str(path), image_size=(1280, 720), seq_len=27)
    assert len(dataset) == 301
    sequence = dataset.sequences[0]
    points, scores = sequence.keypoints_2d, sequence.scores
    assert points.shape == (301, 17, 2)
    assert .5 < np.median(scores) < 1
    head, pelvis = (points[:, H36M.index(n), 1] for n in ('head', 'pelvis'))
    assert (head < pelvis).all()  # upright
