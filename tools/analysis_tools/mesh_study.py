# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Which tokens help, and do they help more where more is hidden?

Trains the small mesh transformer on the built-in data with image tokens, with
pose tokens, with both, and with both where the pose tokens are those of the
true 2D pose (Tables 5 and 6 of PostoMETRO), all with the same people, steps
and settings, and compares them by the hidden share of the person. On demand
also with image tokens of a backbone that learns on, and with pose tokens of a
branch that has a wider backbone of its own.

python tools/analysis_tools/mesh_study.py --seeds 0 1 2

Backbone, tokenizer and classifier are trained once, and all mesh transformers
keep them frozen. The seeds are those of the mesh transformers. What is
finished is reused, unless its config has changed; what was interrupted goes
on. docs/postometro_results.md tells what came out.
"""
import argparse
import os.path as osp
from typing import Dict, List, Optional, Sequence, Tuple

import matplotlib.pyplot as plt
import numpy as np
import torch
from mmengine.dataset import pseudo_collate
from mmpose.registry import DATASETS, MODELS
from study import (Run, Study, finish, groups, mean_and_range, plot_range,
                   save, table)

from mpm_postometro.compat import load_checkpoint_file
from mpm_postometro.files import atomic_write

BACKBONE, TOKENIZER, CLASSIFIER = 'heatmap', 'tokenizer', 'classifier'
WIDE = '_wide'
PREPARE = {
    BACKBONE: 'pct/heatmap_res18_synthetic-96x96.py',
    TOKENIZER: 'pct/pct_tokenizer_synthetic-96x96.py',
    CLASSIFIER: 'pct/pct_classifier_res18_synthetic-96x96.py'
}
MESH = 'postometro/postometro_res18_synthetic-96x96.py'
#: Name in tables -> options of the config.
TOKENS: Dict[str, dict] = {
    'image': {
        'model.pose_branch': None,
        'model.head.use_pose_tokens': False
    },
    'pose': {
        'model.backbone': None,
        'model.head.use_image_tokens': False
    },
    'both': {},
    'both, true pose': {
        'model.token_source': 'ground_truth'
    },
}
#: What is trained by default.
FOUR = tuple(TOKENS)
# The same with a backbone that learns on, slowly, as in the paper.
_LEARNING = {
    'model.backbone.frozen_stages': -1,
    'optim_wrapper.paramwise_cfg':
    dict(custom_keys={'backbone': dict(lr_mult=.1)})
}
TOKENS.update({
    f'{tokens}, learning backbone': {
        **TOKENS[tokens],
        **_LEARNING
    }
    for tokens in ('image', 'both')
})
# The same where the pose branch has a backbone of its own, of twice the width:
# in the paper it sees more than the backbone of the image tokens, too.
_WIDE = dict(stem_channels=32, base_channels=32)
_WIDE_CHANNELS = 256
TOKENS.update({
    f'{tokens}, wide branch': {
        **TOKENS[tokens],
        **{
            f'model.pose_branch.backbone.{k}': v
            for k, v in _WIDE.items()
        }, 'model.pose_branch.head.in_channels': _WIDE_CHANNELS
    }
    for tokens in ('pose', 'both')
})
#: What is compared: the worse one, as the paper has it, and the better one.
PAIRS = (('image', 'both'), ('pose', 'both'), ('both', 'both, true pose'),
         ('image, learning backbone', 'both, learning backbone'),
         ('image', 'both, wide branch'), ('pose, wide branch',
                                          'both, wide branch'))
METRICS = dict(mpjpe='MPJPE', pa_mpjpe='PA-MPJPE', mpvpe='MPVPE')
#: Edges of the groups by the hidden share of the person.
EDGES = (0., .05, .2, .35, .5, 1.)


# ------------------------------- what is run --------------------------------
def plan(args) -> List[Run]:
    """Backbone, tokenizer, classifier, then the mesh transformers."""
    common = {}
    for split, people in (('train', args.images), ('val', args.val_images),
                          ('test', args.test_images)):
        dataset = f'{split}_dataloader.dataset'
        common[f'{dataset}.length'] = people
        common[f'{dataset}.cache_dir'] = args.cache_dir
    backbone = {
        'model.backbone.init_cfg': dict(type='Pretrained', prefix='backbone.')
    }
    needs_backbone = {'model.backbone.init_cfg.checkpoint': BACKBONE}
    epochs = {}
    if args.epochs is not None:
        epochs['train_cfg.max_epochs'] = args.epochs
    runs = _prepare(common, any('wide' in x for x in args.tokens))
    for seed in args.seeds:
        for tokens in args.tokens:
            name = f"{tokens.replace(', ', '-').replace(' ', '-')}_seed{seed}"
            options = {
                **common,
                **epochs,
                **TOKENS[tokens], 'randomness':
                dict(seed=seed),
                'test_evaluator.dump':
                osp.join(osp.abspath(args.work_dir), name, 'people.npz')
            }
            needed = {}
            if 'model.backbone' not in TOKENS[tokens]:
                options.update(backbone)
                needed.update(needs_backbone)
            if 'model.pose_branch' not in TOKENS[tokens]:
                needed['model.pose_branch_checkpoint'] = (
                    CLASSIFIER + WIDE * ('wide' in tokens))
            runs.append(
                Run(name,
                    MESH,
                    options,
                    dict(network='mesh', tokens=tokens, seed=seed, name=name),
                    .6 * (args.epochs or 2),
                    needed,
                    test=True))
    return runs


def _prepare(common: dict, wide: bool) -> List[Run]:
    """The trainings that come before the mesh transformers."""
    runs = []
    for suffix in ('', WIDE) if wide else ('', ):
        width = {}
        if suffix:
            width = {f'model.backbone.{k}': v for k, v in _WIDE.items()}
            width['model.head.in_channels'] = _WIDE_CHANNELS
        for name, work in ((BACKBONE, 2.3), (TOKENIZER, .5), (CLASSIFIER, .8)):
            options = {**common, 'randomness': dict(seed=0)}
            needs = {}
            if name == TOKENIZER:
                if suffix:  # has no backbone
                    continue
            else:
                options.update(width)
            if name == CLASSIFIER:
                options['model.backbone.init_cfg'] = dict(
                    type='Pretrained', prefix='backbone.')
                needs = {
                    'model.head.tokenizer_checkpoint': TOKENIZER,
                    'model.backbone.init_cfg.checkpoint': BACKBONE + suffix
                }
            name = name + suffix
            runs.append(
                Run(name,
                    PREPARE[name.replace(WIDE, '')],
                    options,
                    dict(network=name),
                    work * (3 if suffix else 1),
                    needs,
                    test=True))
    return runs


# ------------------------------ what came of it -----------------------------
def read_people(folder: str, results: Sequence[dict]) -> Dict[str, dict]:
    """Errors of each person, one row a seed.

    Args:
        folder (str): Of the study.
        results (list[dict]): Of the mesh transformers.

    Returns:
        dict[str, dict]: Tokens -> metric -> (S, P) mm; and ``occlusion``
        (P,), the hidden share of each person.
    """
    found: Dict[str, dict] = {}
    for (tokens, ), same in groups(results, 'tokens').items():
        files = [
            np.load(osp.join(folder, result['name'], 'people.npz'))
            for result in same
        ]
        rows = {key: np.stack([f[key] for f in files]) for key in METRICS}
        rows['occlusion'] = files[0]['occlusion']
        found[tokens] = rows
    return found


@torch.no_grad()
def measure_branch(study: Study, run: Run, path: str) -> None:
    """Write how far the 2D joints that pose tokens stand for are off.

    Args:
        study (Study): It has trained the classifier.
        run (Run): The classifier.
        path (str): The .npz: ``error`` (P,), mean over the labelled joints of
            a test person, pixels of the picture.
    """
    cfg = study.config(run, test=True)
    model = MODELS.build(cfg.model)
    model.load_state_dict(
        load_checkpoint_file(study.checkpoint(run.name), 'cpu')['state_dict'])
    model.eval()
    dataset = DATASETS.build(cfg.test_dataloader.dataset)
    errors = []
    for start in range(0, len(dataset), 50):
        items = range(start, min(start + 50, len(dataset)))
        for sample in model.test_step(
                pseudo_collate([dataset[i] for i in items])):
            true = sample.gt_instances
            off = sample.pred_instances.keypoints - true.keypoints
            known = true.keypoints_visible[0] > 0
            errors.append(np.linalg.norm(off[0], axis=-1)[known].mean())
        study.progress.update('2D errors of pose tokens',
                              len(errors) / len(dataset), '')
    atomic_write(path, lambda name: np.savez(name, error=np.array(errors)))


def halves(occlusion: np.ndarray) -> Dict[str, np.ndarray]:
    """Which people (P,) are in the clean and in the occluded half."""
    order = np.argsort(occlusion, kind='stable')
    clean = np.zeros(len(occlusion), bool)
    clean[order[:len(order) // 2]] = True
    return dict(all=np.ones_like(clean), clean=clean, occluded=~clean)


def bins(occlusion: np.ndarray) -> List[Tuple[str, np.ndarray]]:
    """Groups by the hidden share that have people in them."""
    found = []
    for low, high in zip(EDGES, EDGES[1:]):
        inside = (occlusion >= low) & (occlusion < high)
        if high == EDGES[-1]:
            inside |= occlusion == high
        if inside.any():
            found.append((f'{low:.2f}-{high:.2f}', inside))
    return found


def gain(worse: np.ndarray, better: np.ndarray) -> Tuple[float, float]:
    """Mean difference of two errors (S, P), and its standard error over
    people."""
    difference = worse.mean(0) - better.mean(0)
    if len(difference) < 2:
        return float(difference.mean()), float('nan')
    return difference.mean(), difference.std(ddof=1) / len(difference)**.5


def slope(occlusion: np.ndarray, worse: np.ndarray,
          better: np.ndarray) -> Tuple[float, float]:
    """How much the gain grows for each tenth of the person that is hidden:
    least squares over people, and the standard error of it."""
    x = 10 * (occlusion - occlusion.mean())
    y = worse.mean(0) - better.mean(0)
    power = (x * x).sum()
    estimate = (x * y).sum() / power
    rest = y - y.mean() - estimate * x
    return estimate, (rest.var(ddof=1) * len(x))**.5 / (len(x)**.5 * power**.5)


def by_quality(people: Dict[str, dict], error: np.ndarray,
               pairs: Sequence[Tuple[str, str]]) -> str:
    """Table of what pose tokens bring to quarters of the people, by how good
    these people's tokens are."""
    occlusion = next(iter(people.values()))['occlusion']
    quarters = np.array_split(np.argsort(error, kind='stable'), 4)
    rows = []
    for inside in quarters:
        row = [
            f'{error[inside].mean():.1f}', f'{occlusion[inside].mean():.2f}',
            len(inside)
        ]
        for worse, better in pairs:
            row += [
                '{:.1f} ({:.1f})'.format(*gain(people[worse][key][:, inside],
                                               people[better][key][:, inside]))
                for key in METRICS
            ]
        rows.append(row)
    header = ['2D error of the tokens (px)', 'hidden', 'people'] + [
        f'{title}: gain of {better} over {worse}' for worse, better in pairs
        for title in METRICS.values()
    ]
    return table(header, rows)


