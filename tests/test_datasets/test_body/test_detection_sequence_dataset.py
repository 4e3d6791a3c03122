# Copyright (c) The mpm_postometro authors. All rights reserved.
import json

import numpy as np
import pytest
from mmpose.registry import DATASETS

from mpm_postometro.bodies.skeletons import SKELETONS
from mpm_postometro.datasets.body import DetectionSequenceDataset
from mpm_postometro.datasets.body.detection_sequence_dataset import not_seen

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


def test_long_gaps_begin_new_tracks(write):
    frames = (2, 5, 9, 581929)
    path = write([result(f, idx=1) for f in frames])

    def parts(**more):
        return [
            (s.subject, len(s), s.first_frame)
            for s in DetectionSequenceDataset(path, **SIZE, **more).sequences
        ]

    assert parts() == [('1 from 2', 8, 2), ('1 from 581929', 1, 581929)]
    assert parts(max_gap=3) == parts()
    assert parts(max_gap=2)[:2] == [('1 from 2', 4, 2), ('1 from 9', 1, 9)]
    assert [p[1] for p in parts(max_gap=0)] == [1] * 4
    assert parts(min_frames=2) == [('1 from 2', 8, 2)]
    path = write([result(f) for f in (0, 40)])
    assert [p[0] for p in parts()] == ['from 0', 'from 40']


def hide(entry, *joints):
    """As COCO's annotations have what nobody could see."""
    for joint in joints:
        i = COCO.index(joint)
        entry['keypoints'][3 * i:3 * i + 3] = [0, 0, 0]
    return entry


def test_what_nobody_saw_stays_at_zero(write):
    path = write([
        hide(result(0), 'left_hip'),
        hide(result(2), 'right_knee'),
        hide(result(4), 'right_knee', 'left_hip'),
        hide(result(6), *COCO.joint_names),
    ])
    sequence, = DetectionSequenceDataset(path, **SIZE).sequences
    assert len(sequence) == 5  # nobody in frame 6
    points = np.concatenate(
        [sequence.keypoints_2d, sequence.scores[..., None]], -1)
    # no mean of the other joint and the corner of the picture
    zero = not_seen(points)
    for joint in ('left_hip', 'pelvis', 'torso'):
        assert zero[:, H36M.index(joint)].tolist() == [1, 0, 0, 0, 1], joint
    for joint in ('right_hip', 'neck', 'left_knee'):
        assert not zero[:, H36M.index(joint)].any(), joint
    assert zero[:, H36M.index('right_knee')].tolist() == [0, 0, 1, 0, 1]
    # filled in from where it was seen
    knee = points[:, H36M.index('right_knee'), 0]
    assert knee[1] == knee[0] == knee[3]
    hip = points[:, H36M.index('left_hip'), 0]
    assert hip[1] == hip[2] == hip[3] == 2 + COCO.index('left_hip')


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
    ([result(0, score=None)
      ], "entry 0: 'score' must be a finite number, got None"),
    ([result(0, score=float('nan'))], "'score' must be a finite number"),
    ([result(0), {
        **result(1), 'image_id': [1]
    }], r"entry 1: 'image_id' must be a whole number or text, got \[1\]"),
    ([result(0, idx=[1, .5])
      ], r"entry 0: 'idx' must be a whole number or text, got \[1, 0.5\]"),
    ([result(0, track_id=None)], "entry 0: 'track_id' must be a whole number"),
    (dict(images=None, annotations=[]), "json: 'images' must be a list, got"),
    (dict(images=[], annotations={}), "json: 'annotations' must be a list"),
    (dict(images=[dict(id=1), dict(file_name='1.jpg')],
          annotations=[]), r"json: 'images', entry 1 must have 'id'"),
    (dict(images=[dict(id=[1])], annotations=[]),
     "json: 'images', entry 0: 'id' must be a whole number or text"),
    (dict(images=[dict(id=1, width=None, height=480)], annotations=[]),
     "entry 0: 'width' and 'height' must be .width, height., pixels"),
])
def test_what_is_wrong_is_named(write, data, message):
    with pytest.raises(ValueError, match=message):
        DetectionSequenceDataset(write(data), **SIZE)


def test_settings(write):
    with pytest.raises(ValueError, match="unknown layout 'martian'"):
        DetectionSequenceDataset(write([]), layout='martian')
    with pytest.raises(ValueError, match='min_frames must be at least 1'):
        DetectionSequenceDataset(write([]), min_frames=-1, **SIZE)
    with pytest.raises(ValueError, match='max_gap must be at least 0'):
        DetectionSequenceDataset(write([]), max_gap=-1, **SIZE)
    with pytest.raises(ValueError, match='image_size must be .width, height'):
        DetectionSequenceDataset(write([]), image_size=640)
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
