# Copyright (c) The mpm_postometro authors. All rights reserved.
"""What the studies share: trainings side by side, tables and plots."""
import contextlib
import copy
import fcntl
import hashlib
import os
import os.path as osp
import time
from pathlib import Path
from typing import Callable, Dict, List, NamedTuple, Optional, Sequence

import matplotlib
import numpy as np
import torch
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from mpm_postometro.apis.progress import (ProgressLine, TrainProgressHook,
                                          format_seconds)
from mpm_postometro.apis.quickstart import find_configs
from mpm_postometro.compat import keep_freed_memory
from mpm_postometro.files import atomic_write, read_json, write_json

matplotlib.use('Agg')
import matplotlib.pyplot as plt  # noqa: E402


class Run(NamedTuple):
    """One training.

    Attributes:
        name (str): Its folder, and what others need it by.
        config (str): Relative to the folder of configs.
        options (dict): As for ``Config.merge_from_dict``.
        labels (dict): What its row of a table begins with.
        work (float): How much there is to do, to tell how long it takes;
            e.g. steps.
        needs (dict): Option -> name of the run whose checkpoint it is.
        change (Callable, optional): Changes the config where options cannot.
        test (bool): Measure on the test set at the end.
        measure (Callable, optional): What else to measure at the end; takes
            the Runner, returns numbers by name.
    """
    name: str
    config: str
    options: dict
    labels: dict
    work: float
    needs: Dict[str, str] = {}
    change: Optional[Callable[[Config], None]] = None
    test: bool = False
    measure: Optional[Callable[[Runner], dict]] = None


class _Record(Hook):
    """Keeps what each validation measured, and the seconds of the processor:
    other work on the machine has no say in them. Checkpoints carry both."""

    def __init__(self) -> None:
        self.rows: List[dict] = []
        self.seconds = 0.

    def before_train(self, runner) -> None:
        kept = runner.message_hub.runtime_info.get('study')
        if kept:  # it goes on where it was interrupted
            self.rows, self.seconds = copy.deepcopy(kept)
        self._last = time.process_time()

    def after_train_iter(self, runner, *args, **kwargs) -> None:
        now = time.process_time()
        self.seconds += now - self._last
        self._last = now
        runner.message_hub.update_info('study', (self.rows, self.seconds))

    def after_val_epoch(self, runner, metrics=None) -> None:
        self.rows.append(
            dict(
                step=runner.iter, **{
                    k: float(v)
                    for k, v in metrics.items()
                }))


