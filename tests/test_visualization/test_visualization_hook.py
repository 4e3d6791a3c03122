# Copyright (c) The mpm_postometro authors. All rights reserved.
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from mmengine.config import ConfigDict
from mmengine.structures import InstanceData
from mmpose.registry import HOOKS
from mmpose.structures import PoseDataSample

from mpm_postometro.visualization import check_picture_files

SIZE = 64
# A square of 1 m around the pelvis, two faces.
SQUARE = torch.tensor([[-.5, -.5, 0], [.5, -.5, 0], [.5, .5, 0], [-.5, .5, 0]])
FACES = torch.tensor([[0, 1, 2], [0, 2, 3]])


class _Screen:
    """Stands for the visualizer and keeps what it is given."""

    def __init__(self):
        self.shown, self.added = [], []

    def show(self, image, win_name, wait_time):
        self.shown.append((image, win_name, wait_time))

    def add_image(self, name, image, step):
        self.added.append((image, name, step))


@pytest.fixture
def runner(tmp_path):
    body = SimpleNamespace(faces=FACES)
    return SimpleNamespace(
        model=SimpleNamespace(body=body),
        work_dir=str(tmp_path),
        timestamp='now',
        iter=30,
        visualizer=_Screen())


def _batch(ids, camera=(1., .25, 0.)):
    """Blue crops (BGR), and the square right of the middle."""
    crop = torch.zeros(3, SIZE, SIZE, dtype=torch.uint8)
    crop[0] = 200
    samples = []
    for number in ids:
        sample = PoseDataSample(
            metainfo=dict(id=number, img_path=f'a/dir/img{number // 2}.png'))
        sample.pred_instances = InstanceData(
            vertices=SQUARE[None], camera=torch.tensor([camera]))
        samples.append(sample)
    return dict(inputs=[crop] * len(samples)), samples


def _hook(**kwargs):
    return HOOKS.build(dict(type='MeshVisualizationHook', **kwargs))


def test_mesh_lies_where_the_camera_puts_it(runner, tmp_path):
    hook = _hook(enable=True, interval=1, out_dir='drawn', min_height=128)
    hook.before_test_epoch(runner)
    hook.after_test_iter(runner, 0, *_batch([5]))
    image = cv2.imread(str(tmp_path / 'now/drawn/img2_5.jpg'))
    assert image.shape == (128, 128, 3)
    # s (x + t): -.25 to .75 across and -.5 to .5 down, of half the side
    blue = np.abs(image.astype(int) - [200, 0, 0]).max(-1) < 60
    assert not blue[40:88, 56:104].any()
    blue[28:100, 44:116] = True
    assert blue.all()


def test_tests_draw_every_so_many_people(runner, tmp_path):
    hook = _hook(enable=True, interval=2, out_dir=str(tmp_path / 'out'))
    for _ in range(2):  # the second time as the first
        hook.before_test_epoch(runner)
        hook.after_test_iter(runner, 0, *_batch([0, 1, 2]))
        hook.after_test_iter(runner, 1, *_batch([3, 4]))
        names = sorted(path.name for path in (tmp_path / 'out').iterdir())
        assert names == ['img0_0.jpg', 'img1_2.jpg', 'img2_4.jpg']
    assert not runner.visualizer.shown + runner.visualizer.added


def test_validation_draws_the_first_of_a_batch(runner, tmp_path):
    hook = _hook(enable=True, interval=2, out_dir='drawn')
    for batch_idx, ids in enumerate(([0, 1], [2, 3], [4])):
        hook.after_val_iter(runner, batch_idx, *_batch(ids))
    names = sorted(path.name for path in (tmp_path / 'now/drawn').iterdir())
    assert names == ['img0_0_iter_30.jpg', 'img2_4_iter_30.jpg']


def test_windows_and_backends_get_rgb(runner, tmp_path):
    screen = runner.visualizer
    _hook(
        enable=True, show=True, wait_time=2,
        interval=1).after_test_iter(runner, 0, *_batch([0]))
    (image, name, wait_time), = screen.shown
    assert (name, wait_time) == ('img0_0', 2)
    assert image[0, 0].tolist() == [0, 0, 200]
    assert not screen.added
    _hook(enable=True, interval=1).after_test_iter(runner, 0, *_batch([0]))
    (image, _, step), = screen.added
    assert step == 0 and image[0, 0].tolist() == [0, 0, 200]
    assert not list(tmp_path.iterdir())


def test_nothing_is_drawn_by_default(runner, tmp_path):
    hook = _hook(interval=1)
    hook.after_test_iter(runner, 0, *_batch([0]))
    hook.after_val_iter(runner, 0, *_batch([0]))
    assert not runner.visualizer.shown + runner.visualizer.added


def test_hook_says_what_it_cannot_do(runner):
    with pytest.raises(ValueError, match='interval'):
        _hook(interval=0)
    batch, samples = _batch([0])
    del samples[0].pred_instances.vertices
    with pytest.raises(KeyError, match='vertices'):
        _hook(enable=True).after_test_iter(runner, 0, batch, samples)


@pytest.mark.parametrize(
    'kind',
    ['PoseVisualizationHook', 'BadCaseAnalysisHook', 'MeshVisualizationHook'])
def test_hooks_that_need_files_are_refused_without(kind):

    def check(dataset='SyntheticBodyDataset', enable=True):
        check_picture_files(
            ConfigDict(
                default_hooks=dict(
                    timer=None, drawing=dict(type=kind, enable=enable)),
                test_dataloader=dict(dataset=dict(type=dataset)),
                val_dataloader=None), 'test_dataloader')

    check(enable=False)
    check(dataset='CocoDataset')
    if kind == 'MeshVisualizationHook':
        check()
        return
    with pytest.raises(ValueError, match=f'drawing.*{kind}'):
        check()
