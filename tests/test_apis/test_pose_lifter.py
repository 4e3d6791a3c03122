# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Lifting and completing sequences of any length."""
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.structures import InstanceData

from mpm_postometro.apis import (PoseSequenceInferencer, PoseTracks,
                                 read_pose_tracks)
from mpm_postometro.bodies.axes import turn_axes
from mpm_postometro.bodies.skeletons import SKELETONS

SIZE = (640, 480)
MPM = Path(__file__).parents[2] / 'configs' / 'mpm'
FLIP = list(SKELETONS['h36m17'].flip_indices)


@pytest.fixture
def load(sequence_models):
    """Function: an inferencer of one of ``sequence_models``."""

    def load_kind(kind, batch_size=64, **changes):
        config, checkpoint = sequence_models[kind]
        config = Config.fromfile(config)
        config.merge_from_dict(changes)
        return PoseSequenceInferencer(
            config, checkpoint, 'cpu', batch_size=batch_size)

    return load_kind


def pixels(frames, joints=17, seed=0):
    rng = np.random.default_rng(seed)
    return rng.uniform(100, 400, (frames, joints, 2)).astype(np.float32)


def metres(frames, seed=0):
    """Poses that wander through a world with z up."""
    rng = np.random.default_rng(seed)
    poses = rng.normal(size=(frames, 17, 3)) * .3
    poses += np.linspace([0, 0, 1], [3, -2, 1], frames)[:, None]
    return poses.astype(np.float32)


def windows_by_hand(poses, starts):
    """(W, 9, J, d), ends repeated."""
    frames = np.asarray(starts)[:, None] + np.arange(9)
    return poses[frames.clip(0, len(poses) - 1)]


@torch.no_grad()
def predict_by_hand(inferencer, clips, hidden=None):
    """The network alone, with the mirror image: all frames and target."""
    model, kind = inferencer.model, f'{clips.shape[-1]}d'
    results = []
    for mirrored in (False, True):
        x = torch.from_numpy(clips)
        mask = None if hidden is None else torch.from_numpy(hidden)
        if mirrored:
            x = x[:, :, FLIP].clone()
            x[..., 0] *= -1
            mask = None if mask is None else mask[..., FLIP]
        feats = model.backbone(x, kind, joint_mask=mask)
        poses = []
        for y in model.heads['3d'](feats):
            if y is not None and mirrored:
                y = y[..., FLIP, :].clone()
                y[..., 0] *= -1
            poses.append(y)
        results.append(poses)
    out = [None if a is None else ((a + b) / 2).numpy()
           for a, b in zip(*results)]  # yapf: disable
    for poses in out:
        if poses is not None:
            poses[..., 0, :] = 0
    return out


def normalized(poses):
    return poses / SIZE[0] * 2 - np.float32([1, SIZE[1] / SIZE[0]])


def test_each_frame_is_the_target_of_its_own_window(load):
    poses = pixels(14)
    tracks = load('lift')(poses, SIZE)
    clips = windows_by_hand(normalized(poses), np.arange(14) - 4)
    _, target = predict_by_hand(load('lift'), clips)
    np.testing.assert_allclose(tracks.keypoints_3d, target, atol=1e-6)
    assert tracks.keypoints_3d.dtype == np.float32
    assert tracks.axes == 'camera' and not tracks.hidden.any()
    np.testing.assert_array_equal(tracks.frame_indices, np.arange(14))
    np.testing.assert_array_equal(tracks.keypoints_2d, poses)
    assert np.ptp(tracks.keypoints_3d, 0).max() > 1e-3  # not constant


@pytest.mark.parametrize('kind', ['lift', 'occluded'])
def test_windows_of_one_clip_are_one_pass(load, kind):
    poses = pixels(9)
    tracks = load(kind)(poses, SIZE, window_step=3)
    frames, _ = predict_by_hand(load(kind), normalized(poses)[None])
    np.testing.assert_allclose(tracks.keypoints_3d, frames[0], atol=1e-6)


@pytest.mark.parametrize(
    'name',
    sorted(p.stem for p in MPM.glob('*.py') if '_pretrain' not in p.stem))
