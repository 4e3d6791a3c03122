# Copyright (c) The mpm_postometro authors. All rights reserved.
import importlib.util

import cv2
import numpy as np
import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope


@pytest.fixture
def tool(repo_root):
    file = repo_root / 'tools' / 'analysis_tools' / 'browse_augmentation.py'
    spec = importlib.util.spec_from_file_location('browse_augmentation', file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize('labels', [False, True])
def test_a_row_for_each_transform(tool, tmp_path, capsys, monkeypatch, labels):
    names = ['crop', 'RandomTruncation', 'PasteObjects']
    monkeypatch.setattr(tool, 'ROWS', {n: tool.ROWS[n] for n in names})
    out = tmp_path / 'sheet.png'
    tool.main(
        [str(out), '--columns', '2', '--size', '48', *['--labels'] * labels])
    assert f'wrote {out}' in capsys.readouterr().out
    sheet = cv2.imread(str(out))
    margin = sheet.shape[1] - 2 * 48
    assert sheet.shape[0] == 3 * 48 and margin > 100
    rows = sheet[:, margin:].reshape(3, 48, 96, 3).astype(int)
    assert abs(rows[1] - rows[0]).mean() > 5  # cut
    assert abs(rows[2] - rows[0]).mean() > 5  # pasted
    green = (sheet == (80, 220, 80)).all(-1).any()
    assert green == labels


def test_training_data_of_a_config(tool, repo_root, tmp_path):
    folder = repo_root / 'configs' / '_base_' / 'datasets'
    out = tmp_path / 'sheet.jpg'
    config = folder / 'synthetic_body.py'
    tool.main([
        str(out), '--config',
        str(config), '--people', '2', '--columns', '3', '--size', '32',
        '--cfg-options', 'train_dataloader.dataset.length=5'
    ])
    sheet = cv2.imread(str(out))
    assert sheet.shape[0] == 64
    tiles = sheet[:, -96:].reshape(2, 32, 3, 32, 3).astype(int)
    # one person a row, augmented anew
    assert abs(tiles[:, :, 0] - tiles[:, :, 1]).mean((1, 2, 3)).min() > 5


def mixed_config(repo_root):
    folder = repo_root / 'configs' / '_base_' / 'datasets'
    config = Config.fromfile(folder / 'synthetic_body.py')
    dataset = config.train_dataloader.dataset
    dataset.length = 4
    inner = dict(type='MixedDataset', datasets=[dataset])
    config.train_dataloader.dataset = dict(
        type='MixedDataset', datasets=[inner])
    return config


def test_rows_tell_data_sets(tool, repo_root):
    init_default_scope('mmpose')
    rows = tool.training_data(mixed_config(repo_root), 2, 1, 32, False)
    assert list(rows) == [f'SyntheticBodyDataset\nperson {i}' for i in (0, 2)]
    line = tool.sheet({'SyntheticBodyDataset': rows.popitem()[1]})
    dark = (line[:, :tool._MARGIN] < 128).all(-1)
    assert dark.any() and not dark[:, -3:].any()  # the name fits


def test_limbs_between_known_keypoints(tool, repo_root):
    init_default_scope('mmpose')
    dataset = tool.DATASETS.build(
        mixed_config(repo_root).train_dataloader.dataset)
    packed = dataset[0]
    labels = packed['data_samples'].gt_instance_labels
    size = packed['inputs'].shape[-1]
    packed['inputs'][:] = 0
    labels.keypoint_labels[:] = -99  # of no use
    labels.keypoint_weights[:] = 0
    for joint, x in ((11, .25), (13, .75)):  # left hip and knee
        labels.keypoint_labels[0, joint, 0] = x * size
        labels.keypoint_labels[0, joint, 1] = size / 2
        labels.keypoint_weights[0, joint] = 1
    hidden = packed['data_samples'].gt_instances.keypoints_occluded
    hidden[:] = 0
    middle = slice(size // 2 - 1, size // 2 + 2)
    drawn = np.flatnonzero(tool.draw(packed, size, True)[middle].any((0, 2)))
    assert size / 4 - 5 < drawn[0] < size / 4 <= size * .75 < drawn[-1]
    assert len(drawn) == drawn[-1] - drawn[0] + 1  # without a gap
    hidden[0, 13] = 1
    half = tool.draw(packed, size, True)[middle, size // 2].astype(int).sum(0)
    assert half[2] > 2 * half[1]  # red
