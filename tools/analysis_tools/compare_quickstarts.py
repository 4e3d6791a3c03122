# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Image only against PostoMETRO, by occlusion, over runs of the quick start.

Runs differ in their seed; what they disagree in is noise.

python tools/analysis_tools/compare_quickstarts.py \
    work_dirs/quickstart work_dirs/quickstart_seed1
"""
import argparse
import os.path as osp
from typing import Dict, List

import numpy as np

from mpm_postometro.apis.quickstart import COMPARED, METRICS

EDGES = (0., .25, .5, .75, 1.)


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'runs', nargs='+', help='work directories of finished quick starts')
    return parser.parse_args()


def read_run(folder: str) -> Dict[str, Dict[str, np.ndarray]]:
    """What ``MeshMetric`` wrote about each person, network by network.

    Raises:
        FileNotFoundError: If the run did not get to its evaluation.
    """
    run = {}
    for network in COMPARED:
        path = osp.join(folder, 'evaluation', f'{network}.npz')
        if not osp.isfile(path):
            raise FileNotFoundError(
                f'{path} is missing: {folder} is not the work directory of a '
                'finished quick start')
        with np.load(path) as file:
            rows = np.argsort(file['id'], kind='stable')
            run[network] = {
                key: column[rows]
                for key, column in file.items() if column.ndim
            }
    first, second = (run[network] for network in COMPARED)
    if not np.array_equal(first['id'], second['id']):
        raise ValueError(f'{folder}: the networks were tested on different '
                         'people')
    return run


def table(runs: List[Dict[str, Dict[str, np.ndarray]]], metric: str) -> str:
    """One Markdown table: a row for each occlusion bin, a column for each
    network and run, and the gain of the tokens with its standard error over
    people."""
    header = ['hidden', 'people']
    for title in COMPARED.values():
        header += [f'{title}, run {i}' for i in range(len(runs))]
    header += ['gain (standard error)']
    lines = [header, ['---'] * len(header)]
    occlusion = runs[0]['image_only']['occlusion']
    bins = [('all', np.ones(len(occlusion), bool))]
    for low, high in zip(EDGES[:-1], EDGES[1:]):
        inside = (occlusion >= low) & (occlusion < high)
        if high == EDGES[-1]:
            inside |= occlusion == high
        bins.append((f'{low:.2f}-{high:.2f}', inside))
    for name, inside in bins:
        known = inside & np.isfinite(runs[0]['image_only'][metric])
        if not known.any():
            continue
        row = [name, str(known.sum())]
        for network in COMPARED:
            row += [
                f'{run[network][metric][known].mean():.1f}' for run in runs
            ]
        gains = np.mean([
            run['image_only'][metric][known] - run['postometro'][metric][known]
            for run in runs
        ], 0)
        error = gains.std(ddof=1) / len(gains)**.5 if len(gains) > 1 else 0.
        row.append(f'{gains.mean():.1f} ({error:.1f})')
        lines.append(row)
    return '\n'.join(f'| {" | ".join(line)} |' for line in lines)


def main():
    args = parse_args()
    runs = [read_run(folder) for folder in args.runs]
    for metric in METRICS:
        print(f'\n{metric} (mm)\n')
        print(table(runs, metric))


if __name__ == '__main__':
    main()
