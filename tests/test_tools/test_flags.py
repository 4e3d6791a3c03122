# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Flags of tools/train.py and test.py, and what the shell scripts start."""
import importlib.util
import os
import subprocess
import sys

import pytest
from mmengine.config import Config

MESH = 'postometro/postometro_res18_synthetic-96x96.py'
HRNET = 'postometro_hrnet48.py'
HEATMAP = 'pct/heatmap_res18_synthetic-96x96.py'
HOOK = 'default_hooks.visualization'
BADCASE = 'default_hooks.badcase'
# As if the pictures were in files.
FILES = 'test_dataloader.dataset.type=CocoDataset'
ON_FILES = f'--cfg-options {FILES}'

# tool, config, flags, what the config holds then
FLAGS = [
    ('train', MESH, '', {
        'launcher': 'none',
        'work_dir': './work_dirs/postometro_res18_synthetic-96x96',
        'resume': False,
        'load_from': None,
        'optim_wrapper.type': 'OptimWrapper',
        f'{HOOK}.type': 'MeshVisualizationHook',
        f'{HOOK}.enable': False,
    }),
    ('train', MESH, '--work-dir here', {
        'work_dir': 'here'
    }),
    ('train', MESH, '--launcher pytorch --local-rank 1', {
        'launcher': 'pytorch'
    }),
    ('train', MESH, '--resume', {
        'resume': True,
        'load_from': None
    }),
    ('train', MESH, '--resume some.pth', {
        'resume': True,
        'load_from': 'some.pth'
    }),
    ('train', MESH, '--amp', {
        'optim_wrapper.type': 'AmpOptimWrapper',
        'optim_wrapper.loss_scale': 'dynamic',
        'optim_wrapper.optimizer.type': 'AdamW'
    }),
    ('train', MESH, '--no-validate', {
        'val_cfg': None,
        'val_dataloader': None,
        'val_evaluator': None
    }),
    ('train', HRNET, '--auto-scale-lr', {
        'auto_scale_lr.enable': True,
        'auto_scale_lr.base_batch_size': 96
    }),
    ('train', MESH, '--show --wait-time 3', {
        f'{HOOK}.enable': True,
        f'{HOOK}.show': True,
        f'{HOOK}.wait_time': 3.,
        f'{HOOK}.interval': 1,
        f'{HOOK}.out_dir': None
    }),
    ('train', MESH, '--show-dir drawn --interval 7', {
        f'{HOOK}.enable': True,
        f'{HOOK}.show': False,
        f'{HOOK}.interval': 7,
        f'{HOOK}.out_dir': 'drawn'
    }),
    ('train', HEATMAP, '--show-dir drawn --no-validate', {
        f'{HOOK}.type': 'PoseVisualizationHook',
        f'{HOOK}.out_dir': 'drawn'
    }),
    # What is said last wins over the other flags and the config.
    ('train', MESH, '--work-dir here --cfg-options work_dir=there '
     'model.head.num_heads=8,4 optim_wrapper.optimizer.lr=0.5', {
         'work_dir': 'there',
         'model.head.num_heads': [8, 4],
         'optim_wrapper.optimizer.lr': 0.5,
         'optim_wrapper.optimizer.type': 'AdamW'
     }),
    ('test', MESH, '', {
        'launcher': 'none',
        'work_dir': './work_dirs/postometro_res18_synthetic-96x96',
        'load_from': 'some.pth',
        f'{HOOK}.enable': False,
        f'{BADCASE}.enable': False,
    }),
    ('test', MESH, '--work-dir here --launcher slurm --local_rank 1', {
        'work_dir': 'here',
        'launcher': 'slurm'
    }),
    ('test', MESH, '--out metrics.json', {
        'test_evaluator.type': 'MeshMetric'
    }),
    ('test', MESH, '--dump all.pkl', {
        'test_evaluator.0.type': 'MeshMetric',
        'test_evaluator.1': dict(type='DumpResults', out_file_path='all.pkl')
    }),
    ('test', HRNET, '--show --wait-time 3', {
        f'{HOOK}.enable': True,
        f'{HOOK}.show': True,
        f'{HOOK}.wait_time': 3.,
        f'{HOOK}.out_dir': None
    }),
    ('test', MESH, '--show-dir drawn --interval 7', {
        f'{HOOK}.type': 'MeshVisualizationHook',
        f'{HOOK}.enable': True,
        f'{HOOK}.show': False,
        f'{HOOK}.interval': 7,
        f'{HOOK}.out_dir': 'drawn'
    }),
    ('test', HEATMAP, f'--show-dir drawn {ON_FILES}', {
        f'{HOOK}.type': 'PoseVisualizationHook',
        f'{HOOK}.out_dir': 'drawn'
    }),
    # --show belongs to the bad cases then.
    ('test', HEATMAP, f'--badcase --show --wait-time 3 --interval 7 '
     f'{ON_FILES}', {
         f'{HOOK}.enable': False,
         f'{BADCASE}.enable': True,
         f'{BADCASE}.show': True,
         f'{BADCASE}.wait_time': 3.,
         f'{BADCASE}.interval': 7,
         f'{BADCASE}.metric.type': 'KeypointMSELoss'
     }),
    ('test', MESH, f'--cfg-options {FILES} work_dir=there', {
        'work_dir': 'there',
        'test_dataloader.dataset.type': 'CocoDataset',
        'test_dataloader.dataset.length': 1000
    }),
]

