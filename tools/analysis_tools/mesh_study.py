# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Which tokens help, and do they help more where more is hidden?

Trains the small mesh transformer on the built-in data with image tokens, with
pose tokens, with both, and with both where the pose tokens are those of the
true 2D pose (Tables 5 and 6 of PostoMETRO), all with the same people, steps
and settings, and compares them by the hidden share of the person. On demand
with image tokens of a backbone that learns on, too.

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
from study import (Run, Study, finish, groups, mean_and_range, plot_range,
                   save, table)

BACKBONE, TOKENIZER, CLASSIFIER = 'heatmap', 'tokenizer', 'classifier'
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
#: What is compared: the worse one, as the paper has it, and the better one.
PAIRS = (('image', 'both'), ('pose', 'both'), ('image, learning backbone',
                                               'both, learning backbone'))
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
    needs = {
        BACKBONE: {},
        TOKENIZER: {},
        CLASSIFIER: {
            'model.head.tokenizer_checkpoint': TOKENIZER,
            **needs_backbone
        }
    }
    work = {BACKBONE: 2.3, TOKENIZER: .5, CLASSIFIER: .8}
    epochs = {}
    if args.epochs is not None:
        epochs['train_cfg.max_epochs'] = args.epochs
    runs = []
    for name, config in PREPARE.items():
        options = {**common, 'randomness': dict(seed=0)}
        if name == CLASSIFIER:
            options.update(backbone)
        runs.append(
            Run(name,
                config,
                options,
                dict(network=name),
                work[name],
                needs[name],
                test=True))
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
                needed['model.pose_branch_checkpoint'] = CLASSIFIER
            runs.append(
                Run(name,
                    MESH,
                    options,
                    dict(network='mesh', tokens=tokens, seed=seed, name=name),
                    .6 * (args.epochs or 2),
                    needed,
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


def report(folder: str, results: List[dict]) -> str:
    """Tables; the plot into ``folder``."""
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
            row = [name, int(inside.sum())]
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
        text = table(['hidden', 'people', *people, *gains], rows)
        for worse, better in pairs:
            text += (
                f'\n\nThe gain of {better} over {worse} grows by '
                '{:.2f} mm ({:.2f}) for each tenth that is hidden.').format(
                    *slope(occlusion, people[worse][key], people[better][key]))
        texts.append(f'{title} (mm):\n\n{text}')
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
    results = Study(args.work_dir, plan(args)).run()
    finish(args.work_dir, 'mesh_study', report(args.work_dir, results),
           results)


if __name__ == '__main__':
    main()
