# Copyright (c) The mpm_postometro authors. All rights reserved.
import copy

import cv2
import numpy as np
import pytest
from mmcv.transforms.utils import cache_random_params
from mmpose.datasets.transforms import GetBBoxCenterScale
from mmpose.registry import TRANSFORMS

from mpm_postometro.datasets.transforms import (MeshAffine, PasteObjects,
                                                RandomTruncation,
                                                SyntheticOcclusion)

GREY = 7
# Middles of cells; none lies on the edge of a pixel.
Y, X = np.mgrid[4:96:8, 4:96:8]
POINTS = np.stack([X, Y], -1).reshape(1, -1, 2).astype(np.float32)


def grid_sample(cropped, height=96, width=96):
    """A grey picture with a grid of keypoints, every fifth unlabelled, the
    second already hidden."""
    labelled = np.ones(POINTS.shape[:2], np.float32)
    labelled[0, ::5] = 0
    before = np.zeros_like(labelled)
    before[0, 1] = 1
    sample = dict(
        img=np.full((height, width, 3), GREY, np.uint8),
        bbox=np.array([[10, 10, 80, 90]], np.float32),
        keypoints_occluded=before,
        occlusion=np.array([0.2], np.float32))
    if cropped:
        sample.update(
            warp_mat=np.eye(2, 3),
            transformed_keypoints=POINTS,
            keypoint_weights=labelled,
            keypoints=np.full_like(POINTS, -1))
    else:
        sample.update(keypoints=POINTS, keypoints_visible=labelled)
    return sample, labelled, before


@pytest.fixture
def folder(tmp_path):
    """Two pictures with alpha: a red disc, and below it a green bar whose
    clear part is white."""
    disc = np.zeros((60, 50, 4), np.uint8)
    cv2.circle(disc, (25, 30), 22, (0, 0, 255, 255), -1)
    bar = np.full((40, 80, 4), 255, np.uint8)
    bar[..., 3] = 0
    bar[10:30] = (0, 255, 0, 255)
    (tmp_path / 'more').mkdir()
    cv2.imwrite(str(tmp_path / 'disc.png'), disc)
    cv2.imwrite(str(tmp_path / 'more' / 'bar.PNG'), bar)
    (tmp_path / 'notes.txt').write_text('not a picture')
    return tmp_path


CASES = [(True, dict(type='PasteObjects', num_objects=(1, 3)))
         ] + [(cropped, dict(type='SyntheticOcclusion', fill=fill))
              for cropped in (True, False)
              for fill in ('color', 'noise', 'mean', 255, (1, 2, 3))]


@pytest.mark.parametrize('cropped, config', CASES)
def test_only_pixels_and_flags_change(cropped, config):
    """Hidden keypoints are those on pixels that changed, and no others."""
    np.random.seed(2)
    transform = TRANSFORMS.build(dict(config, prob=1.))
    hidden_total = 0
    for _ in range(10):
        sample, labelled, before = grid_sample(cropped)
        if config.get('fill') == 'mean':  # or it has the colour of the rest
            sample['img'][:48] += 50
        kept = copy.deepcopy(sample)
        out = transform(dict(sample))
        # the caller's arrays stay as they are, and so do all other labels
        for key, value in kept.items():
            np.testing.assert_array_equal(sample[key], value, key)
            if key not in ('img', 'keypoints_occluded', 'occlusion'):
                np.testing.assert_array_equal(out[key], value, key)
        assert set(out) == set(sample)
        changed = (out['img'] != kept['img']).any(-1)
        flags = out['keypoints_occluded'][0].astype(bool)
        soft = np.zeros(len(flags), bool)
        if config['type'] == 'PasteObjects':  # the edges of objects are soft
            core = cv2.erode(changed.astype(np.uint8), np.ones((3, 3))) > 0
            soft = (changed & ~core)[Y.ravel(), X.ravel()]
        changed = changed[Y.ravel(), X.ravel()]
        changed = np.where(soft, flags, changed)
        expected = (changed & (labelled[0] > 0)) | (before[0] > 0)
        assert flags.tolist() == expected.tolist()
        open_ = (labelled[0] > 0) & (before[0] == 0)
        share = (expected & open_).sum() / open_.sum()
        np.testing.assert_allclose(
            out['occlusion'], 1 - 0.8 * (1 - share), rtol=1e-5)
        hidden_total += changed.sum()
    assert 0 < hidden_total < 10 * POINTS.shape[1]


