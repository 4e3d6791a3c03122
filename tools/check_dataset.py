# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Look through data sets: files, labels, pictures; see docs/datasets.md.

python tools/check_dataset.py CONFIG
python tools/check_dataset.py SPINDataset --cfg-options \\
    ann_file=data/cliff/mpii_cliffGT.npz data_prefix.img=data/mpii --all
"""
import argparse
import sys
from pathlib import Path

from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope

import mpm_postometro  # noqa: F401  (registers modules, mends imports)
from mpm_postometro.apis.dataset_check import check_dataset, find_datasets
from mpm_postometro.apis.progress import ProgressLine
from mpm_postometro.bodies import load_body
from mpm_postometro.files import write_json


def parse_args(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'target',
        nargs='+',
        help='configs, whose data sets are looked through, or types of data '
        'sets')
    parser.add_argument(
        '--images',
        type=int,
        default=200,
        help='pictures to open of each data set')
    parser.add_argument('--all', action='store_true', help='open all pictures')
    parser.add_argument(
        '--out-dir',
        default='work_dirs/check_dataset',
        help='gets a contact sheet of each data set and report.json')
    parser.add_argument(
        '--body',
        help='draw the outlines of this body: a file, a folder, or "built-in"')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        help='change settings of the config, or give arguments of the type: '
        'key=value')
    return parser.parse_args(argv)


def data_sets(target, options):
    """Names and configs of the data sets of a target."""
    if not target.endswith('.py'):
        config = Config(dict(type=target))
        config.merge_from_dict(options)
        return [(target, config.to_dict())]
    config = Config.fromfile(target)
    config.merge_from_dict(options)
    return [(f'{Path(target).stem}-{name}', dataset)
            for name, dataset in find_datasets(config)]


def main(argv=None):
    """Check all data sets; 1 if one has something missing or broken."""
    args = parse_args(argv)
    init_default_scope('mmpose')
    body = None
    if args.body:
        body = load_body(None if args.body == 'built-in' else args.body)
    checks = []
    for target in args.target:
        for name, dataset in data_sets(target, args.cfg_options):
            line = ProgressLine()
            sheet = Path(args.out_dir) / f'{name}.jpg'
            check = check_dataset(
                dataset,
                name,
                number=None if args.all else args.images,
                sheet=sheet,
                body=body,
                report=lambda done: line.update(name, done, 'pictures'))
            line.say(str(check))
            if sheet.is_file():
                line.say(f'  sheet       {sheet}')
            checks.append(check)
    write_json(
        Path(args.out_dir) / 'report.json', [c.asdict() for c in checks])
    return 0 if checks and all(c.ok for c in checks) else 1


if __name__ == '__main__':
    sys.exit(main())