# tool, config, flags, what the message says
REFUSED = [
    ('train', MESH, '--auto-scale-lr', 'base_batch_size'),
    ('train', HEATMAP, '--show-dir drawn', 'reads pictures from files'),
    ('test', HEATMAP, '--show', 'reads pictures from files'),
    ('test', HEATMAP, '--badcase', 'reads pictures from files'),
    ('test', MESH, '--badcase', 'model.head.loss'),
    # $(cat last_checkpoint) without that file
    ('train', MESH, '--cfg-options model.pose_branch_checkpoint=',
     'model.pose_branch_checkpoint: .* empty'),
    ('test', MESH, '--cfg-options load_from=', 'load_from: .* empty'),
]


@pytest.fixture(scope='module')
def tools(repo_root):
    """tools/train.py and test.py as modules."""
    loaded = {}
    for name in ('train', 'test'):
        spec = importlib.util.spec_from_file_location(
            f'tools_{name}', repo_root / f'tools/{name}.py')
        loaded[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(loaded[name])
    return loaded


@pytest.fixture
def merge(tools, repo_root, monkeypatch):
    """The config as a command line makes it."""
    monkeypatch.setenv('LOCAL_RANK', '0')  # the parser sets it for good

    def merge_flags(tool, config, flags, edit=lambda cfg: None):
        path = str(repo_root / 'configs' / config)
        files = [path, 'some.pth'] if tool == 'test' else [path]
        args = tools[tool].parse_args([*files, *flags.split()])
        cfg = Config.fromfile(path)
        edit(cfg)
        return tools[tool].merge_args(cfg, args)

    return merge_flags


def _ids(cases):
    return [f'{tool} {flags or "plain"}' for tool, _, flags, _ in cases]


@pytest.mark.parametrize('tool, config, flags, holds', FLAGS, ids=_ids(FLAGS))
def test_flags_reach_the_config(merge, tool, config, flags, holds):
    cfg = merge(tool, config, flags)
    for key, value in holds.items():
        found = cfg
        for part in key.split('.'):
            found = found[int(part) if part.isdigit() else part]
        assert found == value, key


@pytest.mark.parametrize(
    'tool, config, flags, says', REFUSED, ids=_ids(REFUSED))
def test_flags_that_cannot_work_say_so(merge, tool, config, flags, says):
    with pytest.raises(ValueError, match=says):
        merge(tool, config, flags)


def test_flags_need_their_part_of_the_config(merge):

    def no_hooks(cfg):
        cfg.default_hooks = {}

    def other_wrapper(cfg):
        cfg.optim_wrapper.type = 'ApexOptimWrapper'

    for tool in ('train', 'test'):
        with pytest.raises(ValueError, match='visualization'):
            merge(tool, MESH, '--show', no_hooks)
    with pytest.raises(ValueError, match='badcase'):
        merge('test', MESH, '--badcase', no_hooks)
    with pytest.raises(ValueError, match='ApexOptimWrapper'):
        merge('train', MESH, '--amp', other_wrapper)


@pytest.mark.parametrize('tool, flags, says', [
    ('test', '--out metrics.txt', 'json'),
    ('test', '--dump all.json', 'pkl'),
    ('train', '--interval often', 'invalid int'),
    ('train', '--launcher ssh', 'invalid choice'),
])
def test_malformed_flags_end_in_usage(merge, capsys, tool, flags, says):
    with pytest.raises(SystemExit) as stop:
        merge(tool, MESH, flags)
    assert stop.value.code == 2
    assert says in capsys.readouterr().err


# ------------------------------- shell scripts -------------------------------
def _bash(*command, **env):
    return subprocess.run(['bash', *(str(part) for part in command)],
                          env={
                              **os.environ,
                              **env
                          },
                          capture_output=True,
                          text=True)


@pytest.mark.parametrize(
    'script',
    ['dist_train.sh', 'dist_test.sh', 'slurm_train.sh', 'slurm_test.sh'])
def test_scripts_parse_and_show_their_usage(repo_root, script):
    path = repo_root / 'tools' / script
    checked = _bash('-n', path)
    assert checked.returncode == 0, checked.stderr
    done = _bash(path, 'one')
    assert done.returncode == 2
    assert f'bash tools/{script}' in done.stderr


@pytest.mark.parametrize('tool', ['train', 'test'])
def test_slurm_gets_resources_and_the_tool_its_flags(repo_root, tools,
                                                     tmp_path, monkeypatch,
                                                     tool):
    # A stand-in on the path that prints what it was called with.
    srun = tmp_path / 'srun'
    srun.write_text('#!/bin/sh\nprintf "%s\\n" "$PYTHONPATH" "$@"\n')
    srun.chmod(0o755)
    flags = ['--cfg-options', 'model.x=[1, 2]']
    done = _bash(
        repo_root / f'tools/slurm_{tool}.sh',
        'gpus',
        'a job',
        'my config.py',
        'there',
        *flags,
        PATH=f'{tmp_path}:{os.environ["PATH"]}',
        GPUS='16',
        GPUS_PER_NODE='4',
        CPUS_PER_TASK='3',
        SRUN_ARGS='--mem=8G --time=10',
        PYTHON=sys.executable)
    assert done.returncode == 0, done.stderr
    path, *words = done.stdout.splitlines()
    assert path.split(':')[0] == f'{repo_root}/tools/..'
    start = words.index(sys.executable)
    assert words[:start] == [
        '-p', 'gpus', '--job-name=a job', '--gres=gpu:4', '--ntasks=16',
        '--ntasks-per-node=4', '--cpus-per-task=3', '--kill-on-bad-exit=1',
        '--mem=8G', '--time=10'
    ]
    assert words[start + 1] == '-u'
    assert words[start + 2] == f'{repo_root}/tools/{tool}.py'
    monkeypatch.setenv('LOCAL_RANK', '0')
    args = tools[tool].parse_args(words[start + 3:])
    assert args.config == 'my config.py'
    assert args.launcher == 'slurm'
    assert (args.work_dir if tool == 'train' else args.checkpoint) == 'there'
    assert args.cfg_options == {'model.x': [1, 2]}
