# Copyright (c) The mpm_postometro authors. All rights reserved.
import json

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate

from mpm_postometro.apis import PoseTokenInferencer
from mpm_postometro.apis.pose_token_files import (read_keypoints,
                                                  read_pose_tokens,
                                                  write_keypoints,
                                                  write_pose_tokens)

BOX = [40, 20, 90, 110]


@pytest.fixture
def build(token_models):
    """Inferencer of one of ``token_models``."""

    def build(kind, **kwargs):
        config, checkpoint = token_models[kind]
        return PoseTokenInferencer(config, checkpoint, 'cpu', **kwargs)

    return build


@pytest.fixture
def poses(build):
    """Keypoints, visibility and boxes of the data set of the configs."""
    dataset = build('tokenizer').build_dataset()
    items = [dataset.get_data_info(i) for i in range(len(dataset))]
    visible = np.concatenate([item['keypoints_visible'] for item in items])
    visible[1, 3:6] = 0
    return (np.concatenate([item['keypoints'] for item in items]), visible,
            np.concatenate([item['bbox'] for item in items]))


def _predict(inferencer, dataset):
    """What the estimator itself says of a data set."""
    batch = pseudo_collate([dataset[i] for i in range(len(dataset))])
    with torch.no_grad():
        return [s.pred_instances for s in inferencer.model.test_step(batch)]


@pytest.mark.parametrize('kind', ['tokenizer', 'guided', '3d'])
def test_codes_are_those_of_the_estimator(build, kind):
    """The pose of a file and of the data set take the same way."""
    inferencer = build(kind)
    dataset = inferencer.build_dataset()
    expected = _predict(inferencer, dataset)
    codes = np.concatenate([p.codes for p in expected])
    assert len(np.unique(codes, axis=0)) > 2
    for index, wanted in enumerate(expected):
        item = dataset.get_data_info(index)
        found = inferencer.tokenize(item['keypoints'],
                                    item['keypoints_visible'],
                                    item.get('bbox'), item.get('img'))
        assert found.dtype == np.int64
        np.testing.assert_array_equal(found, wanted.codes)
        np.testing.assert_allclose(
            inferencer.decode(found, item.get('bbox')),
            wanted.keypoints,
            atol=1e-3)
    whole = inferencer.tokenize_dataset(dataset)
    np.testing.assert_array_equal(whole['codes'], codes)
    part = inferencer.tokenize_dataset(dataset, [3, 0])
    np.testing.assert_array_equal(part['codes'], codes[[3, 0]])


def test_the_classifier_s_tokenizer(build, poses):
    """It tokenizes as its labels are made, pictures or not."""
    inferencer = build('classifier')
    dataset = inferencer.build_dataset()
    labels = [
        dataset[i]['data_samples'].gt_instance_labels
        for i in range(len(dataset))
    ]
    expected = inferencer.model.head.tokenize(
        torch.cat([label.keypoint_labels for label in labels]),
        torch.cat([label.keypoint_weights for label in labels]))
    keypoints, visible, boxes = poses
    found = inferencer.tokenize(keypoints, visible, boxes)
    same = [0, 2, 3, 4]  # the fixture hides joints of 1
    np.testing.assert_array_equal(found[same], expected[same])
    assert (found[1] != expected[1].numpy()).any()


def test_crops(build, poses):
    """Where in the picture a pose is, and how large, does not matter."""
    inferencer = build('tokenizer')
    keypoints, visible, boxes = poses
    codes = inferencer.tokenize(keypoints, visible, boxes)
    moved = inferencer.tokenize(2 * keypoints + [64, -32], visible,
                                2 * boxes + [64, -32, 64, -32])
    np.testing.assert_array_equal(moved, codes)
    other = inferencer.tokenize(keypoints, visible, boxes + [8, 0, 8, 0])
    assert (other != codes).any()
    size = boxes[:, 2:] - boxes[:, :2]
    np.testing.assert_array_equal(
        inferencer.tokenize(
            keypoints,
            visible,
            np.concatenate([boxes[:, :2], size], 1),
            bbox_format='xywh'), codes)