def test_all_configs_fit(name):
    config = Config.fromfile(MPM / f'{name}.py')
    backbone = config.model.backbone
    backbone.init_cfg = None  # weights that are not there
    inferencer = PoseSequenceInferencer(config, device='cpu')
    assert inferencer.seq_len == int(name.rsplit('-', 1)[1][:-1])
    if '3dhp' not in name:
        assert inferencer.skeleton.name == ('h36m16'
                                            if '-mix' in name else 'h36m17')
        return
    assert inferencer.skeleton.name == 'h36m16'
    poses = pixels(3, 17)
    tracks = inferencer(poses[:, :16], SIZE)
    assert tracks.keypoints_3d.shape == (3, 16, 3)
    assert tracks.joint_names == SKELETONS['h36m16'].joint_names
    assert np.isfinite(tracks.keypoints_3d).all()


def test_short_clips_are_padded_at_both_ends(load):
    poses = pixels(4)
    tracks = load('occluded')(poses, SIZE)
    clips = windows_by_hand(normalized(poses), [-2])
    frames, _ = predict_by_hand(load('occluded'), clips)
    np.testing.assert_allclose(tracks.keypoints_3d, frames[0, 2:6], atol=1e-6)
    assert len(load('lift')(pixels(1), SIZE)) == 1


def test_overlapping_windows_are_averaged_by_their_middle(load, monkeypatch):
    inferencer = load('occluded')
    seen = []

    def tell_position(batch):
        position = torch.arange(9.)[None, :, None, None]
        for sample in batch['data_samples']:
            seen.append(sample.metainfo['frame_indices'][0])
            sample.pred_instances = InstanceData(
                keypoints_3d_all=position.expand(1, 9, 17, 3))
        return batch['data_samples']

    monkeypatch.setattr(inferencer.model, 'test_step', tell_position)
    tracks = inferencer(pixels(14), SIZE, window_step=4)
    assert seen == [0, 4, 5]
    weights = np.array([1, 2, 3, 4, 5, 4, 3, 2, 1.])
    for frame, told in enumerate(tracks.keypoints_3d[:, 0, 0]):
        inside = [frame - s for s in seen if 0 <= frame - s < 9]
        assert told == pytest.approx(
            np.average(inside, weights=weights[inside]))


@pytest.mark.parametrize('kind, make', [('lift', pixels), ('occluded', pixels),
                                        ('completion', metres)])
def test_batch_size_does_not_matter(load, kind, make):
    poses = make(23)
    arguments = (SIZE, )
    if kind == 'completion':
        poses[5:9, 3] = np.nan
        arguments = ()
    results = [
        load(kind, size)(poses, *arguments).keypoints_3d for size in (1, 5, 64)
    ]
    for result in results[1:]:
        np.testing.assert_allclose(result, results[0], atol=2e-6)


@pytest.mark.parametrize('window_step', [None, 3])
def test_frame_step(load, window_step):
    poses = pixels(13)
    slow = load('lift')(poses, SIZE, window_step=window_step)
    quick = load('lift')(
        poses.repeat(2, 0), SIZE, window_step=window_step, frame_step=2)
    np.testing.assert_allclose(
        quick.keypoints_3d, slow.keypoints_3d.repeat(2, 0), atol=2e-6)


def test_causal_models_do_not_look_ahead(load):
    inferencer = load('lift', **{'test_dataloader.dataset.causal': True})
    poses = pixels(12)
    changed = poses.copy()
    changed[7:] += 30
    before, after = (
        inferencer(p, SIZE).keypoints_3d for p in (poses, changed))
    np.testing.assert_allclose(before[:7], after[:7], atol=1e-6)
    assert np.abs(before[7] - after[7]).max() > 1e-4


def test_unsure_joints_are_hidden(load):
    inferencer = load('occluded')
    poses, scores = pixels(9), np.ones((9, 17), np.float32)
    scores[2:5, 3] = .2
    plain = inferencer(poses, SIZE, scores)
    np.testing.assert_array_equal(plain.hidden, scores < .3)
    assert plain.keypoint_scores[2, 3] == np.float32(.2)
    frames, _ = predict_by_hand(inferencer,
                                normalized(poses)[None], plain.hidden[None])
    np.testing.assert_allclose(plain.keypoints_3d, frames[0], atol=1e-6)
    # what is hidden has no influence, by whatever it was hidden
    moved = poses.copy()
    moved[2:5, 3] = np.nan
    for other in (inferencer(moved, SIZE),
                  inferencer(poses, SIZE, hidden=scores < .3),
                  inferencer(
                      np.concatenate([poses, scores[..., None]], -1), SIZE)):
        np.testing.assert_array_equal(other.keypoints_3d, plain.keypoints_3d)
        np.testing.assert_array_equal(other.hidden, plain.hidden)
    assert not inferencer(poses, SIZE, scores, score_threshold=.1).hidden.any()
    # a model that wants all joints takes them as they are
    np.testing.assert_array_equal(
        load('lift')(poses, SIZE, scores).keypoints_3d,
        load('lift')(poses, SIZE).keypoints_3d)


