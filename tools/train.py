# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Train a model: one process, several CPU processes, or GPUs."""
import argparse
import os
import os.path as osp

from mmengine.config import Config, ConfigDict, DictAction
from mmengine.runner import Runner

import mpm_postometro  # noqa: F401  (registers modules, mends imports)
from mpm_postometro.apis.model_loading import (check_checkpoint_paths,
                                               explain_missing_weights)
from mpm_postometro.compat import (finish_distributed, init_cpu_distributed,
                                   keep_freed_memory)
from mpm_postometro.visualization import check_picture_files


def parse_args(argv=None):
    """Read MMPose's flags from the command line."""
    parser = argparse.ArgumentParser(description='Train a model')
    parser.add_argument('config', help='train config file path')
    parser.add_argument('--work-dir', help='the dir to save logs and models')
    parser.add_argument(
        '--resume',
        nargs='?',
        type=str,
        const='auto',
        help='checkpoint to resume from; without a path, the latest one in '
        'the work directory, if there is one')
    parser.add_argument(
        '--amp',
        action='store_true',
        help='enable automatic-mixed-precision training (needs a GPU)')
    parser.add_argument(
        '--no-validate',
        action='store_true',
        help='do not evaluate the checkpoint during training')
    parser.add_argument(
        '--auto-scale-lr',
        action='store_true',
        help='scale the learning rate by the actual batch size over the '
        "config's auto_scale_lr.base_batch_size")
    parser.add_argument(
        '--show-dir',
        help='directory of drawn predictions, below that of this run in the '
        'work directory unless absolute')
    parser.add_argument(
        '--show',
        action='store_true',
        help='display the prediction results in a window')
    parser.add_argument(
        '--interval', type=int, default=1, help='draw one in this many')
    parser.add_argument(
        '--wait-time',
        type=float,
        default=1,
        help='display time of every window (second)')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config: key=value pairs, lists as '
        'key="[a,b]" or key=a,b, nested as key="[(a,b),(c,d)]", in quotes '
        'and without white space')
    parser.add_argument(
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher')
    # torch.distributed.launch passes `--local-rank`, before torch 2.0
    # `--local_rank`; torchrun sets the variable instead.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    args = parser.parse_args(argv)
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def merge_args(cfg, args):
    """Merge the command line into the config; ``--cfg-options`` wins."""
    cfg.launcher = args.launcher

    if args.no_validate:
        cfg.val_cfg = None
        cfg.val_dataloader = None
        cfg.val_evaluator = None

    # Priority: command line > config > name of the config file.
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir', None) is None:
        cfg.work_dir = osp.join('./work_dirs',
                                osp.splitext(osp.basename(args.config))[0])

    if args.amp:
        wrapper = cfg.optim_wrapper.get('type', 'OptimWrapper')
        if wrapper not in ('OptimWrapper', 'AmpOptimWrapper'):
            raise ValueError('--amp takes an optim_wrapper of type '
                             f'OptimWrapper or AmpOptimWrapper, got {wrapper}')
        cfg.optim_wrapper.type = 'AmpOptimWrapper'
        cfg.optim_wrapper.setdefault('loss_scale', 'dynamic')

    if args.resume is not None:
        cfg.resume = True
        # Without a path the Runner looks for the latest in the work dir.
        cfg.load_from = None if args.resume == 'auto' else args.resume

    if args.auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise ValueError('--auto-scale-lr needs '
                             'auto_scale_lr=dict(base_batch_size=...) in '
                             f'{args.config}')
        cfg.auto_scale_lr.enable = True

    if args.show or args.show_dir is not None:
        hooks = cfg.get('default_hooks') or ConfigDict()
        if 'visualization' not in hooks:
            raise ValueError(
                '--show and --show-dir need default_hooks=dict(visualization='
                f'dict(type="MeshVisualizationHook")) in {args.config}')
        hooks.visualization.update(
            enable=True,
            show=args.show,
            out_dir=args.show_dir,
            interval=args.interval)
        if args.show:
            hooks.visualization.wait_time = args.wait_time

    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    check_checkpoint_paths(cfg)
    check_picture_files(cfg, 'val_dataloader')
    return cfg


def main():
    args = parse_args()
    cfg = merge_args(Config.fromfile(args.config), args)
    keep_freed_memory()
    init_cpu_distributed(cfg, cfg.launcher)
    with explain_missing_weights(cfg):
        Runner.from_cfg(cfg).train()
    finish_distributed()


if __name__ == '__main__':
    main()