def test_people_are_independent(build, poses):
    keypoints, visible, boxes = poses
    codes = build('tokenizer').tokenize(keypoints, visible, boxes)
    inferencer = build('tokenizer', batch_size=2)
    order = [3, 1, 4, 0, 2]
    np.testing.assert_array_equal(
        inferencer.tokenize(keypoints[order], visible[order], boxes[order]),
        codes[order])
    np.testing.assert_array_equal(
        inferencer.tokenize(keypoints[1], visible[1], boxes[1]), codes[1:2])
    decoded = inferencer.decode(codes, boxes)
    np.testing.assert_allclose(
        inferencer.decode(codes[order], boxes[order]),
        decoded[order],
        atol=1e-4)
    np.testing.assert_allclose(
        inferencer.decode(codes[2], boxes[2]), decoded[2:3], atol=1e-4)
    nobody = inferencer.tokenize(keypoints[:0])
    assert nobody.shape == (0, 6) and nobody.dtype == np.int64
    assert inferencer.decode(nobody).shape == (0, 17, 2)


def test_hidden_joints(build, poses):
    inferencer = build('tokenizer')
    keypoints, visible, boxes = poses
    codes = inferencer.tokenize(keypoints, visible, boxes)
    hidden = visible == 0
    assert hidden.any()
    for value in (np.nan, 1e6):
        there = np.where(hidden[..., None], value, keypoints)
        np.testing.assert_array_equal(
            inferencer.tokenize(there, visible, boxes), codes)
    there = np.where(hidden[..., None], np.nan, keypoints)
    np.testing.assert_array_equal(
        inferencer.tokenize(there, bboxes=boxes), codes)
    # Even if they are said to be visible, and zeros were in the crop.
    around = boxes.copy()
    around[:, :2] = -20
    np.testing.assert_array_equal(
        inferencer.tokenize(there, np.ones_like(visible), around),
        inferencer.tokenize(keypoints, visible, around))
    # Without boxes they do not count either.
    extents = np.concatenate([np.nanmin(there, 1), np.nanmax(there, 1)], -1)
    np.testing.assert_array_equal(
        inferencer.tokenize(keypoints, visible),
        inferencer.tokenize(keypoints, visible, extents))


def test_round_trip_has_the_tokenizer_s_own_error(build, poses):
    inferencer = build('tokenizer')
    keypoints, visible, boxes = poses
    codes = inferencer.tokenize(keypoints, visible, boxes)
    in_crop = inferencer.decode(codes)
    np.testing.assert_allclose(
        in_crop,
        inferencer.tokenizer.decode(torch.from_numpy(codes)).detach())
    # A crop of 64 pixels shows 1.25 times the longer side of the box.
    side = 1.25 * (boxes[:, 2:] - boxes[:, :2]).max(1)
    centre = (boxes[:, 2:] + boxes[:, :2])[:, None] / 2
    zoom = (64 / side)[:, None, None]
    cropped = (keypoints - centre) * zoom + 32
    np.testing.assert_allclose(
        np.linalg.norm(inferencer.decode(codes, boxes) - keypoints, axis=-1) *
        zoom[..., 0],
        np.linalg.norm(in_crop - cropped, axis=-1),
        rtol=1e-3)


def test_three_dimensions(build):
    inferencer = build('3d')
    joints = np.random.default_rng(0).normal(size=(4, 17, 3)) * .5
    codes = inferencer.tokenize(joints)
    with torch.no_grad():
        expected = inferencer.tokenizer.encode(
            torch.from_numpy(joints).float()).codes
    np.testing.assert_array_equal(codes, expected)
    assert inferencer.decode(codes).shape == (4, 17, 3)
    for call in (inferencer.tokenize, inferencer.decode):
        with pytest.raises(ValueError, match='not cropped: leave bboxes out'):
            call(
                joints if call == inferencer.tokenize else codes,
                bboxes=[BOX] * 4)


def test_guided_needs_the_picture(build, poses, photos):
    inferencer = build('guided')
    keypoints, visible, boxes = poses
    with pytest.raises(ValueError, match='image='):
        inferencer.tokenize(keypoints, visible, boxes)
    with pytest.raises(ValueError, match='gone.jpg: no such file'):
        inferencer.tokenize(keypoints, image='gone.jpg')
    path = photos / 'b.png'
    codes = inferencer.tokenize(keypoints, visible, boxes, str(path))
    image = cv2.imread(str(path))
    kept = image.copy()
    np.testing.assert_array_equal(
        inferencer.tokenize(keypoints, visible, boxes, image), codes)
    np.testing.assert_array_equal(image, kept)
    other = np.zeros_like(image)
    other[:, 80:] = 255
    assert (inferencer.tokenize(keypoints, visible, boxes, other)
            != codes).any()


