# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Test a checkpoint: one process, several CPU processes, or GPUs."""
import argparse
import os
import os.path as osp

import mmengine
from mmengine.config import Config, ConfigDict, DictAction
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

import mpm_postometro  # noqa: F401  (registers modules, mends imports)
from mpm_postometro.apis.model_loading import check_checkpoint_paths
from mpm_postometro.compat import (finish_distributed, init_cpu_distributed,
                                   keep_freed_memory)
from mpm_postometro.visualization import check_picture_files

METRIC_FILES = ('.json', '.yaml', '.yml', '.pkl', '.pickle')


def parse_args(argv=None):
    """Read MMPose's flags from the command line."""
    parser = argparse.ArgumentParser(description='Test (and eval) a model')
    parser.add_argument('config', help='test config file path')
    parser.add_argument('checkpoint', help='checkpoint file')
    parser.add_argument(
        '--work-dir', help='the directory to save evaluation results')
    parser.add_argument(
        '--out',
        help=f'the file to save metric results ({", ".join(METRIC_FILES)})')
    parser.add_argument(
        '--dump',
        type=str,
        help='dump predictions to a pickle file for offline evaluation')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config: key=value pairs, lists as '
        'key="[a,b]" or key=a,b, nested as key="[(a,b),(c,d)]", in quotes '
        'and without white space')
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
        '--launcher',
        choices=['none', 'pytorch', 'slurm', 'mpi'],
        default='none',
        help='job launcher')
    # torch.distributed.launch passes `--local-rank`, before torch 2.0
    # `--local_rank`; torchrun sets the variable instead.
    parser.add_argument('--local_rank', '--local-rank', type=int, default=0)
    parser.add_argument(
        '--badcase',
        action='store_true',
        help="collect the worst samples with MMPose's BadcaseAnalysisHook")
    args = parser.parse_args(argv)
    if args.out and not args.out.endswith(METRIC_FILES):
        parser.error(f'--out: expected {", ".join(METRIC_FILES)}, '
                     f'got {args.out}')
    if args.dump and not args.dump.endswith(('.pkl', '.pickle')):
        parser.error(f'--dump: expected .pkl or .pickle, got {args.dump}')
    os.environ.setdefault('LOCAL_RANK', str(args.local_rank))
    return args


def _hook(cfg, name, flag, config):
    """A default hook of the config, which a flag of ours switches on."""
    hooks = cfg.get('default_hooks') or ConfigDict()
    if name not in hooks:
        raise ValueError(f'{flag} needs the hook "{name}" in the '
                         f'default_hooks of {config}')
    return hooks[name]


def merge_args(cfg, args):
    """Merge the command line into the config; ``--cfg-options`` wins."""
    cfg.launcher = args.launcher
    cfg.load_from = args.checkpoint

    # Priority: command line > config > name of the config file.
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    elif cfg.get('work_dir', None) is None:
        cfg.work_dir = osp.join('./work_dirs',
                                osp.splitext(osp.basename(args.config))[0])

    # With --badcase, --show belongs to the bad cases.
    if (args.show and not args.badcase) or args.show_dir is not None:
        hook = _hook(cfg, 'visualization', '--show / --show-dir', args.config)
        hook.update(
            enable=True,
            show=args.show and not args.badcase,
            out_dir=args.show_dir,
            interval=args.interval)
        if args.show:
            hook.wait_time = args.wait_time

    if args.badcase:
        hook = _hook(cfg, 'badcase', '--badcase', args.config)
        hook.update(enable=True, show=args.show, interval=args.interval)
        if args.show:
            hook.wait_time = args.wait_time
        kind = hook.get('metric_type', 'loss')
        if kind not in ('loss', 'accuracy'):
            raise ValueError('badcase.metric_type: expected "loss" or '
                             f'"accuracy", got "{kind}" in {args.config}')
        if not hook.get('metric'):
            hook.metric = (
                cfg.model.get('head', {}).get('loss')
                if kind == 'loss' else cfg.test_evaluator)
        if not hook.metric:
            raise ValueError('--badcase needs model.head.loss or '
                             'default_hooks.badcase.metric in '
                             f'{args.config}')

    if args.dump is not None:
        evaluators = cfg.test_evaluator
        if not isinstance(evaluators, (list, tuple)):
            evaluators = [evaluators]
        cfg.test_evaluator = [
            *evaluators,
            dict(type='DumpResults', out_file_path=args.dump)
        ]

    if args.cfg_options is not None:
        cfg.merge_from_dict(args.cfg_options)
    check_checkpoint_paths(cfg)
    check_picture_files(cfg, 'test_dataloader')
    return cfg


class SaveMetricsHook(Hook):
    """Write the metrics of a test to a file."""

    priority = 'LOWEST'

    def __init__(self, out_file):
        self.out_file = out_file

    def after_test_epoch(self, runner, metrics=None):
        if metrics is not None and is_main_process():
            mmengine.mkdir_or_exist(osp.dirname(osp.abspath(self.out_file)))
            mmengine.dump(metrics, self.out_file)


def main():
    args = parse_args()
    cfg = merge_args(Config.fromfile(args.config), args)
    keep_freed_memory()
    init_cpu_distributed(cfg, cfg.launcher)
    runner = Runner.from_cfg(cfg)
    if args.out:
        runner.register_hook(SaveMetricsHook(args.out))
    runner.test()
    del runner  # it holds the process group
    finish_distributed()


if __name__ == '__main__':
    main()
