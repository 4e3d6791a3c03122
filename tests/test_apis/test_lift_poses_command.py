# Copyright (c) The mpm_postometro authors. All rights reserved.
"""tools/lift_poses.py and the files that it writes."""
import importlib.util
import json

import cv2
import numpy as np
import pytest

from mpm_postometro.apis import PoseSequenceInferencer, read_pose_tracks
from mpm_postometro.apis.pose_track_files import draw_track, write_pose_files


@pytest.fixture
def command(repo_root, sequence_models, tmp_path):
    """Runs the tool with one of ``sequence_models``; returns its code."""
    spec = importlib.util.spec_from_file_location(
        'tools_lift_poses', repo_root / 'tools' / 'lift_poses.py')
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(kind, path, *arguments):
        config, checkpoint = sequence_models[kind]
        return module.main([
            str(path), '--config',
            str(config), '--checkpoint',
            str(checkpoint), '--device', 'cpu', '--out-dir',
            str(tmp_path / 'out'), *map(str, arguments)
        ])

    return run


@pytest.fixture
def found(tmp_path):
    """Detections of two people, 5 and 3 frames."""
    rng = np.random.default_rng(0)
    results = [
        dict(
            image_id=frame,
            keypoints=rng.uniform(.5, 300, 51).tolist(),
            track_id=track) for track, frames in ((1, 5), ('b/2', 3))
        for frame in range(frames)
    ]
    path = tmp_path / 'found.json'
    path.write_text(json.dumps(results))
    return path


def num_frames(path):
    return int(cv2.VideoCapture(str(path)).get(cv2.CAP_PROP_FRAME_COUNT))


def test_detections(command, found, tmp_path, sequence_models, capsys):
    code = command('lift', found, '--image-size', 640, 480, '--axes', 'z-up',
                   '--batch-size', 3)
    text = capsys.readouterr().out
    out = tmp_path / 'out'
    assert code == 0 and '8 poses of 2 tracks: ' in text
    assert sorted(p.name for p in out.iterdir()) == [
        'found_1_3d.mp4', 'found_3d.npz', 'found_b_2_3d.mp4'
    ]
    assert num_frames(out / 'found_1_3d.mp4') == 5
    tracks = read_pose_tracks(out / 'found_3d.npz')
    same = PoseSequenceInferencer(*sequence_models['lift'], 'cpu')(
        found, (640, 480), axes='z-up')
    np.testing.assert_allclose(
        tracks.keypoints_3d, same.keypoints_3d, atol=2e-6)
    assert tracks.axes == 'z-up' and tracks.image_size == (640, 480)


def test_holes_of_motion_capture(command, tmp_path, capsys):
    poses = np.random.default_rng(0).normal(size=(12, 17, 3)) * .3
    poses[2:6, 4] = np.nan
    np.save(tmp_path / 'holes.npy', poses)
    code = command('completion', tmp_path / 'holes.npy', '--axes', 'z-up',
                   '--video', 'gif', '--fps', 60, '--turn', 0)
    assert code == 0 and '12 poses of 1 track: ' in capsys.readouterr().out
    tracks = read_pose_tracks(tmp_path / 'out' / 'holes_3d.npz')
    assert tracks.hidden.sum() == 4
    assert (tmp_path / 'out' / 'holes_3d.gif').is_file()


def test_settings_reach_the_inferencer(command, found, tmp_path):
    arguments = ('--image-size', 640, 480, '--video', 'none')
    assert command('occluded', found, *arguments, '--min-frames', 4,
                   '--score-threshold', 100, '--layout', 'h36m17',
                   '--frame-step', 2, '--window-step', 2, '--max-gap', 0,
                   '--cfg-options', 'model.test_cfg.flip_test=False') == 0
    assert [p.name for p in (tmp_path / 'out').iterdir()] == ['found_3d.npz']
    tracks = read_pose_tracks(tmp_path / 'out' / 'found_3d.npz')
    assert len(tracks) == 5
    np.testing.assert_array_equal(tracks.hidden, tracks.keypoint_scores < 100)


def test_errors_are_one_line(command, found, tmp_path, capsys):
    assert command('lift', found) == 1
    text = capsys.readouterr().err
    assert text.startswith('error: ') and 'image_size' in text
    assert command('lift', tmp_path / 'gone.npy') == 1
    assert 'gone.npy: no such file' in capsys.readouterr().err
    assert command('lift', found, '--image-size', 640, 480, '--max-gap',
                   -1) == 1
    assert 'max_gap must be at least 0' in capsys.readouterr().err
    with pytest.raises(SystemExit):
        command('lift', found, '--fps', 0)
    assert 'argument --fps: must be positive' in capsys.readouterr().err
    assert not (tmp_path / 'out').exists()


@pytest.mark.parametrize('fps', [0, -30., float('nan')])
def test_frame_rates_are_positive(sequence_models, tmp_path, fps):
    tracks = PoseSequenceInferencer(*sequence_models['lift'],
                                    'cpu')(np.random.default_rng(0).uniform(
                                        9, 300, (2, 17, 2)), (640, 480))
    with pytest.raises(ValueError, match='fps must be positive'):
        draw_track(tracks, fps=fps)
    with pytest.raises(ValueError, match='fps must be positive'):
        write_pose_files(tracks, tmp_path / 'out', 'a', fps=fps)
    assert not (tmp_path / 'out').exists()