class Study:
    """Runs what is not done yet.

    What is finished is reused, unless its config has changed; what was
    interrupted goes on from its last checkpoint. Processes may share the
    folder: one waits for what another trains.

    Args:
        folder (str): Everything is written below it.
        runs (list[Run]): Those that others need come first.
    """

    def __init__(self, folder: str, runs: Sequence[Run]) -> None:
        init_default_scope('mmpose')
        self.folder = osp.abspath(folder)
        self.runs = {run.name: run for run in runs}
        self.progress = ProgressLine()
        self.config_dir = find_configs()
        self._signatures: Dict[str, str] = {}
        self._files: Dict[str, Config] = {}  # slow to read

    def run(self) -> List[dict]:
        """One result a run: its labels, seconds, what was measured."""
        torch.set_flush_denormal(True)
        keep_freed_memory()
        waiting = [r for r in self.runs.values() if not self.finished(r)]
        done, left = 0, sum(run.work for run in waiting)
        begun = time.monotonic()
        results = []
        for number, run in enumerate(self.runs.values()):
            head = f'[{number + 1}/{len(self.runs)}] {run.name}'
            result = self.finished(run)
            if result is None:
                left -= run.work
                first: list = []  # without what it takes to read the data

                def report(fraction, text):
                    now = time.monotonic()
                    if not first:
                        first.append((now, fraction))
                    share = fraction - first[0][1]
                    if share < 0.01:
                        return
                    here = (now - first[0][0]) / share * (1 - fraction)
                    pace = (now - begun) / (done + fraction * run.work)
                    self.progress.update(
                        head, fraction, f'{text}  {format_seconds(here)} left '
                        f'here, {format_seconds(here + left * pace)} in all')

                with self._alone(run.name):
                    result = self.finished(run)
                    if result is None:
                        self.progress.say(f'{head} starts')
                        started = time.monotonic()
                        result = self._execute(run, report)
                        self.progress.say(
                            f'{head} done in '
                            f'{format_seconds(time.monotonic() - started)}')
                done += run.work
            results.append({**run.labels, **result})
        return results

    def finished(self, run: Run) -> Optional[dict]:
        """The result of a run, None if it is not finished."""
        result = read_json(self._path(run.name, 'result.json'))
        if result and result['signature'] == self.signature(run):
            return result
        return None

    def signature(self, run: Run) -> str:
        """Changes where the run, or one that it needs, would differ."""
        if run.name not in self._signatures:
            text = self.config(run).pretty_text + ''.join(
                self.signature(self.runs[name]) for name in run.needs.values())
            self._signatures[run.name] = hashlib.sha256(
                text.encode()).hexdigest()[:16]
        return self._signatures[run.name]

    def config(self, run: Run, test: bool = False) -> Config:
        """What is run; the test set is there if the run uses it, or on
        demand."""
        if run.config not in self._files:
            self._files[run.config] = Config.fromfile(
                osp.join(self.config_dir, run.config))
        cfg = copy.deepcopy(self._files[run.config])
        cfg.merge_from_dict(copy.deepcopy(run.options))  # is changed there
        if run.change is not None:
            run.change(cfg)
        if not (run.test or test):
            cfg.test_dataloader = cfg.test_cfg = cfg.test_evaluator = None
        return cfg

    def checkpoint(self, name: str) -> str:
        """The last one of a finished run."""
        return self._path(
            name,
            read_json(self._path(name, 'result.json'))['checkpoint'])

    def _path(self, name: str, *parts: str) -> str:
        return osp.join(self.folder, name, *parts)

    @contextlib.contextmanager
    def _alone(self, name: str):
        """Wait until no other process trains this run."""
        os.makedirs(self._path(name), exist_ok=True)
        with open(self._path(name, 'lock'), 'w') as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _execute(self, run: Run, report) -> dict:
        cfg = self.config(run)
        cfg.merge_from_dict({
            option: self.checkpoint(name)
            for option, name in run.needs.items()
        })
        cfg.work_dir = self._path(run.name)
        cfg.log_level = 'WARNING'
        # Runners and visualisers are kept by their names.
        cfg.experiment_name = f'{run.name}_{time.time_ns()}'
        cfg.visualizer.name = cfg.experiment_name
        signature = self.signature(run)
        started = self._path(run.name, 'started.json')
        cfg.resume = read_json(started) == signature
        write_json(started, signature)
        log = open(self._path(run.name, 'console.log'), 'a')
        with log, contextlib.redirect_stdout(log):
            runner = Runner.from_cfg(cfg)
            record = _Record()
            runner.register_hook(record)
            runner.register_hook(TrainProgressHook(report))
            runner.train()
            if not record.rows or record.rows[-1]['step'] != runner.iter:
                runner.val()  # interrupted before it
            result = dict(
                signature=signature,
                checkpoint=osp.basename(
                    open(self._path(run.name, 'last_checkpoint')).read()),
                seconds=record.seconds,
                steps=runner.max_iters,
                parameters=_trained_parameters(runner.model),
                history=record.rows)
            if run.test:
                result['test'] = {
                    key: float(value)
                    for key, value in runner.test().items()
                }
            if run.measure is not None:
                result.setdefault('test', {}).update(run.measure(runner))
        write_json(self._path(run.name, 'result.json'), result)
        return result


def _trained_parameters(model: torch.nn.Module) -> int:
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def finish(folder: str, name: str, text: str, results: List[dict]) -> None:
    """Write a table and results beside the plot, and print the table.

    Args:
        folder (str): Where the plot ``<name>.png`` is.
        name (str): Of the study.
        text (str): The table.
        results (list[dict]): Numbers of each run.
    """
    write_json(osp.join(folder, 'results.json'), results)
    atomic_write(
        osp.join(folder, 'table.md'),
        lambda path: Path(path).write_text(text + '\n'))
    print(f'{text}\n\n{folder}: table.md, {name}.png, results.json')


def table(header: Sequence[str], rows: Sequence[Sequence]) -> str:
    """Markdown."""
    lines = [header, ['---'] * len(header), *rows]
    return '\n'.join('| ' + ' | '.join(map(str, line)) + ' |'
                     for line in lines)


def mean_and_range(values: Sequence[float], form: str = '{:.2f}') -> str:
    """'1.24 (1.20 to 1.28)', or one number alone."""
    text = form.format(np.mean(values))
    if len(values) > 1:
        text += f' ({form.format(min(values))} to {form.format(max(values))})'
    return text


def groups(results: Sequence[dict], *keys: str) -> Dict[tuple, List[dict]]:
    """Results that differ in nothing but other keys, as the seed."""
    found: Dict[tuple, List[dict]] = {}
    for result in results:
        found.setdefault(tuple(result[k] for k in keys), []).append(result)
    return found


def last(results: Sequence[dict], key: str) -> List[float]:
    """The last validation of each result."""
    return [result['history'][-1][key] for result in results]


def plot_range(axis, x: Sequence, values: Sequence[Sequence[float]],
               label: str) -> None:
    """Mean over the seeds, and a band from the least to the largest."""
    line, = axis.plot(
        x, [np.mean(v) for v in values], marker='o', ms=3, label=label)
    axis.fill_between(
        x, [min(v) for v in values], [max(v) for v in values],
        color=line.get_color(),
        alpha=.2,
        lw=0)
    axis.grid(alpha=.3)


def save(figure, path: str) -> None:
    figure.tight_layout()
    atomic_write(path, lambda name: figure.savefig(name, dpi=100))
    plt.close(figure)