def test_threshold_of_the_config(load):
    pipeline = [
        dict(type='NormalizeScreen'),
        dict(type='RootRelative'),
        dict(type='ConfidenceMask', threshold=.6),
        dict(type='PackPoseSequence')
    ]
    inferencer = load('occluded',
                      **{'test_dataloader.dataset.pipeline': pipeline})
    scores = np.full((9, 17), .5)
    scores[0] = .7
    hidden = inferencer(pixels(9), SIZE, scores).hidden
    assert hidden[1:].all() and not hidden[0].any()


def test_completion_keeps_what_is_known(load):
    whole = metres(20)
    holes = whole.copy()
    holes[4:12, 3] = np.nan
    holes[:, 16, 1] = np.nan  # one coordinate is enough
    tracks = load('completion')(holes, axes='z-up')
    hidden = np.isnan(holes).any(-1)
    np.testing.assert_array_equal(tracks.hidden, hidden)
    np.testing.assert_array_equal(tracks.keypoints_3d[~hidden], whole[~hidden])
    assert np.isfinite(tracks.keypoints_3d).all()
    assert tracks.keypoints_2d is None and tracks.axes == 'z-up'
    by_mask = load('completion')(whole, hidden=hidden, axes='z-up')
    np.testing.assert_array_equal(by_mask.keypoints_3d, tracks.keypoints_3d)


def test_completion_sees_a_level_camera_about_the_root(load):
    holes = metres(9)
    holes[:, 13] = np.nan
    told = load('completion')(holes, axes='z-up').keypoints_3d
    camera = turn_axes(holes - holes[:, :1], 'z-up', 'camera')
    hidden = np.isnan(holes).any(-1)[None]
    frames, _ = predict_by_hand(load('completion'), camera[None], hidden)
    expected = turn_axes(frames[0, :, 13], 'camera', 'z-up') + holes[:, 0]
    np.testing.assert_allclose(told[:, 13], expected, atol=1e-5)


def test_clips_of_motion_capture_are_tracks(load, tmp_path):
    poses = metres(20)
    poses[3, 5] = np.nan
    np.savez(
        tmp_path / 'mocap.npz',
        joints_3d=poses,
        clip_start=[0, 12],
        clip_length=[12, 8],
        clip_name=['walk', 'run'])
    inferencer = load('completion')
    tracks = inferencer(tmp_path / 'mocap.npz')
    assert list(dict.fromkeys(tracks.track_ids)) == ['walk', 'run']
    walk, run = tracks.tracks()
    np.testing.assert_array_equal(run.frame_indices, np.arange(8))
    np.testing.assert_array_equal(walk.keypoints_3d,
                                  inferencer(poses[:12]).keypoints_3d)


def detections(path, frames, track, shift=0., joints=17):
    flat = np.concatenate([
        pixels(len(frames), joints) + shift,
        np.full((len(frames), joints, 1), .9, np.float32)
    ], -1)
    return [
        dict(
            image_id=f'{frame}.jpg',
            keypoints=pose.ravel().tolist(),
            score=1.,
            idx=track) for frame, pose in zip(frames, flat)
    ]


def test_tracks_of_detections(load, tmp_path):
    path = tmp_path / 'found.json'
    path.write_text(
        json.dumps(
            detections(path, [3, 4, 6, 7], 1) +
            detections(path, [5, 6], 2, shift=9)))
    tracks = load('occluded')(path, SIZE)
    assert tracks.track_ids.tolist() == ['1'] * 5 + ['2'] * 2
    assert tracks.frame_indices.tolist() == [3, 4, 5, 6, 7, 5, 6]
    assert tracks.hidden.all(1).tolist() == [0, 0, 1, 0, 0, 0, 0]
    first, second = tracks.tracks()
    assert set(load('occluded')(path, SIZE, min_frames=3).track_ids) == {'1'}
    # The same poses as an array of COCO's joints.
    alone = load('occluded')(pixels(2) + 9, SIZE, layout='coco17')
    np.testing.assert_allclose(
        second.keypoints_3d, alone.keypoints_3d, atol=1e-6)
    np.testing.assert_array_equal(first.joint_names,
                                  SKELETONS['h36m17'].joint_names)