def test_photos(build, photos, tmp_path):
    """Codes, keypoints and scores of people are those of the network."""
    inferencer = build('classifier', batch_size=2)
    image = cv2.imread(str(photos / 'b.png'))
    image[20:60, 40:90] = (200, 40, 90)
    boxes = [BOX, [0, 0, 60, 60], [70, 30, 150, 110]]
    bad = [200, 10, 220, 50]
    output = inferencer([image, image, photos / 'gone.jpg'],
                        [boxes + [bad], [BOX], [BOX]], tmp_path)
    assert [(p.image, p.index) for p in output.people] == [('array 0', 0),
                                                           ('array 0', 1),
                                                           ('array 0', 2),
                                                           ('array 1', 0)]
    assert len(output.errors) == 2 and output.num_images == 2
    assert 'box 3' in output.errors[0] and 'gone.jpg' in output.errors[1]
    model, head = inferencer.model, inferencer.model.head
    for person, box in zip(output.people, boxes + [BOX]):
        data = pseudo_collate(
            [inferencer.pipeline(inferencer.person_data(image.copy(), box))])
        with torch.no_grad():
            inputs = model.data_preprocessor(data, False)['inputs']
            tokens = head.pose_tokens(model.extract_feat(inputs))
            (wanted, ) = model.test_step(data)
        np.testing.assert_array_equal(person.codes, tokens.logits[0].argmax(1))
        np.testing.assert_allclose(
            person.confidence, tokens.confidence[0, :, 0], rtol=1e-4)
        np.testing.assert_allclose(
            person.probabilities,
            tokens.logits[0].softmax(1).amax(1),
            rtol=1e-4)
        np.testing.assert_allclose(
            person.keypoints, wanted.pred_instances.keypoints[0], atol=1e-3)
        np.testing.assert_array_equal(person.bbox, box)
        assert person.keypoint_scores.shape == (17, )

    assert sorted(p.name for p in output.files) == [
        'array_0_pose.png', 'array_1_pose.png', 'pose_tokens.npz'
    ]
    drawn = cv2.imread(str(tmp_path / 'array_0_pose.png'))
    assert drawn.shape == image.shape and (drawn != image).any()
    tokens = read_pose_tokens(tmp_path / 'pose_tokens.npz')
    np.testing.assert_array_equal(tokens['codes'],
                                  [p.codes for p in output.people])
    np.testing.assert_array_equal(tokens['box_index'], [0, 1, 2, 0])
    assert tokens['images'].tolist() == ['array 0'] * 3 + ['array 1']
    assert set(tokens) == {
        'codes', 'num_codes', 'confidence', 'probabilities', 'keypoints',
        'keypoint_scores', 'bboxes', 'bbox_scores', 'box_index', 'images',
        'joint_names'
    }


def test_a_tokenizer_reads_no_photos(build, photos):
    with pytest.raises(ValueError, match='tokenizer.py: a tokenizer knows'):
        build('tokenizer')(str(photos / 'a.jpg'))


@pytest.mark.parametrize('change, message', [
    (dict(keypoints=np.zeros((2, 16, 2))), r'\(P, 17, 2\).*\(2, 16, 2\)'),
    (dict(keypoints=np.zeros((2, 17, 3))), 'visibility goes into visible='),
    (dict(keypoints=np.zeros(17)), r'got \(17,\)'),
    (dict(keypoints=[['a', 'b']]), 'must be numbers'),
    (dict(visible=np.ones((2, 17, 1))), r'visible must be of shape \(5, 17\)'),
    (dict(bboxes=[BOX]), '5 poses need as many bboxes, got 1'),
    (dict(bboxes=[BOX] * 4 + [[9, 9, 9, 20]]), 'pose 4 has a box without'),
    (dict(bboxes=[[0, 0, np.nan, 9]] * 5), 'pose 0 has'),
    (dict(bboxes=None, visible=np.eye(5, 17)), 'span no box; give bboxes'),
    (dict(bboxes=None, visible=np.zeros((5, 17))), 'span no box; give bboxes'),
])
def test_wrong_poses(build, poses, change, message):
    names = ('keypoints', 'visible', 'bboxes')
    with pytest.raises(ValueError, match=message):
        build('tokenizer').tokenize(**{**dict(zip(names, poses)), **change})


@pytest.mark.parametrize('codes, message', [
    (np.full((2, 6), 32), r'\[0, 32\), but got 32 to 32'),
    (np.full((2, 6), -1), 'got -1'),
    (np.zeros((2, 5), int), r'codes \(B, 6\)'),
    (np.zeros((2, 6)), 'must be integers, got float64'),
])
def test_wrong_codes(build, codes, message):
    with pytest.raises(ValueError, match=message):
        build('tokenizer').decode(codes)


