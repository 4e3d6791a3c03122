# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Train small MPMs on motion capture side by side, and compare them.

Four studies; docs/mpm_results.md tells what they found:

- ``comparison``: lifting by the mean pose, a linear map, MMPose's TCN, MPM
  from scratch and MPM from a pre-training, from true and from noisy 2D.
- ``masking``: lifting against what was hidden in the pre-training.
- ``occluded``: lifting with two limbs hidden.
- ``completion``: 3D poses of which a limb, or some joints for a while, are
  missing.

export MPM_POSTOMETRO_MOCAP=some/folder
python tools/analysis_tools/mpm_study.py comparison --seeds 0 1

Every run is a config with options, trained by MMEngine's Runner in this
process. What is finished is reused, unless its config has changed; the
studies share runs. Tables and plots are written to the work directory.
"""
import argparse
import hashlib
import os.path as osp
from typing import Callable, Dict, List, Optional, Sequence

import matplotlib.pyplot as plt
import numpy as np
from mmengine.config import Config, ConfigDict
from mmpose.registry import DATASETS
from mpm_methods import (PARENTS, LinearMaps, completed, constant, filled,
                         hole, hung, inner_clips, interpolated, measure,
                         network)
from study import Run, Study, finish, last, mean_and_range, save, table

from mpm_postometro.datasets.transforms import TubeMask
from mpm_postometro.files import read_json, write_json

LIFT = 'mpm/mpm_lift_small_cmu-27f.py'
FINETUNE = 'mpm/mpm_finetune_small_cmu-27f.py'
PRETRAIN = 'mpm/mpm_pretrain_small_cmu-27f.py'
TCN = 'mpm/tcn_small_cmu-27f.py'
OCCLUDED = 'mpm/mpm_occluded_small_cmu-27f.py'
COMPLETION = 'mpm/mpm_completion_small_cmu-27f.py'

#: The better of two to four on the validation set, after 25,600 clips; batches
#: of 32 were better than of 64 and 128.
BATCH_SIZE = 32
RATES = {
    LIFT: 1e-3,
    FINETUNE: 3e-3,
    PRETRAIN: 2e-3,
    TCN: 1.5e-3,
    OCCLUDED: 1e-3,
    COMPLETION: 1e-3
}

#: Option that takes the network of a pre-training.
START = 'model.backbone.init_cfg.checkpoint'
#: Kinds of 2D.
KINDS = ('true', 'noisy')
#: Hidden frames and joints in the ablation.
FRAME_RATIOS = (0., 0.3, 0.6, 0.8)
NUM_JOINTS = (0, 2, 5)
#: Frames of holes in time.
HOLES = (5, 9, 13)

#: Rows of the comparison.
COMPARED = dict(
    constant='best constant pose',
    linear='linear map',
    tcn="MMPose's TCN",
    scratch='MPM from scratch',
    finetuned='MPM pre-trained, fine-tuned',
    longer='MPM from scratch, both budgets')
INTERPOLATION = 'linear interpolation in time'
STARTS = dict(finetuned='pre-trained', scratch='from scratch')


# ------------------------------- what is run --------------------------------
def add_noise(cfg: Config) -> None:
    """2D as a detector finds it."""
    for split in ('train', 'val', 'test'):
        cfg[f'{split}_dataloader'].dataset.pipeline.insert(
            0, dict(type='DetectionNoise'))


def hide(frame_ratio: float, num_joints: int) -> Callable[[Config], None]:
    """Another masking of the pre-training."""

    def change(cfg: Config) -> None:
        for split in ('train', 'val', 'test'):
            for step in cfg[f'{split}_dataloader'].dataset.pipeline:
                if step['type'] == 'RandomSpatioTemporalMask':
                    step.update(frame_ratio=frame_ratio, num_joints=num_joints)

    return change


def make_run(args, name: str, config: str, epochs: int, seed: int,
             **kwargs) -> Run:
    """A training of some epochs, each of which sees every clip."""
    options = {
        'train_dataloader.batch_size': BATCH_SIZE,
        'train_dataloader.dataset.clip_step': args.clip_step,
        'val_dataloader.dataset.clip_step': args.val_step,
        'train_cfg.max_epochs': epochs,
        'train_cfg.val_interval': epochs,
        'default_hooks.checkpoint': dict(interval=1, max_keep_ckpts=1),
        'optim_wrapper.optimizer.lr': RATES[config],
        'optim_wrapper.optimizer.fused': True,
        'randomness': dict(seed=seed),
        **kwargs.pop('options', {})
    }
    labels = dict(name=name, epochs=epochs, seed=seed)
    labels.update(kwargs.pop('labels', {}))
    return Run(name, config, options, labels, epochs, **kwargs)


def pretraining(args, seed: int) -> Run:
    """What comparison, occluded lifting and completion start from."""
    return make_run(args, f'pretrain_seed{seed}', PRETRAIN,
                    args.pretrain_epochs, seed)


def plan_comparison(args) -> List[Run]:
    """The same networks from both kinds of 2D; noisy 2D and long trainings
    with the first seed only."""
    both = args.pretrain_epochs + args.epochs
    rows = (('tcn', TCN, args.epochs), ('scratch', LIFT, args.epochs),
            ('finetuned', FINETUNE, args.epochs), ('longer', LIFT, both))
    runs = []
    for seed in args.seeds:
        first = pretraining(args, seed)
        runs.append(first)
        for kind in KINDS:
            for row, config, epochs in rows:
                extra = row == 'longer' or kind == 'noisy'
                if extra and seed != args.seeds[0]:
                    continue
                needs = {START: first.name} if row == 'finetuned' else {}
                runs.append(
                    make_run(
                        args,
                        f'{row}_{kind}_seed{seed}',
                        config,
                        epochs,
                        seed,
                        labels=dict(row=row, kind=kind),
                        needs=needs,
                        change=add_noise if kind == 'noisy' else None))
    return runs


def plan_masking(args) -> List[Run]:
    """Short pre-trainings, each with a short fine-tuning."""
    epochs, seed = args.ablation_epochs, args.seeds[0]
    runs = [
        make_run(
            args,
            f'masking_scratch_seed{seed}',
            LIFT,
            epochs,
            seed,
            labels=dict(row='scratch'))
    ]
    for ratio in FRAME_RATIOS:
        for joints in NUM_JOINTS:
            mask = f'masking_{ratio}_{joints}'
            first = make_run(
                args,
                f'{mask}_pretrain_seed{seed}',
                PRETRAIN,
                epochs,
                seed,
                labels=dict(row='pretrain'),
                change=hide(ratio, joints))
            runs += [
                first,
                make_run(
                    args,
                    f'{mask}_finetuned_seed{seed}',
                    FINETUNE,
                    epochs,
                    seed,
                    labels=dict(row='finetuned', ratio=ratio, joints=joints),
                    options={'optim_wrapper.optimizer.lr': RATES[LIFT]},
                    needs={START: first.name})
            ]
    return runs


def plan_hidden(args, task: str, config: str) -> List[Run]:
    """From scratch, and from the pre-training."""
    seed = args.seeds[0]
    first = pretraining(args, seed)
    return [
        first,
        make_run(
            args,
            f'{task}_finetuned_seed{seed}',
            config,
            args.epochs,
            seed,
            labels=dict(row='finetuned'),
            needs={START: first.name}),
        make_run(
            args,
            f'{task}_scratch_seed{seed}',
            config,
            args.epochs,
            seed,
            labels=dict(row='scratch'),
            options={'model.backbone.init_cfg': None})
    ]


def plan_occluded(args) -> List[Run]:
    """Two limbs hidden; beside it, lifters that nothing is hidden from."""
    seed = args.seeds[0]
    lifters = [
        run for run in plan_comparison(args)
        if run.labels['seed'] == seed and run.labels.get('kind') == 'true'
        and run.labels['row'] in ('scratch', 'finetuned')
    ]
    return plan_hidden(args, 'occluded', OCCLUDED) + lifters


def plan_completion(args) -> List[Run]:
    """A limb hidden."""
    return plan_hidden(args, 'completion', COMPLETION)


# ----------------------------- how it is measured ----------------------------
class Test:
    """Measures methods on the test set, once: numbers are kept.

    Args:
        args (argparse.Namespace): Of the tool.
        study (Study): With all runs finished.
    """

    def __init__(self, args, study: Study) -> None:
        self.args = args
        self.study = study
        self.runs = study.runs
        self._maps: Dict[str, LinearMaps] = {}

    def dataset(self, run: Run, limbs: Sequence = ()) -> ConfigDict:
        """The test set of a run.

        Args:
            run (Run): The run.
            limbs (Sequence, optional): What its ``TubeMask`` hides.
        """
        dataset = self.study.config(run, test=True).test_dataloader.dataset
        dataset.clip_step = self.args.test_step
        for step in dataset.pipeline:
            if limbs and step['type'] == 'TubeMask':
                step['limbs'] = list(limbs)
        return dataset

    def __call__(self,
                 name: str,
                 dataset: ConfigDict,
                 method: Callable,
                 source: str,
                 run: Optional[Run] = None,
                 **kwargs) -> Dict[str, float]:
        """Errors of a method.

        Args:
            name (str): Says all that ``dataset`` and ``run`` do not.
            dataset (dict): Config of the data set.
            method (Callable): Makes the method.
            source (str): '2d' or '3d', what of is hidden.
            run (Run, optional): The run whose network it is.
            **kwargs: ``change`` and ``inner`` (bool, clips that no end of a
                sequence cuts off alone), see :func:`measure`.
        """
        key = ' '.join([
            str(dataset),
            str(self.args.epochs),
            str(self.args.clip_step),
            self.study.signature(run) if run else ''
        ])
        key = hashlib.sha256(key.encode()).hexdigest()[:16]
        path = osp.join(self.args.work_dir, 'measured', f'{name}.json')
        kept = read_json(path)
        if kept is None or kept['key'] != key:
            made = method()
            clips = DATASETS.build(dataset)
            indices = inner_clips(clips) if kwargs.pop('inner', None) else None
            metrics = measure(
                made,
                clips,
                source,
                indices,
                report=self._reporter(f'test {name}'),
                **kwargs)
            kept = dict(key=key, metrics=metrics)
            write_json(path, kept)
        return kept['metrics']

    def network(self,
                run: Run,
                dataset: ConfigDict,
                source: str,
                name: str = '',
                wrap: Callable = lambda x: x,
                **kwargs) -> Dict[str, float]:
        """Errors of a trained network; see :meth:`__call__`."""

        def method():
            return wrap(
                network(
                    self.study.config(run), self.study.checkpoint(run.name)))

        name = f'{run.name}_{name}' if name else run.name
        return self(name, dataset, method, source, run, **kwargs)

    def maps(self, run: Run, source: str) -> LinearMaps:
        """Linear maps from the clips that a run was trained with."""
        cfg = self.study.config(run)
        name = f'{source}_{run.labels.get("kind", "")}'
        if name not in self._maps:
            self._maps[name] = LinearMaps(
                DATASETS.build(cfg.train_dataloader.dataset),
                DATASETS.build(cfg.val_dataloader.dataset), source,
                run.labels['epochs'], self._reporter(f'linear map {name}'))
        return self._maps[name]

    def _reporter(self, title: str) -> Callable[[float], None]:
        return lambda part: self.study.progress.update(title, part, '')


def _visible(limb) -> List[int]:
    """Joints that are left where a limb, or several, are hidden."""
    poses = np.zeros((1, len(PARENTS), 2))
    item = TubeMask([limb]).transform(dict(keypoints_2d=poses, item_key=(0, )))
    return np.flatnonzero(~item['joint_mask_2d'][0]).tolist()


# ------------------------------ what came of it -----------------------------
METRICS = (('mpjpe', 'MPJPE', '{:.1f}'), ('pa_mpjpe', 'PA-MPJPE', '{:.1f}'),
           ('n_mpjpe', 'N-MPJPE', '{:.1f}'), ('mpjve', 'velocity', '{:.1f}'),
           ('pck_150', 'PCK@150', '{:.1f}'), ('auc', 'AUC', '{:.1f}'))


def report_comparison(args, study: Study, results: List[dict],
                      path: str) -> str:
    """Table; plot into ``path``."""
    test = Test(args, study)
    clips = {r['name']: r['steps'] * BATCH_SIZE / 1000 for r in results}
    rows, bars = [], {}
    for kind in KINDS:
        same = [r for r in results if r.get('kind') == kind]
        for row, title in COMPARED.items():
            members = [r for r in same if r['row'] == row]
            if members:
                found = [
                    test.network(study.runs[r['name']],
                                 test.dataset(study.runs[r['name']]), '2d')
                    for r in members
                ]
                seen = f"{clips[members[0]['name']]:.0f}"
                if row == 'finetuned':
                    first = f"pretrain_seed{members[0]['seed']}"
                    seen = f'{clips[first]:.0f} + {seen}'
                costs = [
                    f"{members[0]['parameters'] / 1e6:.2f}", seen,
                    mean_and_range([r['seconds'] for r in members], '{:.0f}')
                ]
            else:
                run = study.runs[same[0]['name']]

                def method(run=run, row=row):
                    maps = test.maps(run, '2d')
                    if row == 'constant':
                        return constant(maps.mean_pose())
                    fit = maps.fit()
                    print(f'{kind}: linear map of the {fit.inputs}, ridge '
                          f'{fit.ridge}, validation {1000 * fit.error:.1f} mm')
                    return fit.method

                found = [
                    test(f'{row}_{kind}', test.dataset(run), method, '2d')
                ]
                costs = ['', f'{clips[run.name]:.0f}', '']
            values = {k: [x[k] for x in found] for k, _, _ in METRICS}
            bars[kind, row] = values['mpjpe']
            rows.append(
                [kind, title, *costs] +
                [mean_and_range(values[k], form) for k, _, form in METRICS])
    figure, axis = plt.subplots(figsize=(8, 3.6))
    draw_bars(
        axis, {
            title: [bars[kind, row] for kind in KINDS]
            for row, title in COMPARED.items()
        }, [f'{kind} 2D' for kind in KINDS])
    axis.set_ylabel('MPJPE on the test set (mm)')
    save(figure, path)
    return table(('2D', 'method', 'parameters (M)', 'clips seen (k)',
                  'CPU seconds', *(title for _, title, _ in METRICS)), rows)


def report_masking(args, study: Study, results: List[dict], path: str) -> str:
    """Table; plot into ``path``."""
    scratch = [
        last([r], 'pose3d/mpjpe')[0] for r in results if r['row'] == 'scratch'
    ][0]
    found = {
        (r['ratio'], r['joints']): last([r], 'pose3d/mpjpe')[0]
        for r in results if r['row'] == 'finetuned'
    }
    values = np.array([[found[ratio, joints] for joints in NUM_JOINTS]
                       for ratio in FRAME_RATIOS])
    figure, axis = plt.subplots(figsize=(5, 3.6))
    for column, joints in enumerate(NUM_JOINTS):
        axis.plot(
            FRAME_RATIOS,
            values[:, column],
            marker='o',
            label=f'{joints} of 17 joints hidden')
    axis.axhline(scratch, color='k', ls='--', label='from scratch')
    axis.set(
        xlabel='part of the frames that is hidden in pre-training',
        ylabel='MPJPE in validation (mm)',
        xticks=FRAME_RATIOS)
    axis.grid(alpha=.3)
    axis.legend(fontsize=8)
    save(figure, path)
    rows = [[ratio, *(f'{x:.1f}' for x in row)]
            for ratio, row in zip(FRAME_RATIOS, values)]
    header = ('hidden frames', *(f'{n} hidden joints' for n in NUM_JOINTS))
    return table(header, rows) + f'\n\nFrom scratch: {scratch:.1f}'


def report_occluded(args, study: Study, results: List[dict], path: str) -> str:
    """Table; plot into ``path``."""
    test = Test(args, study)
    runs = {r.name.split('_seed')[0]: r for r in study.runs.values()}
    trained, plain = runs['occluded_finetuned'], runs['finetuned_true']
    pairs = _limbs(study.config(trained))
    methods = {}
    for row in ('finetuned', 'scratch'):
        run = runs[f'occluded_{row}']
        methods[f'MPM for hidden joints, {STARTS[row]}'] = [
            test.network(run, test.dataset(run, [p]), '2d', _name(p))
            for p in pairs
        ]
    for row in ('finetuned', 'scratch'):
        run = runs[f'{row}_true']
        methods[f'lifter, {STARTS[row]}, hidden joints at the body'] = [
            test.network(
                run,
                test.dataset(trained, [p]),
                '2d',
                f'filled_{_name(p)}',
                wrap=filled) for p in pairs
        ]
    methods['linear map from the visible joints'] = [
        test(f'occluded_linear_{_name(p)}', test.dataset(trained, [p]),
             lambda: test.maps(plain, '2d').fit(_visible(p)).method, '2d')
        for p in pairs
    ]
    seen = test.network(plain, test.dataset(plain), '2d', 'visible')
    rows = [[title] +
            [f"{x['mpjpe_hidden']:.1f} ({x['mpjpe']:.1f})" for x in found]
            for title, found in methods.items()]
    rows.append([f'lifter, {STARTS["finetuned"]}, all joints visible'] +
                [f"({seen['mpjpe']:.1f})"] * len(pairs))
    figure, axis = plt.subplots(figsize=(9, 3.8))
    draw_bars(
        axis, {
            title: [[x['mpjpe_hidden']] for x in found]
            for title, found in methods.items()
        }, [_title(p) for p in pairs])
    axis.set_ylabel('MPJPE of hidden joints (mm)')
    save(figure, path)
    return table(('hidden joints (all joints)', *map(_title, pairs)), rows)


def report_completion(args, study: Study, results: List[dict],
                      path: str) -> str:
    """Two tables; plot into ``path``."""
    test = Test(args, study)
    runs = {r.name.split('_seed')[0]: r for r in study.runs.values()}
    trained = runs['completion_finetuned']
    limbs = _limbs(study.config(trained))
    nets = {
        f'MPM for completion, {STARTS[row]}': runs[f'completion_{row}']
        for row in ('finetuned', 'scratch')
    }
    nets['MPM pre-trained, as it is'] = runs['pretrain']

    def lines(fit):
        return completed(fit.method)

    methods = {}
    for title, run in nets.items():
        methods[title] = [
            test.network(run, test.dataset(trained, [x]), '3d', x)
            for x in limbs
        ]
    methods['linear map from the visible joints'] = [
        test(f'completion_linear_{x}', test.dataset(trained, [x]),
             lambda: lines(test.maps(trained, '3d').fit(_visible(x))), '3d')
        for x in limbs
    ]
    methods['mean offset from the body'] = [
        test(f'completion_hung_{x}', test.dataset(trained, [x]),
             lambda: hung(test.maps(trained, '3d').mean_pose()), '3d')
        for x in limbs
    ]
    text = table(('hidden joints (all joints)', *map(_title, limbs)), [[
        title, *(f"{x['mpjpe_hidden']:.1f} ({x['mpjpe']:.1f})" for x in found)
    ] for title, found in methods.items()])

    holes = {}
    rows = []
    for joints in (True, False):
        what = 'three joints' if joints else 'all joints'
        data = test.dataset(trained)
        for step in data.pipeline:
            if step['type'] == 'TubeMask':
                step.update(limbs=[], num_joints=3)
        settings = [(frames, dict(change=hole(frames, joints), inner=True))
                    for frames in HOLES]
        tag = 'joints' if joints else 'frames'
        chosen = {
            title: [
                test.network(run, data, '3d', f'{tag}_{frames}', **kwargs)
                for frames, kwargs in settings
            ]
            for title, run in nets.items()
            if joints or title == 'MPM pre-trained, as it is'
        }
        chosen[INTERPOLATION] = [
            test(f'interpolated_{tag}_{frames}', data, lambda: interpolated,
                 '3d', **kwargs) for frames, kwargs in settings
        ]
        holes[what] = chosen
        rows += [[what, title] + [f"{x['mpjpe_hidden']:.1f}" for x in found]
                 for title, found in chosen.items()]
    text += '\n\n' + table(
        ('missing', 'method', *(f'{n} frames' for n in HOLES)), rows)

    figure, axes = plt.subplots(
        1, 3, figsize=(13, 4), gridspec_kw=dict(width_ratios=(2, 1, 1)))
    draw_bars(
        axes[0], {
            title: [[x['mpjpe_hidden']] for x in found]
            for title, found in methods.items()
        }, [_title(x) for x in limbs])
    axes[0].set(
        title='a limb missing in all frames',
        ylabel='MPJPE of hidden joints (mm)')
    known = [*methods, INTERPOLATION]
    for axis, (what, chosen) in zip(axes[1:], holes.items()):
        for title, found in chosen.items():
            axis.plot(
                HOLES, [x['mpjpe_hidden'] for x in found],
                marker='o',
                color=f'C{known.index(title)}',
                label=title)
        axis.set(
            title=f'{what} missing for a while', xlabel='frames', xticks=HOLES)
        axis.set_ylim(bottom=0)
        axis.grid(alpha=.3)
        axis.legend(fontsize=7)
    save(figure, path)
    return text


def _limbs(cfg: Config) -> list:
    for step in cfg.train_dataloader.dataset.pipeline:
        if step['type'] == 'TubeMask':
            return step['limbs']
    raise ValueError('no TubeMask')


def _name(limb) -> str:
    return limb if isinstance(limb, str) else '+'.join(limb)


def _title(limb) -> str:
    return _name(limb).replace('_', ' ').replace('+', ', ')


def draw_bars(axis, values: Dict[str, Sequence[Sequence[float]]],
              places: Sequence[str]) -> None:
    """Means over the seeds side by side, and their range.

    Args:
        axis: Of Matplotlib.
        values (dict): By its name in the legend: for each place a value for
            each seed.
        places (Sequence[str]): Names on the axis.
    """
    width = 0.8 / len(values)
    for index, (label, cells) in enumerate(values.items()):
        means = [np.mean(cell) for cell in cells]
        axis.bar(
            np.arange(len(places)) + index * width,
            means,
            width * .92,
            label=label,
            capsize=2,
            yerr=[[m - min(cell) for m, cell in zip(means, cells)],
                  [max(cell) - m for m, cell in zip(means, cells)]])
    axis.set_xticks(np.arange(len(places)) + .4 - width / 2, places)
    axis.grid(alpha=.3, axis='y')
    axis.legend(
        fontsize=8,
        frameon=False,
        ncol=2,
        loc='upper center',
        bbox_to_anchor=(.5, -.08))


STUDIES = dict(
    comparison=(plan_comparison, report_comparison),
    masking=(plan_masking, report_masking),
    occluded=(plan_occluded, report_occluded),
    completion=(plan_completion, report_completion))


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('study', choices=STUDIES)
    parser.add_argument('--work-dir', default='work_dirs/mpm_study')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    for name, default, text in (
        ('epochs', 2, 'of lifting and completion'), ('pretrain-epochs', 3,
                                                     'of the pre-training'),
        ('ablation-epochs', 1, 'of each stage in the study of masks'),
        ('clip-step', 15, 'frames from one clip of training to the next'),
        ('val-step', 20, 'the same in validation'), ('test-step', 4,
                                                     'the same in the test')):
        parser.add_argument(f'--{name}', type=int, default=default, help=text)
    return parser.parse_args(argv)


def main(argv: Optional[Sequence[str]] = None) -> None:
    args = parse_args(argv)
    plan, report = STUDIES[args.study]
    study = Study(osp.join(args.work_dir, 'runs'), plan(args))
    results = study.run()
    folder = osp.join(args.work_dir, args.study)
    text = report(args, study, results, osp.join(folder, f'{args.study}.png'))
    finish(folder, args.study, text, results)


if __name__ == '__main__':
    main()