def test_joints_that_nobody_saw(load, tmp_path):
    results = detections(tmp_path, [0, 1, 2, 3], 1)
    knee = SKELETONS['coco17'].index('left_knee')
    for result in results[:2]:
        result['keypoints'][3 * knee:3 * knee + 3] = [0, 0, 0]
    results[2]['keypoints'][3 * knee + 2] = 0  # its place is told
    path = tmp_path / 'found.json'
    path.write_text(json.dumps(results))
    with pytest.raises(
            ValueError,
            match=r'masking=False\), but .*found.json lack some in 2 of 4 '
            r'frames, the first \[0 1\].* at \(0, 0\) with score 0'):
        load('lift')(path, SIZE)
    tracks = load('occluded')(path, SIZE, score_threshold=0)
    knee = SKELETONS['h36m17'].index('left_knee')
    assert np.argwhere(tracks.hidden).tolist() == [[0, knee], [1, knee]]
    np.testing.assert_array_equal(
        np.isnan(tracks.keypoints_2d).any(-1), tracks.hidden)
    # the same as an array
    poses = np.reshape([r['keypoints'] for r in results], (4, 17, 3))
    alone = load('occluded')(poses, SIZE, layout='coco17', score_threshold=0)
    np.testing.assert_array_equal(alone.keypoints_3d, tracks.keypoints_3d)
    with pytest.raises(ValueError, match='lack some in 2 of 4 frames'):
        load('lift')(poses, SIZE, layout='coco17')


def test_frames_that_are_filled_in_are_marked(load, tmp_path):
    path = tmp_path / 'found.json'
    path.write_text(json.dumps(detections(path, [3, 4, 7, 40], 1)))
    tracks = load('lift')(path, SIZE)
    assert tracks.frame_indices.tolist() == [3, 4, 5, 6, 7, 40]
    assert tracks.track_ids.tolist() == ['1 from 3'] * 5 + ['1 from 40']
    assert tracks.hidden.all(1).tolist() == [0, 0, 1, 1, 0, 0]
    assert tracks.hidden.any(1).tolist() == [0, 0, 1, 1, 0, 0]
    assert len(load('lift')(path, SIZE, max_gap=40)) == 38


def test_real_detections(load, data_dir):
    path = data_dir / 'detections' / 'boxing2_alphapose-results.json'
    tracks = load('lift')(path, SIZE, axes='y-up')
    assert tracks.keypoints_3d.shape == (301, 17, 3)
    np.testing.assert_array_equal(
        tracks.keypoints_3d,
        turn_axes(load('lift')(path, SIZE).keypoints_3d, 'camera', 'y-up'))


def test_files_of_poses(load, tmp_path):
    inferencer = load('occluded')
    poses, scores = pixels(6), np.ones((6, 17), np.float32)
    scores[1, 2] = 0
    tracks = inferencer(poses, SIZE, scores)
    np.save(tmp_path / 'a.npy', poses)
    np.savez(
        tmp_path / 'b.npz',
        keypoints=poses,
        keypoint_scores=scores,
        image_size=SIZE)
    np.testing.assert_array_equal(
        inferencer(tmp_path / 'a.npy', SIZE, scores).keypoints_3d,
        tracks.keypoints_3d)
    np.testing.assert_array_equal(
        inferencer(tmp_path / 'b.npz').keypoints_3d, tracks.keypoints_3d)

    again = read_pose_tracks(tracks.save(tmp_path / 'c.npz'))
    for key, value in vars(tracks).items():
        np.testing.assert_array_equal(getattr(again, key), value)
    with np.load(tmp_path / 'c.npz', allow_pickle=False) as file:
        assert str(file['units']) == 'metres' and str(file['axes']) == 'camera'
    # What was written can be lifted again.
    np.testing.assert_array_equal(
        inferencer(tmp_path / 'c.npz').keypoints_3d, tracks.keypoints_3d)
    with pytest.raises(ValueError, match='b.npz: expected 3D poses with'):
        read_pose_tracks(tmp_path / 'b.npz')
    with pytest.raises(ValueError, match='end in .npz'):
        tracks.save('poses.json')


def test_some_poses_of_a_track():
    tracks = PoseTracks(
        np.zeros((4, 17, 3)), np.zeros((4, 17), bool), np.arange(4),
        np.array(['a', 'b', 'a', 'b']), SKELETONS['h36m17'].joint_names)
    assert [t.frame_indices.tolist() for t in tracks.tracks()] == [[0, 2],
                                                                   [1, 3]]
    assert len(tracks[1:]) == 3
    assert repr(tracks) == 'PoseTracks(2 tracks, 4 poses of 17 joints, camera)'
    assert repr(tracks[::2]) == ("PoseTracks(track 'a', 2 poses of 17 joints, "
                                 'camera)')