@pytest.mark.parametrize('name, message', [
    ('pct/heatmap_res18_synthetic-96x96.py',
     'got TopdownPoseEstimator with HeatmapHead'),
    ('postometro/image-only_res18_synthetic-96x96.py', 'got MeshEstimator'),
])
def test_other_configs(repo_root, name, message):
    with pytest.raises(ValueError, match=f'{name}: expected.*{message}'):
        PoseTokenInferencer(repo_root / 'configs' / name, device='cpu')


def test_data_of_other_joints(token_models):
    config = Config.fromfile(token_models['tokenizer'][0])
    config.test_dataloader.dataset.type = 'MpiiDataset'
    with pytest.raises(ValueError, match='17 joints, its test data 16'):
        PoseTokenInferencer(config, token_models['tokenizer'][1])
    config.test_dataloader.dataset.type = 'NoSuchDataset'
    with pytest.raises(ValueError, match="registered.*'NoSuchDataset'"):
        PoseTokenInferencer(config, token_models['tokenizer'][1])


def test_items_that_are_not_there(build):
    inferencer = build('tokenizer')
    dataset = inferencer.build_dataset()
    with pytest.raises(ValueError, match='5 items .from 0., and none 5'):
        inferencer.tokenize_dataset(dataset, [0, 5])
    with pytest.raises(ValueError, match="'val' or 'test'"):
        inferencer.build_dataset('train')


# --------------------------------- files ---------------------------------
def _tokens():
    rng = np.random.default_rng(0)
    return dict(
        codes=rng.integers(0, 9, (2, 4)),
        num_codes=9,
        keypoints=np.where(
            rng.random((2, 3, 1)) > .5, rng.random((2, 3, 2)), np.nan),
        bboxes=[[0, 1, 2, 3]] * 2,
        images=['a.jpg', 'dä b.jpg'],
        joint_names=['a', 'b', 'c'])


def test_token_file(tmp_path):
    tokens = _tokens()
    path = write_pose_tokens(tmp_path / 'sub' / 'tokens.npz', **tokens)
    found = read_pose_tokens(path)
    assert found.keys() == tokens.keys()
    for key, value in tokens.items():
        np.testing.assert_array_equal(
            found[key],
            np.asarray(value, found[key].dtype),
            err_msg=key,
            strict=True)
    assert found['codes'].dtype == np.int64
    assert found['keypoints'].dtype == np.float32
    with np.load(path, allow_pickle=False) as data:
        assert sorted(data) == sorted(tokens)


@pytest.mark.parametrize('change, message', [
    (dict(num_codes=5), r'in \[0, 5\)'),
    (dict(codes=np.zeros((2, 4))), "'codes' must be integers, got float64"),
    (dict(codes=np.zeros(4, int)), "'codes' must be of shape"),
    (dict(confidence=np.zeros((2, 5))), "'confidence' must be of shape .2, 4"),
    (dict(bboxes=np.zeros((2, 5))), r"'bboxes' must be of shape \(2, 4\)"),
    (dict(other=1), "'other' is none of"),
])
def test_wrong_tokens(tmp_path, change, message):
    with pytest.raises(ValueError, match=f'tokens.npz: .*{message}'):
        write_pose_tokens(tmp_path / 'tokens.npz', **{**_tokens(), **change})
    assert not list(tmp_path.iterdir())


def test_damaged_token_files(tmp_path):
    path = tmp_path / 'tokens.npz'
    with pytest.raises(FileNotFoundError, match='tokens.npz'):
        read_pose_tokens(path)
    np.savez(path, codes=np.zeros((1, 2), int))
    with pytest.raises(ValueError, match="need 'num_codes'"):
        read_pose_tokens(path)
    np.savez(path, codes=np.array([None]), num_codes=3)  # a pickle
    with pytest.raises(ValueError, match='tokens.npz: expected an .npz file'):
        read_pose_tokens(path)
    write_pose_tokens(path, **_tokens())
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match='tokens.npz: expected an .npz file'):
        read_pose_tokens(path)
    with pytest.raises(ValueError, match='end in .npz'):
        write_pose_tokens(tmp_path / 'tokens.json', **_tokens())


def _coco(num=2, **change):
    keypoints = np.random.default_rng(1).random((num, 3, 3)) * 50
    keypoints[..., 2] = 2
    keypoints[0, 1, 2] = 0
    entries = [
        dict(
            id=i,
            image_id=i % 2,
            category_id=1,
            keypoints=pose.ravel().tolist(),
            bbox=[1, 2, 30, 40]) for i, pose in enumerate(keypoints)
    ]
    entries[0].update(change)
    content = dict(
        images=[dict(id=i, file_name=f'{i}.jpg') for i in range(2)],
        annotations=entries)
    return keypoints, content