def test_cut_outs_are_upright_patches_of_the_wanted_colour():
    np.random.seed(0)
    img = np.zeros((80, 120, 3), np.uint8)
    img[:, :60] = (200, 100, 0)
    for fill, colour in (('mean', (100, 50, 0)), (9, (9, 9, 9)), ((3, 2, 1),
                                                                  (3, 2, 1))):
        transform = SyntheticOcclusion(
            1., (1, 1), (.2, .4), fill, shapes=('rectangle', ), rotate=False)
        for _ in range(10):
            out = transform(dict(img=img))['img']
            patch = (out == colour).all(-1)
            rows, columns = patch.any(1), patch.any(0)
            np.testing.assert_array_equal(patch, np.outer(rows, columns))
            # half of it may lie outside
            assert 0.5 * .2 * 80 - 2 <= rows.sum() <= .4 * 80 + 2
            assert 0.5 * .2 * 120 - 2 <= columns.sum() <= .4 * 120 + 2
            assert (out[~patch] == img[~patch]).all()


def test_shapes_as_named():
    """A rectangle fills its bounding box when upright, an ellipse does not."""
    np.random.seed(1)
    for shape, share in (('rectangle', 1.), ('ellipse', np.pi / 4)):
        transform = SyntheticOcclusion(
            1., (1, 1), (.3, .3), 255, shapes=(shape, ), rotate=False)
        transform._draw = lambda draw=transform._draw: [
            dict(draw()[0], center=np.array([.5, .5]))
        ]
        mask = transform(dict(img=np.zeros((200, 200, 3), np.uint8)))['img']
        _, _, width, height = cv2.boundingRect(mask[..., 0])
        np.testing.assert_allclose(
            np.count_nonzero(mask[..., 0]) / (width * height), share, atol=.03)


def test_off_and_wrong_arguments():
    img = np.zeros((8, 8, 3), np.uint8)
    out = SyntheticOcclusion(prob=0.)(dict(img=img))
    assert out['img'] is img and set(out) == {'img'}
    for wrong in (dict(fill='x'), dict(fill=256), dict(fill=(1, 2)),
                  dict(num_shapes=(0, 2)), dict(size=(.5, .1)),
                  dict(shapes=('star', )), dict(shapes='ellipse')):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            SyntheticOcclusion(**wrong)
    for wrong in (dict(num_objects=(0, 1)), dict(share=(.4, .2))):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            PasteObjects(**wrong)
    for wrong in (dict(share=(.2, 1.)), dict(sides='top'),
                  dict(sides=('up', )), dict(aspect_ratio=0)):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            RandomTruncation(**wrong)


# ----------------------------- pasted objects -------------------------------
def test_objects_of_a_folder_keep_colours_and_masks(folder):
    """Only red and green arrive: nothing of what is clear."""
    np.random.seed(0)
    paste = PasteObjects(1., (1, 1), (.1, .3), folder=str(folder))
    assert paste.objects.files == ['disc.png', 'more/bar.PNG']
    seen = set()
    for _ in range(20):
        sample = grid_sample(True)[0]
        out = paste(sample)['img'].astype(int)
        blue, green, red = out.transpose(2, 0, 1)
        assert (blue <= GREY).all()
        # between grey and red, or grey and green, at the soft edge
        assert (np.minimum(green, red) <= GREY).all()
        seen |= {'red'} if (red > 250).any() else set()
        seen |= {'green'} if (green > 250).any() else set()
    assert seen == {'red', 'green'}


@pytest.mark.parametrize('share', [.1, .25])
def test_objects_have_the_wanted_size(folder, share):
    np.random.seed(0)
    paste = PasteObjects(1., (1, 1), (share, share), folder=str(folder))
    area = 70 * 80
    sizes = []
    for _ in range(20):
        out = paste(grid_sample(True)[0])
        inside = out['img'][:, :, 1:].max(-1) > 127
        sizes.append(inside.sum() / area)
    # those that reach over the picture's edge lose a part
    assert max(sizes) == pytest.approx(share, rel=.1)
    assert np.median(sizes) > .7 * share


