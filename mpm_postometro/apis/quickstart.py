# Copyright (c) The mpm_postometro authors. All rights reserved.
"""The quick start: train, test and show a small PostoMETRO from scratch.

Seven stages, each training a standard MMEngine run of a config in
``configs/``:

1. ``data``: render the built-in data set into a cache.
2. ``heatmap``: teach a backbone to find joints, as PCT does first.
3. ``tokenizer``: PCT stage one, on keypoints alone.
4. ``classifier``: PCT stage two, image -> pose tokens, backbone frozen.
5. ``image_only``: the mesh transformer without pose tokens (the baseline).
6. ``postometro``: the same network with the frozen pose tokens.
7. ``evaluation``: both on held-out images, beside the best constants; the
   report.

A stage that is done leaves ``done.json``; one that was interrupted resumes
from its last checkpoint. Under other settings a stage starts afresh; what it
left before is kept in ``<stage>.old`` and comes back with its settings.
Rendered people are never removed.
"""
import contextlib
import hashlib
import logging
import os
import os.path as osp
import shutil
import time
import warnings
from typing import Dict, List, NamedTuple, Optional

import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from mpm_postometro.files import read_json, write_json
from .progress import ProgressLine, TrainProgressHook, format_seconds

#: What is measured -> how it is called.
METRICS = dict(mpjpe='MPJPE', pa_mpjpe='PA-MPJPE', mpvpe='MPVPE')
#: The networks that are compared, by the name of their stage.
COMPARED = dict(image_only='image only', postometro='PostoMETRO')


class Stage(NamedTuple):
    """One stage of the quick start.

    ``config`` is relative to the folder of configs; ``seconds`` is what the
    stage took on the two cores of the machine in the README and serves only
    to guess the time that is left.
    """
    name: str
    title: str
    config: Optional[str]
    seconds: float


STAGES = (
    Stage('data', 'render', None, 65),
    Stage('heatmap', 'heatmaps', 'pct/heatmap_res18_synthetic-96x96.py', 260),
    Stage('tokenizer', 'tokenizer', 'pct/pct_tokenizer_synthetic-96x96.py',
          57),
    Stage('classifier', 'classifier',
          'pct/pct_classifier_res18_synthetic-96x96.py', 80),
    Stage('image_only', 'image only',
          'postometro/image-only_res18_synthetic-96x96.py', 115),
    Stage('postometro', 'PostoMETRO',
          'postometro/postometro_res18_synthetic-96x96.py', 130),
    Stage('evaluation', 'evaluation', None, 20),
)

# What `--smoke` changes: the same stages, a few steps each.
SMOKE = {
    'train_dataloader.batch_size': 8,
    'val_dataloader.batch_size': 8,
    # More than a shard, so that several processes render.
    'train_dataloader.dataset.length': 40,
    'val_dataloader.dataset.length': 16,
    'train_cfg.max_epochs': 2,
}
SMOKE_TEST_IMAGES = 16

#: What the last stage writes and the run puts into the work directory.
OUTPUTS = ('report.html', 'summary.json')


def find_configs() -> str:
    """The folder of configs: of the checkout, or of the installed wheel.

    Raises:
        FileNotFoundError: If there is neither.
    """
    package = osp.dirname(osp.dirname(osp.abspath(__file__)))
    places = [
        osp.join(osp.dirname(package), 'configs'),
        osp.join(package, '.mim', 'configs')
    ]
    for place in places:
        if osp.isdir(osp.join(place, 'postometro')):
            return place
    raise FileNotFoundError(
        f'the configs of mpm_postometro were looked for in {places}; '
        'run from a checkout, or install the package normally')