def report(folder: str, results: List[dict], error: np.ndarray) -> str:
    """Tables; the plot into ``folder``.

    Args:
        folder (str): Of the study.
        results (list[dict]): Of all runs.
        error (np.ndarray): (P,), see :func:`measure_branch`.
    """
    people = read_people(folder,
                         [r for r in results if r['network'] == 'mesh'])
    occlusion = next(iter(people.values()))['occlusion']
    parts = halves(occlusion)
    texts = []
    rows = []
    for tokens, errors in people.items():
        rows.append([
            tokens, *(mean_and_range(errors[key][:, inside].mean(1), '{:.1f}')
                      for inside in parts.values() for key in METRICS)
        ])
    header = ['tokens'] + [
        f'{title} ({name})' for name in parts for title in METRICS.values()
    ]
    texts.append(table(header, rows))

    shown = bins(occlusion)
    pairs = [pair for pair in PAIRS if set(pair) <= people.keys()]
    for key, title in METRICS.items():
        rows = []
        for name, inside in [('all', parts['all']), *shown]:
            row = [name, int(inside.sum()), f'{error[inside].mean():.1f}']
            for errors in people.values():
                row.append(
                    mean_and_range(errors[key][:, inside].mean(1), '{:.1f}'))
            for worse, better in pairs:
                row.append('{:.1f} ({:.1f})'.format(*gain(
                    people[worse][key][:,
                                       inside], people[better][key][:,
                                                                    inside])))
            rows.append(row)
        gains = [
            f'gain of {better} over {worse} (standard error)'
            for worse, better in pairs
        ]
        text = table(
            ['hidden', 'people', '2D error of the tokens (px)', *people] +
            gains, rows)
        for worse, better in pairs:
            text += (
                f'\n\nThe gain of {better} over {worse} grows by '
                '{:.2f} mm ({:.2f}) for each tenth that is hidden.').format(
                    *slope(occlusion, people[worse][key], people[better][key]))
        texts.append(f'{title} (mm):\n\n{text}')
    texts.append('Quarters of the people by their tokens (mm):\n\n' +
                 by_quality(people, error, pairs))
    _plot(people, occlusion, shown, osp.join(folder, 'mesh_study.png'))
    return '\n\n'.join(texts)