def test_drawn_objects_cover_about_the_wanted_share():
    np.random.seed(0)
    for share in (.15, .4):
        paste = PasteObjects(1., (1, 1), (share, share))
        hidden = []
        for _ in range(30):
            out = paste(grid_sample(True)[0])
            changed = (out['img'] != GREY).any(-1)[10:91, 10:81]
            hidden.append(changed.mean())
        assert np.median(hidden) == pytest.approx(share, abs=.06)
        assert len(set(hidden)) > 20


def test_objects_on_a_crop_that_is_no_square():
    np.random.seed(0)
    for _ in range(20):
        sample = grid_sample(True, 96, 72)[0]
        out = PasteObjects(1.)(sample)
        assert out['img'].shape == (96, 72, 3)
        assert out['keypoints_occluded'][0, POINTS[0, :, 0] > 71].sum() == 0


def test_objects_follow_the_box_through_the_crop():
    """The box of a person far to the left is where objects go."""
    np.random.seed(0)
    sample = grid_sample(True)[0]
    sample['warp_mat'] = np.array([[.5, 0, 40.], [0, .5, 40.]])
    # x from 45 to 80 and y from 45 to 85 on the crop
    np.testing.assert_array_equal(
        cv2.boundingRect(PasteObjects._person(sample)), (45, 45, 36, 41))
    sample['bbox'] = sample['bbox'] - 500  # outside: nothing to hide
    out = PasteObjects(1.)(dict(sample))
    np.testing.assert_array_equal(out['img'], sample['img'])


def test_broken_folders_and_pictures_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='absent is no folder'):
        PasteObjects(folder=str(tmp_path / 'absent'))
    with pytest.raises(FileNotFoundError, match='there are none'):
        PasteObjects(folder=str(tmp_path))
    sample = grid_sample(True)[0]
    file = tmp_path / 'photo.png'
    for content, found in ((np.zeros((5, 5, 3),
                                     np.uint8), r'\(5, 5, 3\)'), (np.zeros(
                                         (5, 5, 4), np.uint16), 'uint16')):
        cv2.imwrite(str(file), content)
        with pytest.raises(ValueError, match=f'photo.png.* alpha.*{found}'):
            PasteObjects(1., folder=str(tmp_path))(dict(sample))
    file.write_bytes(b'no picture at all')
    with pytest.raises(ValueError, match='photo.png.*got no picture'):
        PasteObjects(1., folder=str(tmp_path))(dict(sample))
    del sample['warp_mat']
    with pytest.raises(ValueError, match='after MeshAffine'):
        PasteObjects(1.)(sample)


def test_a_clear_picture_hides_nothing(tmp_path):
    cv2.imwrite(str(tmp_path / 'clear.png'), np.zeros((9, 9, 4), np.uint8))
    sample, _, before = grid_sample(True)
    out = PasteObjects(1., folder=str(tmp_path))(dict(sample))
    np.testing.assert_array_equal(out['img'], sample['img'])
    np.testing.assert_array_equal(out['keypoints_occluded'], before)


# ------------------------------- truncation ---------------------------------
def person_sample():
    """A standing person, whose 2D points lie on the edge of the box and at
    every tenth of it."""
    tenths = np.linspace(0, 1, 11, dtype=np.float32)
    left, top, right, bottom = 100, 50, 160, 250
    upright = np.stack([np.full(11, 130.), top + tenths * 200], -1)
    across = np.stack([left + tenths * 60, np.full(11, 150.)], -1)
    points = np.concatenate([upright, across])[None].astype(np.float32)
    sample = dict(
        img=np.zeros((300, 300, 3), np.uint8),
        bbox=np.array([[left, top, right, bottom]], np.float32),
        keypoints=points,
        keypoints_visible=np.ones(points.shape[:2], np.float32),
        keypoints_occluded=np.zeros(points.shape[:2], np.float32),
        occlusion=np.zeros(1, np.float32),
        joints_2d=points.copy(),
        joints_2d_visible=np.ones(points.shape[:2], np.float32))
    sample['keypoints_visible'][0, 3] = 0
    return GetBBoxCenterScale(padding=1.25)(sample)


