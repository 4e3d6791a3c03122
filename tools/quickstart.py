# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Train, test and show a small PostoMETRO from scratch."""
import argparse
import sys

from mpm_postometro.apis.quickstart import QuickStart
from mpm_postometro.compat import keep_freed_memory


def parse_args():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        '--work-dir',
        default='work_dirs/quickstart',
        help='where everything is written (default: %(default)s)')
    parser.add_argument(
        '--smoke',
        action='store_true',
        help='a few steps of every stage, to see that it runs')
    parser.add_argument(
        '--seed', type=int, default=0, help='seed of the trainings')
    parser.add_argument(
        '--images',
        type=int,
        help='number of training images: ten times the images, ten times the '
        'time (default: what the configs say)')
    parser.add_argument(
        '--setup-seconds',
        type=float,
        default=0.0,
        help='seconds that the set-up took, to be part of the summary')
    return parser.parse_args()


def main():
    args = parse_args()
    keep_freed_memory()
    try:
        QuickStart(
            work_dir=args.work_dir,
            smoke=args.smoke,
            seed=args.seed,
            images=args.images,
            setup_seconds=args.setup_seconds).run()
    except KeyboardInterrupt:
        print(
            f'\nInterrupted. What is done is kept in {args.work_dir}; '
            'run the same command again to resume.',
            file=sys.stderr)
        sys.exit(130)


if __name__ == '__main__':
    main()