def available_cores() -> int:
    """Cores that this process may use, which may be fewer than there are."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _datasets(cfg: Config) -> List[dict]:
    """The configs of the data sets of a config."""
    return [
        cfg[f'{split}_dataloader'].dataset
        for split in ('train', 'val', 'test')
    ]


class QuickStart:
    """Runs the stages in order and knows what is done.

    Args:
        work_dir (str): Everything is written below this folder.
        smoke (bool): A few steps of everything, to see that it runs.
        seed (int): Seed of the trainings. The data set keeps its own.
        images (int, optional): Number of training images. A longer run: ten
            times the images take about ten times the time, since the number
            of epochs stays. Defaults to what the configs say.
        setup_seconds (float): What the set-up of the environment took; it is
            part of ``seconds`` in the summary. After interruptions that is
            the set-up of the last run alone, while stages count all runs.

    Raises:
        ValueError: If ``images`` is less than 1.
    """

    def __init__(self,
                 work_dir: str = 'work_dirs/quickstart',
                 smoke: bool = False,
                 seed: int = 0,
                 images: Optional[int] = None,
                 setup_seconds: float = 0.0) -> None:
        if images is not None and images < 1:
            raise ValueError(f'images must be at least 1, got {images}')
        self.work_dir = osp.abspath(work_dir)
        self.smoke = smoke
        self.seed = seed
        self.images = images
        self.setup_seconds = setup_seconds
        self.progress = ProgressLine()
        self.config_dir = find_configs()
        self.data_dir = osp.join(self.work_dir, 'data', 'cache')
        self.signatures: Dict[str, str] = {}
        os.makedirs(self.work_dir, exist_ok=True)

    # ------------------------------------------------------------- the run
    def run(self) -> dict:
        """Run what is not done yet and return the summary."""
        init_default_scope('mmpose')
        torch.set_num_threads(available_cores())
        # Adam's squares of tiny gradients would slow a CPU down.
        torch.set_flush_denormal(True)
        self.progress.say(
            f'Quick start: {len(STAGES)} stages into {self.work_dir}')
        self.signatures = self._sign()
        for number, stage in enumerate(STAGES):
            head = f'[{number + 1}/{len(STAGES)}] {stage.title:<11}'
            self._make_room(stage)
            done = self._done(stage)
            if done:
                self.progress.say(f'{head} done before '
                                  f'({format_seconds(done["seconds"])})')
                continue
            started = time.monotonic()
            spent = self._spent(stage)
            self._head, self._number = head, number
            self._started = started
            self._report(0.0, 'starting')
            try:
                result = self._run_stage(stage)
            finally:
                spent += time.monotonic() - started
                write_json(
                    osp.join(self.folder(stage.name), 'spent.json'),
                    dict(seconds=spent, signature=self.signatures[stage.name]))
            write_json(
                osp.join(self.folder(stage.name), 'done.json'),
                dict(
                    signature=self.signatures[stage.name],
                    seconds=spent,
                    result=result))
            self.progress.say(f'{head} done in {format_seconds(spent)}')
        for name in OUTPUTS:
            place = osp.join(self.work_dir, name)
            shutil.copyfile(
                osp.join(self.folder('evaluation'), name), f'{place}.partial')
            os.replace(f'{place}.partial', place)
        summary = self._done(STAGES[-1])['result']
        self._print_table(summary)
        return summary

    def _report(self, fraction: float, text: str) -> None:
        elapsed = time.monotonic() - self._started
        stage = STAGES[self._number]
        left = elapsed / fraction - elapsed if fraction > 0.02 else \
            stage.seconds
        later = sum(s.seconds for s in STAGES[self._number + 1:])
        if self.smoke:
            later = 0
        elif self._number > 0 and fraction > 0.2:
            # This machine against the one on which the plan was measured.
            later *= (elapsed / fraction) / stage.seconds
        self.progress.update(
            self._head, fraction, f'{text}  {format_seconds(elapsed)} gone, '
            f'{format_seconds(left)} left here, '
            f'{format_seconds(left + later)} in all')

    def folder(self, name: str) -> str:
        """The folder of a stage."""
        return osp.join(self.work_dir, name)

    def checkpoint(self, name: str) -> str:
        """The last checkpoint of a finished stage."""
        with open(osp.join(self.folder(name), 'last_checkpoint')) as file:
            path = file.read().strip()
        # The folder may have moved since.
        return osp.join(self.folder(name), osp.basename(path))

    def _sign(self) -> Dict[str, str]:
        """Changes where a stage, or one before it, would run differently."""
        digest, signatures = hashlib.sha256(), {}
        for stage in STAGES:
            cfg = self._plain_config(stage if stage.config else STAGES[-2])
            if stage.name == 'data':
                # What is rendered; the seed of the trainings has no say.
                text = str([{
                    key: value
                    for key, value in dataset.items() if key != 'pipeline'
                } for dataset in _datasets(cfg)])
            else:
                text = cfg.pretty_text
            digest.update(f'{stage.name}\n{text}\n'.encode())
            signatures[stage.name] = digest.hexdigest()[:16]
        return signatures

    def _marker(self,
                stage: Stage,
                name: str,
                suffix: str = '') -> Optional[dict]:
        marker = read_json(osp.join(self.folder(stage.name) + suffix, name))
        if marker and marker['signature'] == self.signatures[stage.name]:
            return marker
        return None

    def _done(self, stage: Stage) -> Optional[dict]:
        return self._marker(stage, 'done.json')

    def _make_room(self, stage: Stage) -> None:
        """Exchange what other settings left for what these left, if any."""
        folder = self.folder(stage.name)
        if (stage.name == 'data'  # a cache holds the data of all settings
                or not osp.isdir(folder) or self._marker(stage, 'spent.json')):
            return
        old, aside = f'{folder}.old', f'{folder}.aside'
        back = self._marker(stage, 'spent.json', '.old')
        shutil.rmtree(aside, ignore_errors=True)
        os.replace(folder, aside)
        if back:
            os.replace(old, folder)
        shutil.rmtree(old, ignore_errors=True)
        os.replace(aside, old)
        what = 'goes on where these left it' if back else 'starts afresh'
        self.progress.say(f'settings changed: {stage.name} {what}, the '
                          f'earlier result is kept in {old}')

    def _spent(self, stage: Stage) -> float:
        """Seconds that earlier, interrupted runs of the stage took."""
        marker = self._marker(stage, 'spent.json')
        if marker:
            return marker['seconds']
        os.makedirs(self.folder(stage.name), exist_ok=True)
        write_json(
            osp.join(self.folder(stage.name), 'spent.json'),
            dict(seconds=0.0, signature=self.signatures[stage.name]))
        return 0.0

    def times(self) -> Dict[str, float]:
        """Seconds of each stage so far, interrupted runs included."""
        times = {}
        for number, stage in enumerate(STAGES):
            marker = self._marker(stage, 'spent.json')
            times[stage.name] = marker['seconds'] if marker else 0.0
            if number == self._number:
                times[stage.name] += time.monotonic() - self._started
        return times

    # ----------------------------------------------------------- the stages
    def _run_stage(self, stage: Stage):
        if stage.name == 'data':
            return self._render()
        if stage.name == 'evaluation':
            from .quickstart_report import evaluate_and_report
            return evaluate_and_report(self, self._report)
        return self._train(stage)

    def _plain_config(self, stage: Stage) -> Config:
        cfg = Config.fromfile(osp.join(self.config_dir, stage.config))
        options = {'randomness': dict(seed=self.seed)}
        if self.smoke:
            options.update(SMOKE)
            options['test_dataloader.dataset.length'] = SMOKE_TEST_IMAGES
            options['test_dataloader.batch_size'] = 8
        if self.images is not None:
            options['train_dataloader.dataset.length'] = self.images
        cfg.merge_from_dict(options)
        return cfg

    def config(self, stage: Stage) -> Config:
        """The config of a stage with the paths of this run filled in."""
        cfg = self._plain_config(stage)
        options = {
            'work_dir': self.folder(stage.name),
            # One visualiser a stage: they are kept by name.
            'visualizer.name': f'{stage.name}_{self.work_dir}',
            'train_dataloader.dataset.cache_dir': self.data_dir,
            'val_dataloader.dataset.cache_dir': self.data_dir,
            'test_dataloader.dataset.cache_dir': self.data_dir,
        }
        if stage.name == 'classifier':
            options['model.head.tokenizer_checkpoint'] = self.checkpoint(
                'tokenizer')
        if stage.name in ('classifier', 'image_only', 'postometro'):
            # The papers start from backbones trained on 2D pose.
            options['model.backbone.init_cfg'] = dict(
                type='Pretrained',
                checkpoint=self.checkpoint('heatmap'),
                prefix='backbone.')
        if stage.name == 'postometro':
            options['model.pose_branch_checkpoint'] = self.checkpoint(
                'classifier')
        cfg.merge_from_dict(options)
        return cfg

    @contextlib.contextmanager
    def quiet(self, name: str):
        """Send logs and warnings to a file: the terminal shows progress."""
        with open(osp.join(self.folder(name), 'console.log'), 'a') as log:
            handler = logging.StreamHandler(log)
            logging.getLogger('py.warnings').addHandler(handler)
            logging.captureWarnings(True)
            with contextlib.redirect_stdout(log), warnings.catch_warnings():
                try:
                    yield
                finally:
                    logging.captureWarnings(False)
                    logging.getLogger('py.warnings').removeHandler(handler)

    def _train(self, stage: Stage) -> dict:
        cfg = self.config(stage)
        cfg.resume = osp.isfile(
            osp.join(self.folder(stage.name), 'last_checkpoint'))
        with self.quiet(stage.name):
            runner = Runner.from_cfg(cfg)
            runner.register_hook(TrainProgressHook(self._report))
            runner.train()
        return dict(checkpoint=self.checkpoint(stage.name))

    def _render(self) -> dict:
        from mmpose.registry import DATASETS
        cfgs = _datasets(self._plain_config(STAGES[-2]))
        total = sum(c.length for c in cfgs)
        before = 0
        with self.quiet('data'):
            for dataset_cfg in cfgs:
                dataset_cfg.cache_dir = self.data_dir
                dataset = DATASETS.build(dataset_cfg)

                def report(done, _):
                    count = before + done
                    self._report(count / total, f'{count}/{total} images')

                dataset.build_cache(
                    num_workers=available_cores(), progress=report)
                before += dataset_cfg.length
        return dict(images=total)

    # ---------------------------------------------------------- the outcome
    def _print_table(self, summary: dict) -> None:
        say = self.progress.say
        say('')
        say(f'On {summary["images"]} held-out images (mm, and the ratio to '
            'the best constant prediction):')
        say(f'  {"":<22}' + ''.join(f'{m:>14}' for m in METRICS.values()))
        for name, title in dict(constant='best constant', **COMPARED).items():
            cells = []
            for metric in METRICS:
                value = summary[name][metric]
                ratio = value / summary['constant'][metric]
                cells.append(f'{value:7.1f} ({ratio:.2f})')
            say(f'  {title:<22}' + ''.join(f'{c:>14}' for c in cells))
        say('')
        say(f'Report:  {osp.join(self.work_dir, "report.html")}')
        say(f'Summary: {osp.join(self.work_dir, "summary.json")}')
        say(f'Took {format_seconds(summary["seconds"])} in all.')
