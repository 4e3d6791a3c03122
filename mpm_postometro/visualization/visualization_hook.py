# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Pictures of predictions while a Runner validates or tests."""
import os.path as osp
from typing import Optional, Sequence

import cv2
import mmengine
import numpy as np
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper
from mmengine.runner import Runner
from mmpose.registry import HOOKS
from mmpose.structures import PoseDataSample
from torch import Tensor

from .overlay import overlay_weak_perspective

__all__ = ['MeshVisualizationHook', 'check_picture_files']

_READ_FILES = ('PoseVisualizationHook', 'BadCaseAnalysisHook')


@HOOKS.register_module()
class MeshVisualizationHook(Hook):
    """Draw predicted meshes on the crops that the network saw.

    Takes the place of MMPose's ``PoseVisualizationHook`` in mesh configs. That
    one draws skeletons on pictures that it reads from files; this one takes
    the crops from the batch, so that it serves data without files as well.

    Testing draws every ``interval``-th person of a process, validation the
    first person of every ``interval``-th batch. Pictures go to a window
    (``show``) and to files (``out_dir``), or without these two to the
    visualizer's backends.

    Args:
        enable (bool): Whether to draw at all. Defaults to False.
        interval (int): See above. Defaults to 50.
        show (bool): Show each picture in a window. Defaults to False.
        wait_time (float): Seconds that a window stays; 0 stands for until a
            key is pressed. Defaults to 0.
        out_dir (str, optional): Folder of the files, under the work
            directory's folder of this run if it is relative. Names are those
            of the source pictures with the person's id, and in validation
            with the iteration.
        min_height (int): Smaller crops are enlarged to this height, in
            pixels. Defaults to 384.

    Raises:
        ValueError: If ``interval`` is not positive.
    """

    def __init__(self,
                 enable: bool = False,
                 interval: int = 50,
                 show: bool = False,
                 wait_time: float = 0.,
                 out_dir: Optional[str] = None,
                 min_height: int = 384) -> None:
        if interval < 1:
            raise ValueError(f'interval must be at least 1, got {interval}')
        self.enable = enable
        self.interval = interval
        self.show = show
        self.wait_time = wait_time
        self.out_dir = out_dir
        self.min_height = min_height
        self._tested = 0

    def before_test_epoch(self, runner: Runner) -> None:
        """Count people from the start."""
        self._tested = 0

    def after_val_iter(self, runner: Runner, batch_idx: int, data_batch: dict,
                       outputs: Sequence[PoseDataSample]) -> None:
        """Draw the first person of a batch now and then.

        Args:
            runner (Runner): That of the validation.
            batch_idx (int): Position of the batch.
            data_batch (dict): With ``inputs``, uint8 BGR crops (3, H, W).
            outputs (Sequence[PoseDataSample]): Predictions of
                :class:`MeshEstimator`.
        """
        if self.enable and batch_idx % self.interval == 0:
            self._draw(runner, data_batch['inputs'][0], outputs[0],
                       f'_iter_{runner.iter}', runner.iter + batch_idx)

    def after_test_iter(self, runner: Runner, batch_idx: int, data_batch: dict,
                        outputs: Sequence[PoseDataSample]) -> None:
        """Draw people of a batch; arguments as for :meth:`after_val_iter`."""
        if not self.enable:
            return
        for crop, sample in zip(data_batch['inputs'], outputs):
            if self._tested % self.interval == 0:
                self._draw(runner, crop, sample, '', self._tested)
            self._tested += 1

    def _draw(self, runner: Runner, crop: Tensor, sample: PoseDataSample,
              suffix: str, step: int) -> None:
        pred = sample.pred_instances
        if 'vertices' not in pred:
            raise KeyError('MeshVisualizationHook draws meshes, but the model '
                           "predicts no 'vertices'")
        model = runner.model
        model = model.module if is_model_wrapper(model) else model
        image = crop.cpu().numpy().astype(np.uint8).transpose(1, 2, 0)
        factor = max(self.min_height / image.shape[0], 1)
        image = cv2.resize(
            np.ascontiguousarray(image),
            None,
            fx=factor,
            fy=factor,
            interpolation=cv2.INTER_CUBIC)
        # the camera is that of the crop, whatever its size in pixels
        image = overlay_weak_perspective(image,
                                         pred.vertices.cpu().numpy(),
                                         model.body.faces.cpu().numpy(),
                                         pred.camera.cpu().numpy())

        # several people may come from one picture
        stem = osp.splitext(osp.basename(sample.get('img_path', '')))[0]
        name = f'{stem}_{sample.get("id", step)}{suffix}'
        if self.out_dir is not None:
            folder = osp.join(runner.work_dir, runner.timestamp, self.out_dir)
            mmengine.mkdir_or_exist(folder)
            path = osp.join(folder, f'{name}.jpg')
            if not cv2.imwrite(path, image):
                raise OSError(f'{path} could not be written')
        rgb = np.ascontiguousarray(image[..., ::-1])
        if self.show:
            runner.visualizer.show(
                rgb, win_name=name, wait_time=self.wait_time)
        elif self.out_dir is None:
            runner.visualizer.add_image('mesh', rgb, step)


def check_picture_files(cfg: Config, loader: str) -> None:
    """Refuse to draw with hooks of MMPose on data that is in no file.

    Args:
        cfg (Config): Of the Runner.
        loader (str): Name of the data loader whose pictures would be drawn.

    Raises:
        ValueError: If one of MMPose's hooks that read pictures from files is
            enabled, and the data set makes its pictures itself.
    """
    dataset = (cfg.get(loader) or {}).get('dataset') or {}
    if dataset.get('type') != 'SyntheticBodyDataset':
        return
    for name, hook in (cfg.get('default_hooks') or {}).items():
        if hook and hook.get('enable') and hook.get('type') in _READ_FILES:
            raise ValueError(
                f"default_hooks.{name}: MMPose's {hook.type} reads pictures "
                'from files, and SyntheticBodyDataset draws its own in '
                'memory. The mesh configs draw from memory too, with '
                'MeshVisualizationHook (--show, --show-dir)')