@pytest.mark.parametrize('size', [(128, 128), (96, 128)])
@pytest.mark.parametrize('side', ['left', 'top', 'right', 'bottom'])
def test_the_crop_ends_where_the_person_is_cut(side, size):
    share = .35
    transform = RandomTruncation(
        1., (share, share), (side, ), aspect_ratio=size[0] / size[1])
    out = MeshAffine(size)(transform(person_sample()))
    along_y = side in ('top', 'bottom')
    line = dict(
        left=100 + .35 * 60,
        right=160 - .35 * 60,
        top=50 + .35 * 200,
        bottom=250 - .35 * 200)[side]
    at = np.array([130., line] if along_y else [line, 150.])
    moved = out['warp_mat'][:, :2] @ at + out['warp_mat'][:, 2]
    edge = 0 if side in ('left', 'top') else size[along_y]
    assert moved[int(along_y)] == pytest.approx(edge, abs=.51)

    # Flags say what is outside, of the labelled ones.
    places = np.concatenate([50 + np.arange(11) * 20, np.full(11, 150)]) \
        if along_y else np.concatenate([np.full(11, 130),
                                        100 + np.arange(11) * 6])
    gone = places < line if side in ('left', 'top') else places > line
    assert 3 <= gone.sum() <= 18
    labelled = out['keypoints_visible'] > 0
    np.testing.assert_array_equal(out['joints_2d_visible'][0], ~gone)
    np.testing.assert_array_equal(out['keypoint_weights'], labelled & ~gone)
    np.testing.assert_array_equal(out['keypoints_occluded'], labelled & gone)
    expected = (labelled & gone).sum() / labelled.sum()
    np.testing.assert_allclose(out['occlusion'], expected, rtol=1e-5)


def test_truncation_zooms_in_no_more_than_the_rest_allows():
    """A person 60 wide and 200 high, with margins 75 and 250."""

    def cut(side, share):
        transform = RandomTruncation(1., (share, share), (side, ))
        out = transform(person_sample())
        (x, y), (w, h) = out['bbox_center'][0], out['bbox_scale'][0]
        return x - w / 2, y - h / 2, x + w / 2, y + h / 2

    # 25 of margin and 60 % of 200, so wide that nothing else is cut
    np.testing.assert_allclose(cut('bottom', .4), (57.5, 25, 202.5, 170))
    # as high as the width with its margin
    np.testing.assert_allclose(
        cut('bottom', .9), (92.5, -5, 167.5, 70), atol=1e-4)
    # as large as without the cut
    np.testing.assert_allclose(cut('left', .5), (130, 25, 380, 275))


def test_truncation_draws_sides_and_shares():
    np.random.seed(0)
    transform = RandomTruncation(.5, (.2, .4), ('bottom', 'bottom', 'left'))
    drawn = [transform._draw() for _ in range(600)]
    cut = [d for d in drawn if d is not None]
    assert 250 <= len(cut) <= 350
    bottom = sum(side == 'bottom' for side, _ in cut) / len(cut)
    assert bottom == pytest.approx(2 / 3, abs=.08)
    shares = [share for _, share in cut]
    assert min(shares) >= .2 and max(shares) <= .4 and np.ptp(shares) > .19
    sample = person_sample()
    kept = copy.deepcopy(sample)
    RandomTruncation(1.)(dict(sample))
    for key, value in kept.items():
        np.testing.assert_array_equal(sample[key], value, key)
    out = RandomTruncation(0.)(dict(sample))
    assert out['bbox_scale'] is sample['bbox_scale']


def test_truncation_comes_first():
    turned = dict(person_sample(), bbox_rotation=np.array([3.]))
    for sample in (turned, MeshAffine((64, 64))(person_sample())):
        with pytest.raises(ValueError, match='must come before'):
            RandomTruncation(0.)(sample)


@pytest.mark.parametrize('config', [
    dict(type='SyntheticOcclusion'),
    dict(type='PasteObjects'),
    dict(type='RandomTruncation'),
    dict(type='RandomScaleRotation')
])
def test_random_numbers_can_be_held(config):
    """MMCV repeats a transform with the same random numbers on request."""
    if config['type'] != 'RandomScaleRotation':
        config['prob'] = 1.
    transform = TRANSFORMS.build(config)
    assert transform.__module__.startswith('mpm_postometro')

    def run():
        sample = person_sample()
        if config['type'] in ('SyntheticOcclusion', 'PasteObjects'):
            sample = MeshAffine((64, 64))(sample)
        out = transform(sample)
        return out['img'].sum(), out['bbox_scale'].sum()

    with cache_random_params(transform):
        assert run() == run()
    assert len({run() for _ in range(5)}) > 1
    assert config['type'] in repr(transform)