def _nan(poses, *at):
    poses[at] = np.nan
    return poses


@pytest.mark.parametrize('kind, poses, arguments, message', [
    ('lift', pixels(9), dict(), r'image_size=\(width, height\) is needed'),
    ('lift', pixels(9), dict(image_size=640), 'image_size must be'),
    ('lift', pixels(9, 16), dict(image_size=SIZE),
     r'must be \(N, 17, 2\) or \(N, 17, 3\) with N > 0, got \(9, 16, 2\)'),
    ('lift', pixels(0), dict(image_size=SIZE), 'N > 0'),
    ('lift', 'poses.csv', dict(image_size=SIZE), 'no such file'),
    ('lift', pixels(9) / 400, dict(image_size=SIZE), 'expected pixels'),
    ('lift', _nan(pixels(9), 2, 3), dict(image_size=SIZE),
     r'lack some in 1 of 9 frames, the first \[2\]'),
    ('lift', pixels(9), dict(image_size=SIZE,
                             score_threshold=.5), 'masking=False'),
    ('lift', pixels(9), dict(image_size=SIZE,
                             layout='coco'), "unknown layout 'coco'"),
    ('lift', pixels(9), dict(image_size=SIZE, axes='up'), "axes 'up'"),
    ('lift', pixels(9), dict(image_size=SIZE, window_step=0), 'window_step'),
    ('lift', pixels(9), dict(
        image_size=SIZE, window_step=10), 'window_step must be from 1 to 9'),
    ('completion', metres(9), dict(window_step=10), 'window_step must be'),
    ('lift', pixels(9), dict(image_size=SIZE, frame_step=0), 'frame_step'),
    ('occluded', pixels(9), dict(image_size=SIZE, scores=np.ones(
        (8, 17))), '8 frames'),
    ('occluded', pixels(9), dict(image_size=SIZE, hidden=np.zeros(
        (9, 17))), 'hidden must be bool'),
    ('occluded', _nan(pixels(9)), dict(image_size=SIZE), 'all joints are hid'),
    ('completion', pixels(9), dict(), r'must be \(N, 17, 3\)'),
    ('completion', metres(9) * 1000, dict(), 'expected metres'),
    ('completion', _nan(metres(9), 4, 0), dict(),
     r'joint 0 \(pelvis\) is missing in 1 of 9 frames, the first \[4\]'),
    ('completion', _nan(metres(9), slice(None), slice(
        1, None)), dict(), 'all joints but joint 0'),
    ('completion', 'found.json', dict(), 'completes 3D poses'),
])
def test_bad_input(load, kind, poses, arguments, message):
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        load(kind)(poses, **arguments)


def test_bad_files(load, tmp_path):
    path = tmp_path / 'poses.npz'
    np.savez(path, joints=pixels(9))
    with pytest.raises(ValueError, match="expected 'keypoints' or 'keypoint"):
        load('lift')(path, SIZE)
    np.savez(
        path,
        joints_3d=metres(9),
        clip_start=[0],
        clip_length=[10],
        clip_name=['a'])
    with pytest.raises(ValueError, match='beyond the 9 frames'):
        load('completion')(path)
    for names, message in ((['a', 'b', 'a'],
                            r"'clip_name' must tell clips apart, got \['a'\]"),
                           (['a', 'b'], "'clip_start', 'clip_length' and 'cl"
                            "ip_name' must have one entry .* 3, 3 and 2")):
        np.savez(
            path,
            joints_3d=metres(9),
            clip_start=[0, 3, 6],
            clip_length=[3, 3, 3],
            clip_name=names)
        with pytest.raises(ValueError, match=f'poses.npz: {message}'):
            load('completion')(path)
    path.write_bytes(b'PK broken')
    with pytest.raises(ValueError, match='expected plain arrays'):
        load('lift')(path, SIZE)


def test_other_models_are_refused(token_models, load):
    with pytest.raises(ValueError, match='expected the config of an MPMEst'):
        PoseSequenceInferencer(*token_models['tokenizer'], 'cpu')
    with pytest.raises(ValueError, match='has 17 joints, its test data 16'):
        load('lift', **{'test_dataloader.dataset.skeleton': 'h36m16'})
    with pytest.raises(FileNotFoundError, match='no such config'):
        PoseSequenceInferencer('gone.py')