def test_coco_keypoints(tmp_path):
    keypoints, content = _coco(4)
    content['annotations'][1]['iscrowd'] = 1
    content['annotations'][2]['keypoints'][2::3] = [0, 0, 0]
    path = tmp_path / 'coco.json'
    path.write_text(json.dumps(content))
    found = read_keypoints(path)
    np.testing.assert_allclose(
        found.keypoints, keypoints[[0, 3], :, :2], rtol=1e-6)
    np.testing.assert_array_equal(found.visible, [[1, 0, 1], [1, 1, 1]])
    np.testing.assert_array_equal(found.bboxes, [[1, 2, 31, 42]] * 2)
    assert found.images.tolist() == ['0.jpg', '1.jpg']
    assert found.image_ids.tolist() == [0, 1]

    # Results: what is written can be read.
    path = write_keypoints(tmp_path / 'results.json', found.keypoints,
                           found.image_ids)
    again = read_keypoints(path)
    np.testing.assert_allclose(again.keypoints, found.keypoints, atol=1e-3)
    assert again.bboxes is None and again.images is None
    np.testing.assert_array_equal(again.image_ids, found.image_ids)


def test_array_keypoints(tmp_path):
    poses = np.random.default_rng(0).random((2, 3, 3)).astype(np.float32)
    poses[0, 1] = np.nan
    path = write_keypoints(tmp_path / 'poses.npy', poses)
    found = read_keypoints(path)
    np.testing.assert_array_equal(found.keypoints, poses)
    np.testing.assert_array_equal(found.visible, [[1, 0, 1], [1, 1, 1]])
    np.savez(tmp_path / 'poses.npz', keypoints=poses, bboxes=np.ones((2, 4)))
    assert read_keypoints(tmp_path / 'poses.npz').bboxes.shape == (2, 4)
    for key, value in (('bboxes', np.ones((3, 4))), ('bboxes', np.ones(4)),
                       ('image_ids', np.arange(3)), ('images', ['a.jpg'])):
        np.savez(tmp_path / 'wrong.npz', keypoints=poses, **{key: value})
        with pytest.raises(
                ValueError,
                match=rf"wrong.npz: '{key}' must .*\(2,.* 2 poses"):
            read_keypoints(tmp_path / 'wrong.npz')


@pytest.mark.parametrize('index', [0, 1])
def test_boxes_of_all_entries_or_none(tmp_path, index):
    _, content = _coco(3)
    del content['annotations'][index]['bbox']
    path = tmp_path / 'coco.json'
    path.write_text(json.dumps(content))
    with pytest.raises(
            ValueError,
            match=r'coco.json: annotations\[1\]: .*in all entries or'):
        read_keypoints(path)


@pytest.mark.parametrize('name, content, message', [
    ('a.json', '{', 'not JSON'),
    ('a.json', '3', 'got int'),
    ('a.json', '{}', '"annotations"'),
    ('a.json', '[]', 'no entry has visible keypoints'),
    ('a.json', '[{"image_id": 1}]', r'results\[0\] has no "keypoints"'),
    ('a.json', '[{"image_id": 1, "keypoints": [1, 2]}]', 'x, y, visibility'),
    ('a.json', json.dumps(_coco(bbox=[1, 2])[1]), r'annotations\[0\]: .*bbox'),
    ('a.json', json.dumps(
        _coco(keypoints=[1, 2, 1])[1]), r'annotations\[1\] has 3 joints'),
    ('a.npy', 'text', 'expected an .npy file'),
    ('a.npz', 'text', 'expected an .npz file'),
    ('a.txt', 'text', 'expected a file .json, .npy or .npz'),
])
def test_wrong_keypoint_files(tmp_path, name, content, message):
    path = tmp_path / name
    with pytest.raises(FileNotFoundError, match=name):
        read_keypoints(path)
    path.write_text(content)
    with pytest.raises(ValueError, match=f'{name}.*{message}'):
        read_keypoints(path)


def test_results_need_ids(tmp_path):
    with pytest.raises(ValueError, match='image_ids'):
        write_keypoints(tmp_path / 'a.json', np.zeros((1, 3, 2)))
    with pytest.raises(ValueError, match='.npy or .json'):
        write_keypoints(tmp_path / 'a.txt', np.zeros((1, 3, 2)))