def _plot(people: Dict[str, dict], occlusion: np.ndarray,
          shown: List[Tuple[str, np.ndarray]], path: str) -> None:
    figure, axes = plt.subplots(1, len(METRICS), figsize=(11, 3.6))
    x = [100 * occlusion[inside].mean() for _, inside in shown]
    for axis, (key, title) in zip(axes, METRICS.items()):
        for tokens, errors in people.items():
            plot_range(axis, x,
                       [errors[key][:, inside].mean(1) for _, inside in shown],
                       tokens)
        axis.set(
            title=title, xlabel='hidden part of the person (%)', ylabel='mm')
    axes[0].legend(title='tokens', fontsize=8)
    save(figure, path)


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--work-dir', default='work_dirs/mesh_study')
    parser.add_argument('--seeds', type=int, nargs='+', default=[0, 1, 2])
    parser.add_argument('--tokens', nargs='+', choices=TOKENS, default=FOUR)
    parser.add_argument(
        '--cache-dir',
        default='data/synthetic_body_small',
        help='where pictures are kept, or rendered to')
    parser.add_argument(
        '--epochs',
        type=int,
        help='of the mesh transformers; by default as the config has it')
    for name, default in (('images', 12000), ('val-images', 300),
                          ('test-images', 2000)):
        parser.add_argument(f'--{name}', type=int, default=default)
    return parser.parse_args(argv)


def main(argv: Optional[Sequence[str]] = None) -> None:
    args = parse_args(argv)
    runs = plan(args)
    study = Study(args.work_dir, runs)
    results = study.run()
    path = osp.join(args.work_dir, CLASSIFIER, 'people.npz')
    if not osp.isfile(path):
        classifier, = (run for run in runs if run.name == CLASSIFIER)
        measure_branch(study, classifier, path)
    with np.load(path) as file:
        error = file['error']
    finish(args.work_dir, 'mesh_study', report(args.work_dir, results, error),
           results)


if __name__ == '__main__':
    main()
