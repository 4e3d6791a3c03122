# Copyright (c) The mpm_postometro authors. All rights reserved.
import json

import numpy as np
import pytest

from mpm_postometro.apis.boxes import check_box, parse_boxes, read_coco_boxes


def _write(tmp_path, content):
    path = tmp_path / 'boxes.json'
    path.write_text(json.dumps(content))
    return path


def _annotations():
    return dict(
        images=[
            dict(id=7, file_name='val/a.jpg'),
            dict(id=8, file_name='b.jpg')
        ],
        annotations=[
            dict(image_id=7, bbox=[10, 20, 30, 40], category_id=1),
            dict(image_id=7, bbox=[0, 0, 9, 9], category_id=1, iscrowd=1),
            dict(image_id=7, bbox=[0, 0, 9, 9], category_id=18),
        ])


def test_boxes_of_all_forms():
    for boxes in ([1, 2, 3, 5], [[1, 2, 3, 5]], np.array([[1, 2, 3, 5]])):
        parsed = parse_boxes(boxes)
        np.testing.assert_array_equal(parsed.xyxy, [[1, 2, 3, 5]])
        np.testing.assert_array_equal(parsed.scores, [1])
    parsed = parse_boxes([[1, 2, 3, 5, .5]], 'xywh')
    np.testing.assert_array_equal(parsed.xyxy, [[1, 2, 4, 7]])
    assert parsed.scores[0] == .5
    assert parse_boxes([]).xyxy.shape == (0, 4)
    for wrong in ([1, 2, 3], [[1, 2, 3]], [['a'] * 4], [[1, 2, 3, 4], [1]]):
        with pytest.raises(ValueError, match='boxes must be'):
            parse_boxes(wrong)
    with pytest.raises(ValueError, match='cxcywh'):
        parse_boxes([1, 2, 3, 4], 'cxcywh')


@pytest.mark.parametrize('box, fault', [
    ([10, 10, 50, 50], None),
    ([-50, -50, 5, 5], None),
    ([10, 10, 10, 50], 'no area'),
    ([30, 10, 20, 50], 'no area'),
    ([100, 10, 120, 50], 'outside the image, which is 100 x 80'),
    ([10, 80, 20, 90], 'outside'),
    ([-20, 10, 0, 50], 'outside'),
    ([10, np.nan, 20, 30], 'not finite'),
])
def test_faults_of_boxes(box, fault):
    found = check_box(np.array(box, np.float32), 100, 80)
    assert found is None if fault is None else fault in found


def test_coco_annotations(tmp_path):
    boxes = read_coco_boxes(_write(tmp_path, _annotations()))
    np.testing.assert_array_equal(
        boxes.boxes_of('/any/where/a.jpg').xyxy, [[10, 20, 40, 60]])
    assert len(boxes.boxes_of('b.jpg').xyxy) == 0
    with pytest.raises(ValueError, match='boxes.json.*c.jpg'):
        boxes.boxes_of('c.jpg')


def test_equal_names_in_several_folders(tmp_path):
    content = _annotations()
    content['images'] += [
        dict(id=9, file_name='train/a.jpg'),
        dict(id=10, file_name='d.jpg'),
        dict(id=11, file_name='d.jpg')
    ]
    content['annotations'].append(dict(image_id=9, bbox=[1, 2, 3, 4]))
    boxes = read_coco_boxes(_write(tmp_path, content))
    # Enough of the path to tell: the right one; else both are named.
    for folder, left in (('val', 10), ('/any/train', 1)):
        np.testing.assert_array_equal(
            boxes.boxes_of(f'{folder}/a.jpg').xyxy[:, 0], [left])
    for name, pieces in (('a.jpg', "'val/a.jpg', 'train/a.jpg'"),
                         ('test/a.jpg', "'val/a.jpg', 'train/a.jpg'"),
                         ('d.jpg', "'d.jpg', 'd.jpg'")):
        with pytest.raises(ValueError, match=f'boxes.json.*{pieces}.*any of'):
            boxes.boxes_of(name)


def test_coco_detections(tmp_path):

    def found(box, score, **kwargs):
        return dict(image_id=785, bbox=box, score=score, **kwargs)

    path = _write(tmp_path, [
        found([12, 20, 30, 40], .6, category_id=1),
        found([10, 20, 30, 40], .9, category_id=1),
        found([100, 20, 30, 40], .8),
        found([200, 20, 30, 40], .1, category_id=1),
        found([300, 20, 30, 40], .9, category_id=2),
    ])
    boxes = read_coco_boxes(path)
    for name in ('000000000785.jpg', 'COCO_val2014_000000000785.jpg'):
        one = boxes.boxes_of(name)
        np.testing.assert_array_equal(one.xyxy[:, 0], [10, 100])
        np.testing.assert_allclose(one.scores, [.9, .8])
    assert len(boxes.boxes_of('12.jpg').xyxy) == 0
    assert len(read_coco_boxes(path, min_score=0.).boxes_of('785').xyxy) == 3
    assert len(read_coco_boxes(path, nms_iou=1.).boxes_of('785').xyxy) == 3
    with pytest.raises(ValueError, match='holiday.jpg'):
        boxes.boxes_of('holiday.jpg')


def _without(content, *place):
    *way, key = place
    item = content
    for step in way:
        item = item[step]
    del item[key]
    return content


@pytest.mark.parametrize('content, message', [
    (_without(_annotations(), 'images'), 'the file has no "images"'),
    (_without(_annotations(), 'annotations'), 'has no "annotations"'),
    (_without(_annotations(), 'images', 1,
              'file_name'), r'images\[1\] has no "file_name"'),
    (_without(_annotations(), 'annotations', 2,
              'bbox'), r'annotations\[2\] has no "bbox"'),
    ([dict(image_id=1, bbox=[1, 2, 3, 4])], r'detections\[0\] has no "score"'),
    ([dict(image_id=1, bbox=[1, 2, 3], score=1)
      ], r'detections\[0\] must have'),
    ([dict(image_id=1, bbox=None, score=1)], r'detections\[0\] must have'),
    ([5], r'detections\[0\] must be an object'),
    ('text', 'expected COCO'),
])
def test_faults_of_files_are_named(tmp_path, content, message):
    with pytest.raises(ValueError, match=f'boxes.json.*{message}'):
        read_coco_boxes(_write(tmp_path, content))


def test_missing_and_broken_files(tmp_path):
    with pytest.raises(FileNotFoundError, match='nothing.json'):
        read_coco_boxes(tmp_path / 'nothing.json')
    (tmp_path / 'bad.json').write_text('{"images": [')
    with pytest.raises(ValueError, match='bad.json is not JSON'):
        read_coco_boxes(tmp_path / 'bad.json')
