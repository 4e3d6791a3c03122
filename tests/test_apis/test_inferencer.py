# Copyright (c) The mpm_postometro authors. All rights reserved.
import importlib.util
import json
import re

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpose.registry import MODELS

import mpm_postometro.apis.inference_files as inference_files
from mpm_postometro.apis.inferencer import MeshInferencer

trimesh = pytest.importorskip('trimesh')

BOX = [40, 20, 90, 110]


@pytest.fixture
def inferencer(known_config):
    return MeshInferencer(known_config, device='cpu')


@pytest.fixture
def inference_main(repo_root):
    """``main`` of tools/inference.py."""
    spec = importlib.util.spec_from_file_location(
        'tools_inference', repo_root / 'tools' / 'inference.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def _damage(photos):
    """A folder's worth of pictures that cannot be used."""
    whole = (photos / 'a.jpg').read_bytes()
    (photos / 'cut.jpg').write_bytes(whole[:len(whole) // 2])
    (photos / 'empty.jpg').write_bytes(b'')
    (photos / 'text.jpg').write_text('no picture')
    png = bytearray((photos / 'b.png').read_bytes())
    png[len(png) // 2] ^= 255
    (photos / 'flipped.png').write_bytes(png)
    return ['cut.jpg', 'empty.jpg', 'text.jpg', 'flipped.png', 'gone.jpg']


def test_person_stands_where_the_crop_says(inferencer, photos):
    output = inferencer(str(photos / 'a.jpg'), [BOX])
    assert output.errors == [] and output.num_images == 1
    (person, ) = output.people
    # The crop: a square of 1.25 times the longer side about the box.
    np.testing.assert_allclose(person.crop_center, [65, 65])
    np.testing.assert_allclose(person.crop_scale, [112.5, 112.5])
    np.testing.assert_allclose(person.crop_region,
                               [8.75, 8.75, 121.25, 121.25])
    scale, *offset = person.camera
    expected = (65 + 56.25 * scale *
                (person.joints_3d[:, :2] + np.array(offset)))
    np.testing.assert_allclose(person.keypoints, expected, atol=1e-3)
    # A pinhole camera at that place sees the pelvis at the same pixel, and
    # everything near its depth nearly so.
    pelvis = person.intrinsics @ person.transl
    np.testing.assert_allclose(
        pelvis[:2] / pelvis[2],
        65 + 56.25 * scale * np.array(offset),
        atol=1e-3)
    placed = (person.joints_3d + person.transl) @ person.intrinsics.T
    error = placed[:, :2] / placed[:, 2:] - person.keypoints
    assert np.abs(error).max() < 4
    # The diagonal as focal length, the middle as principal point.
    np.testing.assert_allclose(person.intrinsics,
                               [[200, 0, 79.5], [0, 200, 59.5], [0, 0, 1]])
    near = inferencer(str(photos / 'a.jpg'), [BOX], focal_length=2000.)
    placed = (person.joints_3d +
              near.people[0].transl) @ near.people[0].intrinsics.T
    assert np.abs(placed[:, :2] / placed[:, 2:] - person.keypoints).max() < .4


def test_overlay_shows_the_mesh_on_its_joints(inferencer, photos):
    image = cv2.imread(str(photos / 'b.png'))
    output = inferencer(image, [BOX])
    drawn = inference_files.draw_people(image, output.people, inferencer.faces)
    changed = (drawn != image).any(-1)
    person = output.people[0]
    half = person.crop_scale / 2
    xy = person.crop_center + half * person.camera[0] * (
        person.vertices[:, :2] + person.camera[1:])
    y, x = np.nonzero(changed)
    for found, wanted in ((x.min(), xy[:, 0].min()), (x.max(), xy[:, 0].max()),
                          (y.min(), xy[:, 1].min()), (y.max(), xy[:,
                                                                  1].max())):
        assert abs(found - wanted) < 1.6
    inside = np.rint(person.keypoints[:13]).astype(int)  # not the head's top
    assert changed[inside[:, 1], inside[:, 0]].all()


def test_files(inferencer, photos, tmp_path):
    output = inferencer(
        [str(photos / 'a.jpg'), str(photos / 'b.png')],
        [[BOX, [100, 10, 150, 100]], [BOX]],
        tmp_path / 'out',
        viewer=True)
    names = sorted(p.name for p in (tmp_path / 'out').iterdir())
    assert names == sorted(
        f'{n}' for stem, people in (('a', 2), ('b', 1))
        for n in [f'{stem}.npz', f'{stem}.html', f'{stem}_overlay.png'] + [
            f'{stem}_person{i}.{kind}' for i in range(people)
            for kind in ('obj', 'glb')
        ])
    assert sorted(p.name for p in output.files) == names

    data = np.load(tmp_path / 'out' / 'a.npz')
    shapes = dict(
        vertices=(2, 6890, 3),
        joints_3d=(2, 14, 3),
        keypoints=(2, 14, 2),
        keypoint_scores=(2, 14),
        camera=(2, 3),
        crop_center=(2, 2),
        crop_scale=(2, 2),
        transl=(2, 3),
        bboxes=(2, 4),
        bbox_scores=(2, ),
        box_index=(2, ),
        intrinsics=(3, 3),
        faces=(13776, 3),
        image=(),
        joint_names=(14, ))
    assert {key: data[key].shape for key in data} == shapes
    np.testing.assert_array_equal(data['bboxes'], [BOX, [100, 10, 150, 100]])
    np.testing.assert_array_equal(data['vertices'][1],
                                  output.people[1].vertices)
    assert str(data['image']).endswith('a.jpg')
    body = inferencer.model.body
    joints = body.regress_joints(torch.from_numpy(data['vertices']), 'j14')
    np.testing.assert_allclose(joints, data['joints_3d'], atol=1e-5)
    for kind in ('obj', 'glb'):
        mesh = trimesh.load(
            tmp_path / 'out' / f'b_person0.{kind}',
            process=False,
            force='mesh')
        np.testing.assert_allclose(
            mesh.vertices, output.people[2].vertices * [1, -1, -1], atol=1e-6)
    panel = cv2.imread(str(tmp_path / 'out' / 'a_overlay.png'))
    assert panel.shape == (120, 160 + 160 + 120 + 120 + 3 * 4, 3)


def test_what_cannot_be_done_is_named_and_the_rest_is_done(
        inferencer, photos, tmp_path):
    bad = _damage(photos)
    files = [str(photos / name) for name in ['a.jpg', *bad, 'b.png']]
    boxes = [[BOX, [200, 10, 220, 50], [50, 50, 50, 90], [80, 80, 70, 70]],
             *[[BOX]] * len(bad), [BOX]]
    output = inferencer(files, boxes, tmp_path / 'out')
    assert [(p.image, p.index) for p in output.people] == [(files[0], 0),
                                                           (files[-1], 0)]
    assert output.num_images == 2
    assert len(output.errors) == 3 + len(bad)
    wanted = [('a.jpg: box 1', 'outside the image, which is 160 x 120'),
              ('a.jpg: box 2', 'no area'), ('a.jpg: box 3', 'no area'),
              ('cut.jpg: damaged', 'truncated'), ('empty.jpg', 'is empty'),
              ('text.jpg', 'not an image'), ('flipped.png', 'damaged'),
              ('gone.jpg', 'no such file')]
    for error, pieces in zip(output.errors, wanted):
        assert all(piece in error for piece in pieces), error
        assert error.count(str(photos)) == 1
    assert {p.name
            for p in (tmp_path / 'out').iterdir()} == {
                f'{stem}{end}'
                for stem in 'ab'
                for end in ('.npz', '_overlay.png', '_person0.obj',
                            '_person0.glb')
            }
    odd = inferencer([np.zeros((5, 5), np.uint8), np.zeros((9, 9, 3))])
    for index, error in enumerate(odd.errors):
        assert error.startswith(f'array {index}: expected an image array')
    assert len(odd.errors) == 2 and not odd.people


def test_batches_reach_over_pictures(known_config, photos):
    inferencer = MeshInferencer(known_config, device='cpu', batch_size=3)
    image = cv2.imread(str(photos / 'b.png'))
    counts = [2, 0, 1, 4]
    output = inferencer([image] * 4, [[BOX] * n for n in counts])
    assert inferencer.model.batches == [3, 3, 1]
    assert [(p.image, p.index) for p in output.people] == [
        (f'array {i}', k) for i, n in enumerate(counts) for k in range(n)
    ]


def test_whole_picture_folder_and_equal_names(inferencer, photos, tmp_path):
    output = inferencer(str(photos), out_dir=tmp_path / 'out', formats=())
    assert len(output.people) == 2
    np.testing.assert_array_equal(output.people[0].bbox, [0, 0, 160, 120])
    twin = tmp_path / 'other' / 'a.jpg'
    twin.parent.mkdir()
    twin.write_bytes((photos / 'a.jpg').read_bytes())
    output = inferencer(
        [str(photos / 'a.jpg'), str(twin)],
        out_dir=tmp_path / 'twins',
        formats=())
    assert sorted(p.name for p in output.files) == [
        'a.npz', 'a_2.npz', 'a_2_overlay.png', 'a_overlay.png'
    ]


def test_wrong_arguments(inferencer, photos, tmp_path, known_config):
    files = [str(photos / 'a.jpg'), str(photos / 'b.png')]
    with pytest.raises(ValueError, match='2 lists of boxes, got 1'):
        inferencer(files, [BOX])
    (tmp_path / 'nothing').mkdir()
    with pytest.raises(ValueError, match='no image'):
        inferencer(tmp_path / 'nothing')
    with pytest.raises(FileNotFoundError, match='none.py'):
        MeshInferencer(tmp_path / 'none.py')
    with pytest.raises(FileNotFoundError, match='none.pth'):
        MeshInferencer(known_config, tmp_path / 'none.pth')
    twin = tmp_path / 'twin' / 'a.jpg'
    coco = tmp_path / 'coco.json'
    coco.write_text(
        json.dumps(
            dict(images=[dict(id=1, file_name='a.jpg')], annotations=[])))
    with pytest.raises(ValueError, match=f'{files[0]} from {twin}'):
        inferencer([files[0], str(twin)], coco)
    bare = Config.fromfile(known_config)
    bare.pop('test_dataloader')
    with pytest.raises(ValueError, match='test_dataloader'):
        MeshInferencer(bare)


def test_checkpoint_is_loaded_and_must_fit(known_config, photos, tmp_path):
    path = tmp_path / 'weights.pth'
    torch.save(dict(state_dict=dict(weight=torch.tensor([2., 1., 1.]))), path)
    inferencer = MeshInferencer(known_config, path, 'cpu')
    person = inferencer(str(photos / 'a.jpg')).people[0]
    np.testing.assert_allclose(person.camera[0], 1.8, rtol=1e-6)
    torch.save(dict(state_dict=dict(other=torch.ones(3))), path)
    with pytest.raises(ValueError, match='weights.pth.*other'):
        MeshInferencer(known_config, path, 'cpu')


def test_command(inference_main, known_config, photos, tmp_path, capsys):
    common = ['--config', str(known_config), '--device', 'cpu', '--out-dir']
    out = tmp_path / 'out'
    code = inference_main([
        str(photos / 'a.jpg'), *common,
        str(out), '--bboxes', '40,20,50,90', '100,10,50,90', '--format', 'obj'
    ])
    assert code == 0
    assert '2 people in 1 images' in capsys.readouterr().out
    np.testing.assert_array_equal(
        np.load(out / 'a.npz')['bboxes'],
        [[40, 20, 90, 110], [100, 10, 150, 100]])
    assert not list(out.glob('*.glb')) and len(list(out.glob('*.obj'))) == 2

    _damage(photos)
    code = inference_main([str(photos), *common, str(tmp_path / 'all')])
    text = capsys.readouterr()
    assert code == 1
    assert '2 people in 2 images' in text.out
    assert '4 could not be done' in text.err and 'cut.jpg' in text.err
    for extra in (['--bboxes',
                   '1,2'], ['--bboxes',
                            'a,b,c,d'], ['--coco-json', 'none.json']):
        code = inference_main(
            [str(photos / 'a.jpg'), *common,
             str(out), *extra])
        assert code == 1 and 'error: ' in capsys.readouterr().err


def test_command_options(inference_main, known_config, photos, tmp_path):
    """Corners, the focal length, and what is kept of detections."""
    photo = photos / 'a_12.jpg'
    (photos / 'a.jpg').rename(photo)
    found = [([40, 20, 50, 90], .9), ([44, 20, 50, 90], .8),
             ([100, 10, 50, 90], .2)]
    boxes = tmp_path / 'boxes.json'
    boxes.write_text(
        json.dumps([
            dict(image_id=12, bbox=box, score=score) for box, score in found
        ]))

    def run(*options):
        code = inference_main([
            str(photo), '--config',
            str(known_config), '--device', 'cpu', '--out-dir',
            str(tmp_path), '--format', 'obj', *options
        ])
        assert code == 0
        with np.load(tmp_path / 'a_12.npz') as data:
            return dict(data)

    corners = run('--bboxes', '40,20,90,110', '--bbox-format', 'xyxy')
    np.testing.assert_array_equal(corners['bboxes'], [BOX])
    far = run('--bboxes', '40,20,50,90', '--focal-length', '600')
    np.testing.assert_array_equal(far['bboxes'], [BOX])
    assert far['intrinsics'][0, 0] == far['intrinsics'][1, 1] == 600
    np.testing.assert_allclose(far['transl'][:, 2],
                               3 * corners['transl'][:, 2])
    for options, scores in (((), [.9]), (('--nms', '.95'), [.9, .8]),
                            (('--min-score', '.1'), [.9, .2])):
        kept = run('--det-json', str(boxes), *options)
        np.testing.assert_allclose(kept['bbox_scores'], scores)


def test_boxes_with_width_and_height(inferencer, photos):
    image = str(photos / 'a.jpg')
    person = inferencer(
        image, [[40, 20, 50, 90]], bbox_format='xywh').people[0]
    np.testing.assert_array_equal(person.bbox, BOX)
    with pytest.raises(ValueError, match='cxcywh'):
        inferencer(image, [BOX], bbox_format='cxcywh')


def test_real_photo_with_its_annotated_and_detected_boxes(
        inferencer, data_dir, tmp_path):
    photo = data_dir / 'photos' / '000000000785.jpg'
    for name, box in (('test_coco.json', [280.79, 44.73, 499.49, 391.41]),
                      ('test_coco_det_AP_H_56.json',
                       [277.12, 45.70, 502.21, 379.26])):
        output = inferencer(photo, data_dir / 'photos' / name)
        assert output.errors == []
        (person, ) = output.people
        np.testing.assert_allclose(person.bbox, box, atol=.01)


@pytest.fixture(scope='module')
def small_configs(repo_root):
    return repo_root / 'configs'


def _save_untrained(config_file, path):
    """Checkpoint of a config's model as it is built."""
    model = MODELS.build(Config.fromfile(config_file).model)
    torch.save(dict(state_dict=model.state_dict(), meta=dict()), path)
    return path


def test_a_real_network(small_configs, photos, tmp_path):
    config = (
        small_configs / 'postometro' / 'image-only_res18_synthetic-96x96.py')
    weights = _save_untrained(config, tmp_path / 'weights.pth')
    inferencer = MeshInferencer(config, weights, 'cpu')
    output = inferencer(str(photos / 'a.jpg'), [BOX], tmp_path / 'out')
    (person, ) = output.people
    half = person.crop_scale / 2
    expected = person.crop_center + half * person.camera[0] * (
        person.joints_3d[:, :2] + person.camera[1:])
    np.testing.assert_allclose(person.keypoints, expected, atol=.01)
    assert len(output.files) == 4


@pytest.mark.parametrize('flag', ['--coco-json', '--det-json'])
def test_command_on_a_real_photo_among_damaged_ones(inference_main,
                                                    small_configs, data_dir,
                                                    tmp_path, capsys, flag):
    """The small network, a real photo and its box; what fails is named."""
    config = small_configs / 'postometro/postometro_res18_synthetic-96x96.py'
    weights = _save_untrained(config, tmp_path / 'weights.pth')
    photo = data_dir / 'photos' / '000000000785.jpg'
    cut, copy = tmp_path / '999.jpg', tmp_path / '1000.jpg'
    copy.write_bytes(photo.read_bytes())
    cut.write_bytes(photo.read_bytes()[:photo.stat().st_size // 2])
    files = [photo, cut, copy]

    content = json.loads(
        (data_dir / 'photos' / 'test_coco.json').read_text(encoding='utf-8'))
    (real, ) = (
        item['bbox'] for item in content['annotations']
        if item['image_id'] == 785)
    other, outside = [20, 40, 200, 300], [700, 10, 50, 90]
    boxes = [
        dict(image_id=int(file.stem), category_id=1, bbox=box, score=score)
        for file, box, score in ((photo, real, .9), (photo, outside, .8),
                                 (cut, real, .9), (copy, real,
                                                   .9), (copy, other, .8))
    ]
    if flag == '--coco-json':
        content['annotations'] = boxes
        content['images'] = [
            dict(id=int(file.stem), file_name=file.name) for file in files
        ]
    boxes_file = tmp_path / 'boxes.json'
    boxes_file.write_text(
        json.dumps(content if flag == '--coco-json' else boxes))

    out = tmp_path / 'out'
    code = inference_main([
        *map(str, files), '--config',
        str(config), '--checkpoint',
        str(weights), '--device', 'cpu', '--out-dir',
        str(out), flag,
        str(boxes_file), '--viewer', '--batch-size', '2'
    ])
    text = capsys.readouterr()
    assert code == 1
    assert '3 people in 2 images; 12 files' in text.out
    assert text.err.splitlines()[-3] == '2 could not be done:'
    outside_line, cut_line = text.err.splitlines()[-2:]
    assert f'{photo}: box 1 [700.0, 10.0, 750.0, 100.0]' in outside_line
    assert 'outside the image, which is 640 x 425' in outside_line
    assert f'{cut}: damaged image' in cut_line
    assert {
        path.name
        for path in out.iterdir()
    } == {
        f'{stem}{end}'
        for stem, people in ((photo.stem, 1), (copy.stem, 2))
        for end in [
            '.npz', '.html', '_overlay.png', *(f'_person{i}.{kind}'
                                               for i in range(people)
                                               for kind in ('obj', 'glb'))
        ]
    }
    with np.load(out / '1000.npz') as twice, np.load(
            out / f'{photo.stem}.npz') as once:
        np.testing.assert_allclose(
            twice['bboxes'],
            [[280.79, 44.73, 499.49, 391.41], [20, 40, 220, 340]],
            atol=.01)
        # The same person, alone or beside another.
        np.testing.assert_allclose(
            once['vertices'][0], twice['vertices'][0], atol=1e-5)
        assert np.isfinite(once['vertices']).all()


@pytest.mark.parametrize('damage, message', [
    ('cut', 'damaged'),
    ('text', 'refused|damaged'),
    ('code', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'),
    ('tensor', 'expected a dict of weights, got Tensor'),
])
def test_command_with_an_unusable_checkpoint(inference_main, known_config,
                                             photos, tmp_path, capsys, damage,
                                             message):
    path = tmp_path / 'weights.pth'
    content = dict(state_dict=dict(weight=torch.ones(3)))
    if damage == 'code':
        content['extra'] = Config  # any class that a pickle may not name
    torch.save(torch.ones(3) if damage == 'tensor' else content, path)
    if damage == 'cut':
        path.write_bytes(path.read_bytes()[:path.stat().st_size // 2])
    elif damage == 'text':
        path.write_text('version https://git-lfs.github.com/spec/v1')
    code = inference_main([
        str(photos / 'a.jpg'), '--config',
        str(known_config), '--checkpoint',
        str(path), '--out-dir',
        str(tmp_path / 'out')
    ])
    (line, ) = capsys.readouterr().err.splitlines()
    assert code == 1
    assert re.fullmatch(f'error: {path}: .*({message}).*', line)


@pytest.mark.parametrize('name', [
    'pct_tokenizer_synthetic-96x96', 'pct_classifier_res18_synthetic-96x96',
    'heatmap_res18_synthetic-96x96'
])
def test_a_config_without_a_mesh_is_named(inference_main, small_configs,
                                          photos, tmp_path, capsys, name):
    config = small_configs / 'pct' / f'{name}.py'
    code = inference_main([
        str(photos / 'a.jpg'), '--config',
        str(config), '--out-dir',
        str(tmp_path / 'out')
    ])
    assert code == 1
    line = capsys.readouterr().err.splitlines()[-1]
    assert re.fullmatch(
        f'error: {config}: expected a config of a mesh estimator, got '
        '(Topdown|Tokenizer).*', line)
