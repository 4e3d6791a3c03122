# Copyright (c) The mpm_postometro authors. All rights reserved.
"""tools/pose_tokens.py"""
import importlib.util
import json

import cv2
import numpy as np
import pytest

from mpm_postometro.apis import PoseTokenInferencer
from mpm_postometro.apis.pose_token_files import read_pose_tokens


@pytest.fixture
def command(repo_root, token_models, tmp_path):
    """Runs a sub-command with one of ``token_models``; returns its code."""
    spec = importlib.util.spec_from_file_location(
        'tools_pose_tokens', repo_root / 'tools' / 'pose_tokens.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(name, kind, *arguments):
        config, checkpoint = token_models[kind]
        return module.main([
            name, *map(str, arguments), '--config',
            str(config), '--checkpoint',
            str(checkpoint), '--device', 'cpu', '--out-dir',
            str(tmp_path / 'out')
        ])

    return run


@pytest.fixture
def coco(tmp_path):
    """COCO annotations of three people in two pictures."""
    rng = np.random.default_rng(0)
    entries = []
    for image_id in (7, 9, 7):
        pose = np.concatenate(
            [rng.uniform(20, 100, (17, 2)),
             np.full((17, 1), 2.)], 1)
        pose[4, 2] = 0
        entries.append(
            dict(
                image_id=image_id,
                category_id=1,
                keypoints=pose.ravel().tolist(),
                bbox=[10, 10, 100, 100]))
    path = tmp_path / 'coco.json'
    path.write_text(
        json.dumps(
            dict(
                images=[
                    dict(id=7, file_name='a.jpg'),
                    dict(id=9, file_name='b.png')
                ],
                annotations=entries)))
    return path


def test_photos(command, photos, tmp_path, capsys):
    code = command('image', 'classifier', photos / 'a.jpg', '--bboxes',
                   '40,20,50,90', '100,10,50,90')
    assert code == 0
    assert '2 people in 1 images; 2 files' in capsys.readouterr().out
    tokens = read_pose_tokens(tmp_path / 'out' / 'pose_tokens.npz')
    np.testing.assert_array_equal(tokens['bboxes'],
                                  [[40, 20, 90, 110], [100, 10, 150, 100]])
    assert (tmp_path / 'out' / 'a_pose.png').is_file()

    code = command('image', 'classifier', photos / 'a.jpg',
                   photos / 'gone.jpg')
    text = capsys.readouterr()
    assert code == 1 and '1 could not be done' in text.err
    assert 'gone.jpg: no such file' in text.err


def test_keypoints_and_back(command, coco, tmp_path, token_models, capsys):
    assert command('keypoints', 'tokenizer', coco) == 0
    path = tmp_path / 'out' / 'pose_tokens.npz'
    assert f'3 poses of 6 codes in {path}' in capsys.readouterr().out
    tokens = read_pose_tokens(path)
    assert tokens['image_ids'].tolist() == [7, 9, 7]
    assert tokens['images'].tolist() == ['a.jpg', 'b.png', 'a.jpg']
    assert np.isnan(tokens['keypoints'][:, 4]).all()
    inferencer = PoseTokenInferencer(*token_models['tokenizer'], 'cpu')
    np.testing.assert_array_equal(
        tokens['codes'],
        inferencer.tokenize(tokens['keypoints'], bboxes=tokens['bboxes']))

    assert command('decode', 'tokenizer', path) == 0
    assert '3 poses in pixels of the pictures' in capsys.readouterr().out
    decoded = np.load(tmp_path / 'out' / 'keypoints.npy')
    np.testing.assert_allclose(
        decoded, inferencer.decode(tokens['codes'], tokens['bboxes']))
    results = json.loads((tmp_path / 'out' / 'keypoints.json').read_text())
    assert [item['image_id'] for item in results] == [7, 9, 7]
    np.testing.assert_allclose(
        np.reshape(results[1]['keypoints'], (17, 3))[:, :2],
        decoded[1],
        atol=1e-3)
    # What was written can be read again.
    assert command('keypoints', 'tokenizer',
                   tmp_path / 'out' / 'keypoints.json') == 0


def test_codes_of_another_codebook(command, coco, tmp_path, token_models,
                                   capsys):
    path = tmp_path / 'out' / 'pose_tokens.npz'
    assert command('keypoints', 'tokenizer', coco) == 0
    with np.load(path) as data:
        np.savez(path, **{**data, 'num_codes': 1000})
    assert command('decode', 'tokenizer', path) == 1
    assert 'a codebook of 1000, the config has one of 32' in capsys.readouterr(
    ).err


def test_keypoints_of_a_guided_tokenizer(command, coco, photos, tmp_path,
                                         token_models, capsys):
    assert command('keypoints', 'guided', coco) == 1
    assert '--image-dir' in capsys.readouterr().err
    # A picture that gives its pose other codes than the grey one would.
    stripes = np.zeros((120, 160, 3), np.uint8)
    stripes[::8] = stripes[1::8] = (255, 0, 255)
    cv2.imwrite(str(photos / 'b.png'), stripes)
    assert command('keypoints', 'guided', coco, '--image-dir', photos) == 0
    tokens = read_pose_tokens(tmp_path / 'out' / 'pose_tokens.npz')
    inferencer = PoseTokenInferencer(*token_models['guided'], 'cpu')
    grey = inferencer.tokenize(
        tokens['keypoints'][1],
        bboxes=tokens['bboxes'][1],
        image=photos / 'a.jpg')
    assert (tokens['codes'][1] != grey[0]).any()
    for index, name in enumerate(('a.jpg', 'b.png', 'a.jpg')):
        np.testing.assert_array_equal(
            tokens['codes'][index],
            inferencer.tokenize(
                tokens['keypoints'][index],
                bboxes=tokens['bboxes'][index],
                image=photos / name)[0])


def _size(path):
    return cv2.imread(str(path)).shape


@pytest.mark.parametrize('kind', ['tokenizer', 'classifier'])
def test_pictures(command, kind, coco, tmp_path, capsys):
    out = tmp_path / 'out'
    assert command('picture', kind, '--index', 2, '--codes', 3) == 0
    text = capsys.readouterr().out
    for name in ('tokens.png', 'influence.png'):
        assert str(out / name) in text
        assert _size(out / name)[1] > 300
    first = cv2.imread(str(out / 'tokens.png'))
    assert command('picture', kind, '--index', 2, '--codes', 3, '--keypoints',
                   coco) == 0
    third = cv2.imread(str(out / 'tokens.png'))
    assert command('picture', kind, '--index', 0, '--codes', 3, '--keypoints',
                   coco) == 0
    for other in (first, cv2.imread(str(out / 'tokens.png'))):
        assert other.shape != third.shape or (other != third).any()
    assert command('picture', kind, '--index', 9) == 1
    assert '5 items (from 0), and none 9' in capsys.readouterr().err
    assert command('picture', kind, '--index', 3, '--keypoints', coco) == 1
    assert 'coco.json has 3 poses' in capsys.readouterr().err


def test_usage(command, tmp_path, capsys):
    assert command('usage', 'tokenizer', '--num-poses', 3) == 0
    text = capsys.readouterr().out
    tokens = read_pose_tokens(tmp_path / 'out' / 'usage.npz')
    assert tokens['codes'].shape == (3, 6)
    used = len(np.unique(tokens['codes'])) / 32
    assert f'{100 * used:.1f} % of 32 codes are used' in text
    assert _size(tmp_path / 'out' / 'usage.png')[1] > 300


def test_errors_are_one_line(command, tmp_path, capsys):
    assert command('keypoints', 'tokenizer', tmp_path / 'none.json') == 1
    (line, ) = capsys.readouterr().err.splitlines()
    assert line.startswith('error: ') and 'none.json' in line


def test_pictures_in_3d(command, tmp_path, token_models):
    """Of metres, in mm."""
    assert command('picture', '3d', '--index', 1) == 0
    assert _size(tmp_path / 'out' / 'tokens.png')[1] > 300
    np.save(tmp_path / 'poses.npy', np.zeros((2, 17, 3)))
    assert command('keypoints', '3d', tmp_path / 'poses.npy') == 0
    assert command('decode', '3d', tmp_path / 'out' / 'pose_tokens.npz') == 0
    decoded = np.load(tmp_path / 'out' / 'keypoints.npy')
    assert decoded.shape == (2, 17, 3)
    assert not (tmp_path / 'out' / 'keypoints.json').exists()
