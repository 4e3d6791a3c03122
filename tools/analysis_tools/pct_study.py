# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Train small pose tokenizers and classifiers side by side, and compare them.

Three studies; docs/pct_results.md tells what they found:

- ``reconstruction``: joint error of the tokenizer against its number of
  tokens and the size of its codebook.
- ``revival``: use of the codebook in the course of training, as published,
  started by k-means, with dead codes revived, with cosine codes.
- ``heads``: the classifier against MMPose's heatmaps and regression on the
  same backbone and images, for visible and for hidden joints.

python tools/analysis_tools/pct_study.py reconstruction --data synthetic mocap
python tools/analysis_tools/pct_study.py revival --seeds 0 1
python tools/analysis_tools/pct_study.py heads --seeds 0 1

Every run is a config with options, trained by MMEngine's Runner in this
process. What is finished is reused, unless its config has changed. Tables and
plots are written to the work directory.
"""
import argparse
import os.path as osp
from typing import List, Optional, Sequence

import matplotlib.pyplot as plt
import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.runner import Runner
from mmpose.registry import DATASETS
from study import (Run, Study, finish, groups, last, mean_and_range,
                   plot_range, save, table)
from torch.utils.data import Dataset

TOKENIZERS = dict(
    synthetic='pct/pct_tokenizer_synthetic-96x96.py',
    mocap='pct/pct_tokenizer_mocap.py')
TOKENS = (4, 8, 17, 34, 68)
CODES = (64, 256, 1024, 2048)
#: What is varied around.
BASE_TOKENS, BASE_CODES = 34, 256

#: Variants of the codebook, by their name in tables.
CODEBOOKS = {
    'as published':
    dict(),
    'revival':
    dict(revive_threshold=0.05),
    'k-means start':
    dict(kmeans_iters=10),
    'k-means start, revival':
    dict(kmeans_iters=10, revive_threshold=0.05),
    'cosine codes, k-means start, revival':
    dict(distance='cosine', kmeans_iters=10, revive_threshold=0.05),
}

HEADS = dict(
    heatmap='pct/heatmap_res18_synthetic-96x96.py',
    regression='pct/regression_res18_synthetic-96x96.py',
    pct='pct/pct_classifier_res18_synthetic-96x96.py')
HEAD_TITLES = dict(
    heatmap='HeatmapHead', regression='RegressionHead', pct='PCTHead')
# From scratch: the better of 2e-3 and 5e-3 on the validation set after three
# epochs, each; for heatmaps see docs/results.md.
SCRATCH_RATES = dict(heatmap=7e-3, regression=5e-3, pct=5e-3)


# ------------------------------- what is run --------------------------------
def by_steps(steps: int, every: int) -> dict:
    """Options that train for a number of steps, with a validation each
    ``every``."""
    return {
        'train_cfg':
        dict(
            _delete_=True, by_epoch=False, max_iters=steps,
            val_interval=every),
        'param_scheduler': [
            dict(
                type='LinearLR',
                start_factor=0.01,
                by_epoch=False,
                begin=0,
                end=min(60, steps)),
            dict(type='CosineAnnealingLR', eta_min=0, by_epoch=False)
        ],
        'default_hooks.checkpoint':
        dict(by_epoch=False, interval=steps),
        'default_hooks.logger':
        dict(log_metric_by_epoch=False),
        'log_processor.by_epoch':
        False,
    }


def tokenizer_run(args, data: str, tokens: int, codes: int, every: int,
                  seed: int, **quantizer) -> dict:
    """Config, options and so on of a tokenizer that stands by itself."""
    evaluator = [
        dict(type='KeypointErrorMetric', unit='box'),
        dict(type='CodebookMetric', num_codes=codes)
    ]
    options = {
        **by_steps(args.tokenizer_steps, every),
        'model.tokenizer.num_tokens': tokens,
        'model.tokenizer.num_codes': codes,
        'val_evaluator': evaluator,
        'test_evaluator': evaluator,
        'randomness': dict(seed=seed),
    }
    if quantizer.pop('replace', False):
        options['model.tokenizer.quantizer'] = dict(_delete_=True, **quantizer)
    if data == 'synthetic':
        for split, people in (('train', args.poses), ('val', args.val_poses)):
            options.update({
                f'{split}_dataloader.dataset.length': people,
                f'{split}_dataloader.dataset.cache_dir': None
            })
    return dict(
        config=TOKENIZERS[data],
        options=options,
        work=args.tokenizer_steps,
        change=prepare)


def plan_reconstruction(args) -> List[Run]:
    """Numbers of tokens, then sizes of the codebook."""
    sizes = [(n, BASE_CODES) for n in TOKENS]
    sizes += [(BASE_TOKENS, v) for v in CODES if v != BASE_CODES]
    return [
        Run(f'{data}_{tokens}x{codes}_seed{seed}',
            labels=dict(data=data, tokens=tokens, codes=codes, seed=seed),
            **tokenizer_run(args, data, tokens, codes, args.tokenizer_steps,
                            seed)) for data in args.data for seed in args.seeds
        for tokens, codes in sizes
    ]


def plan_revival(args) -> List[Run]:
    """Ways to keep the codebook in use, at two sizes."""
    every = max(args.tokenizer_steps // 12, 1)
    return [
        Run(
            f'{data}_{title.replace(",", "").replace(" ", "-")}_{codes}_'
            f'seed{seed}',
            labels=dict(data=data, codebook=title, codes=codes, seed=seed),
            **tokenizer_run(
                args,
                data,
                BASE_TOKENS,
                codes,
                every,
                seed,
                replace=True,
                **quantizer)) for data in args.data for codes in args.codes
        for seed in args.seeds for title, quantizer in CODEBOOKS.items()
    ]


def head_run(head: str, training: str, steps: int, seed: int,
             common: dict) -> Run:
    """A head with its backbone: 'from scratch', or on the 'frozen backbone'
    of the heatmaps."""
    options = {**common, **by_steps(steps, max(steps // 4, 1))}
    needs = {}
    if training == 'from scratch':
        options['model.backbone.frozen_stages'] = -1
        options['optim_wrapper.optimizer.lr'] = SCRATCH_RATES[head]
    else:
        options['model.backbone.frozen_stages'] = 4
        options['model.backbone.init_cfg'] = dict(
            type='Pretrained', prefix='backbone.')
        needs['model.backbone.init_cfg.checkpoint'] = (
            f'heatmap_from-scratch_seed{seed}')
    if head == 'pct':
        needs['model.head.tokenizer_checkpoint'] = f'tokenizer_seed{seed}'
    name = f'{head}_{training.replace(" ", "-")}_seed{seed}'
    labels = dict(network=head, training=training, seed=seed)
    measure = measure_tokens if head == 'pct' else None
    return Run(
        name,
        HEADS[head],
        options,
        labels,
        steps,
        needs,
        test=True,
        measure=measure)


def plan_heads(args) -> List[Run]:
    """The tokenizer; all heads from scratch; all heads on the backbone of
    the heatmaps."""
    evaluator = [dict(type='KeypointErrorMetric')]
    images = dict(val_evaluator=evaluator, test_evaluator=evaluator)
    for split, people in (('train', args.images), ('val', args.val_images),
                          ('test', args.test_images)):
        dataset = f'{split}_dataloader.dataset'
        images[f'{dataset}.length'] = people
        images[f'{dataset}.cache_dir'] = args.cache_dir
    runs = []
    for seed in args.seeds:
        common = {**images, 'randomness': dict(seed=seed)}
        steps = by_steps(args.tokenizer_steps, args.tokenizer_steps)
        labels = dict(network='tokenizer', training='alone', seed=seed)
        runs.append(
            Run(f'tokenizer_seed{seed}',
                TOKENIZERS['synthetic'], {
                    **common,
                    **steps
                },
                labels,
                work=args.tokenizer_steps,
                change=prepare,
                test=True))
        for training, steps in (('from scratch', args.steps),
                                ('frozen backbone', args.frozen_steps)):
            runs += [
                head_run(head, training, steps, seed, common) for head in HEADS
            ]
    return runs


# ------------------------------ how it is run -------------------------------
@DATASETS.register_module()
class PreparedDataset(Dataset):
    """Another data set, taken through its pipeline once and kept in memory
    for all runs of this process.

    Args:
        dataset (dict): Config of the data set.
        rounds (int): How often each item goes through its pipeline, whose
            flips are random.
        inputs_only (bool): Keep no labels, which a training of the tokenizer
            does not read.
    """

    _kept: dict = {}

    def __init__(self,
                 dataset: dict,
                 rounds: int = 1,
                 inputs_only: bool = False) -> None:
        key = f'{dataset} {rounds} {inputs_only}'
        if key not in self._kept:
            np.random.seed(0)
            source = DATASETS.build(dataset)
            items = [
                source[i] for _ in range(rounds) for i in range(len(source))
            ]
            if inputs_only:
                items = [dict(inputs=item['inputs']) for item in items]
            self._kept[key] = items, source.metainfo
        self._items, self.metainfo = self._kept[key]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> dict:
        item = dict(self._items[index])
        if 'data_samples' in item:  # predictions are written into it
            item['data_samples'] = item['data_samples'].clone()
        return item


def prepare(cfg: Config) -> None:
    """Keep all samples in memory, ready for the network; for poses, which are
    small, and augmented by the flip alone."""
    for split in ('train', 'val', 'test'):
        loader = cfg[f'{split}_dataloader']
        train = split == 'train'
        loader.dataset = dict(
            type='PreparedDataset',
            dataset=loader.dataset,
            rounds=2 if train else 1,
            inputs_only=train)


def measure_tokens(runner: Runner) -> dict:
    """Share of tokens of the test set that the classifier gets right."""
    return dict(
        token_accuracy=_token_accuracy(runner.model,
                                       runner.test_dataloader.dataset))


@torch.no_grad()
def _token_accuracy(model: torch.nn.Module, dataset: Dataset) -> float:
    """Share of tokens for which the classifier's first choice is the code
    that the tokenizer gives to the true joints."""
    model.eval()
    total = 0.
    for start in range(0, len(dataset), 50):
        items = range(start, min(start + 50, len(dataset)))
        batch = model.data_preprocessor(
            pseudo_collate([dataset[i] for i in items]))
        losses = model(**batch, mode='loss')
        total += float(losses['acc_token']) * len(items)
    return total / len(dataset)


# ------------------------------ what came of it -----------------------------
def report_reconstruction(results: List[dict], path: str) -> str:
    """Table; plot into ``path``."""
    rows = []
    found = groups(results, 'data', 'tokens', 'codes')
    for (data, tokens, codes), same in found.items():
        rows.append([
            data, tokens, codes, f'{tokens * np.log2(codes):.0f}',
            mean_and_range(last(same, 'keypoint/epe')),
            mean_and_range(last(same, 'keypoint/pck_0.05'), '{:.3f}'),
            mean_and_range(last(same, 'codebook/usage'), '{:.2f}'),
            mean_and_range(last(same, 'codebook/perplexity'), '{:.0f}')
        ])
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True)
    for data in dict.fromkeys(key[0] for key in found):
        for axis, index, fixed in ((axes[0], 1, BASE_CODES), (axes[1], 2,
                                                              BASE_TOKENS)):
            points = sorted((key[index], last(same, 'keypoint/epe'))
                            for key, same in found.items()
                            if key[0] == data and key[3 - index] == fixed)
            plot_range(axis, [p for p, _ in points], [e for _, e in points],
                       data)
    for axis, title, label in ((axes[0], f'{BASE_CODES} codes', 'tokens'),
                               (axes[1], f'{BASE_TOKENS} tokens', 'codes')):
        axis.set(title=title, xlabel=label, xscale='log')
        axis.set_ylim(bottom=0)
    axes[0].set_xticks(TOKENS, TOKENS)
    axes[1].set_xticks(CODES, CODES)
    axes[0].set_ylabel('mean joint error (% of the box)')
    axes[0].legend()
    save(figure, path)
    return table(('data', 'tokens', 'codes', 'bits a pose', 'error (% of box)',
                  'PCK@0.05', 'codebook used', 'perplexity'), rows)


def report_revival(results: List[dict], path: str) -> str:
    """Table; plot into ``path``."""
    rows = []
    found = groups(results, 'data', 'codes', 'codebook')
    for (data, codes, title), same in found.items():
        rows.append([
            data, codes, title,
            mean_and_range(last(same, 'codebook/usage')),
            mean_and_range(last(same, 'codebook/perplexity'), '{:.0f}'),
            mean_and_range(last(same, 'keypoint/epe'))
        ])
    columns = groups(results, 'data', 'codes')
    figure, axes = plt.subplots(
        2,
        len(columns),
        figsize=(4.6 * len(columns), 6),
        sharex=True,
        sharey='row',
        squeeze=False)
    for column, ((data, codes), members) in enumerate(columns.items()):
        found = groups(members, 'codebook')
        for row, key in enumerate(('codebook/usage', 'keypoint/epe')):
            for (title, ), same in found.items():
                steps = [entry['step'] for entry in same[0]['history']]
                values = np.array([[entry[key] for entry in result['history']]
                                   for result in same])
                plot_range(axes[row, column], steps, values.T, title)
        axes[0, column].set(title=f'{data}, {codes} codes', ylim=(0, 1.02))
        axes[1, column].set(xlabel='step')
    axes[0, 0].set_ylabel('share of the codebook in use')
    axes[1, 0].set_ylabel('mean joint error (% of the box)')
    axes[1, 0].set_ylim(bottom=0)
    axes[1, -1].legend(fontsize=8)
    save(figure, path)
    return table(('data', 'codes', 'codebook', 'used', 'perplexity',
                  'error (% of box)'), rows)


def report_heads(results: List[dict], path: str) -> str:
    """Table; plot into ``path``."""
    rows, bars = [], {}
    groups_ = ('', '_visible', '_hidden')
    for (training, network), same in groups(results, 'training',
                                            'network').items():
        tests = [result['test'] for result in same]

        def cell(key, form):
            if key not in tests[0]:
                return ''
            return mean_and_range([test[key] for test in tests], form)

        rows.append([
            training,
            HEAD_TITLES.get(network, network), same[0]['steps'],
            mean_and_range([r['seconds'] for r in same],
                           '{:.0f}'), f"{same[0]['parameters'] / 1e6:.2f}",
            *(cell(f'keypoint/epe{g}', '{:.2f}') for g in groups_),
            *(cell(f'keypoint/pck_0.05{g}', '{:.3f}') for g in groups_),
            cell('token_accuracy', '{:.3f}')
        ])
        if all(f'keypoint/epe{g}' in tests[0] for g in groups_):
            bars[training,
                 network] = [[test[f'keypoint/epe{g}'] for test in tests]
                             for g in groups_]
    trainings = list(dict.fromkeys(key[0] for key in bars))
    figure, axes = plt.subplots(
        1,
        len(trainings),
        figsize=(3.8 * len(trainings), 3.4),
        sharey=True,
        squeeze=False,
        gridspec_kw=dict(width_ratios=[
            sum(key[0] == training for key in bars) + .6
            for training in trainings
        ]))
    for axis, training in zip(axes[0], trainings):
        chosen = {k[1]: v for k, v in bars.items() if k[0] == training}
        width = 0.8 / len(chosen)
        for index, (network, values) in enumerate(chosen.items()):
            means = [np.mean(v) for v in values]
            error = [[m - min(v) for m, v in zip(means, values)],
                     [max(v) - m for m, v in zip(means, values)]]
            axis.bar(
                np.arange(3) + index * width,
                means,
                width * .92,
                yerr=error,
                capsize=2,
                label=HEAD_TITLES.get(network, network),
                color=f'C{list(("tokenizer", *HEADS)).index(network)}')
        axis.set_xticks(
            np.arange(3) + .4 - width / 2, ('all', 'visible', 'hidden'))
        axis.set_title(training)
        axis.legend(
            fontsize=8,
            ncol=len(chosen),
            frameon=False,
            columnspacing=1,
            loc='upper center',
            bbox_to_anchor=(.5, -.08))
    axes[0, 0].set_ylabel('mean joint error (px)')
    save(figure, path)
    return table(('training', 'network', 'steps', 'CPU seconds', 'trained (M)',
                  'error (px)', 'visible', 'hidden', 'PCK@0.05', 'visible',
                  'hidden', 'tokens right'), rows)


STUDIES = dict(
    reconstruction=(plan_reconstruction, report_reconstruction),
    revival=(plan_revival, report_revival),
    heads=(plan_heads, report_heads))


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('study', choices=STUDIES)
    parser.add_argument('--work-dir', default='work_dirs/pct_study')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0])
    parser.add_argument(
        '--data',
        nargs='+',
        choices=TOKENIZERS,
        default=['synthetic'],
        help='reconstruction, revival: poses of the built-in data, of motion '
        'capture')
    parser.add_argument(
        '--codes',
        type=int,
        nargs='+',
        default=[256, 2048],
        help='revival: sizes of the codebook')
    parser.add_argument(
        '--cache-dir',
        default='data/synthetic_body_small',
        help='heads: where pictures are kept, or rendered to')
    for name, default in (('tokenizer-steps', 1500), ('steps', 2000),
                          ('frozen-steps', 1000), ('poses', 12000),
                          ('val-poses', 1000), ('images', 6000),
                          ('val-images', 300), ('test-images', 1000)):
        parser.add_argument(f'--{name}', type=int, default=default)
    return parser.parse_args(argv)


def main(argv: Optional[Sequence[str]] = None) -> None:
    args = parse_args(argv)
    plan, report = STUDIES[args.study]
    folder = osp.join(args.work_dir, args.study)
    results = Study(folder, plan(args)).run()
    text = report(results, osp.join(folder, f'{args.study}.png'))
    finish(folder, args.study, text, results)


if __name__ == '__main__':
    main()
