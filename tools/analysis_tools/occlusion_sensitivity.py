# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Occlusion sensitivity: a grey square slides over people, and the error of
each joint is measured and drawn; see docs/occlusion.md.

python tools/analysis_tools/occlusion_sensitivity.py CONFIG CHECKPOINT
python tools/analysis_tools/occlusion_sensitivity.py CONFIG CHECKPOINT \\
    CONFIG CHECKPOINT --names "image only" PostoMETRO
"""
import argparse
import sys
from pathlib import Path

import numpy as np
from mmengine.config import DictAction
from mmengine.registry import init_default_scope

import mpm_postometro  # noqa: F401  (registers modules, mends imports)
from mpm_postometro.apis.occlusion_maps import (OcclusionMaps,
                                                compare_occlusion,
                                                write_occlusion_maps)
from mpm_postometro.apis.progress import ProgressLine
from mpm_postometro.bodies.skeletons import SKELETONS
from mpm_postometro.compat import keep_freed_memory
from mpm_postometro.visualization import write_picture
from mpm_postometro.visualization.occlusion_pictures import (draw_error_maps,
                                                             draw_joint_bars,
                                                             draw_joint_maps)

_SHEET = 6  # people in one picture


def parse_args(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'networks',
        nargs='+',
        metavar='CONFIG CHECKPOINT',
        help="pairs; 'none' for weights as the config initialises them")
    parser.add_argument(
        '--names',
        nargs='+',
        help='of the networks; the first words of '
        'their configs by default')
    parser.add_argument(
        '--people', type=int, default=20, help='spread over the test data')
    parser.add_argument(
        '--occluder',
        type=float,
        default=40,
        help='side of the square in pixels of a crop 224 pixels wide')
    parser.add_argument(
        '--stride',
        type=float,
        default=40,
        help='from one square to the next, likewise')
    parser.add_argument('--out-dir', default='work_dirs/occlusion')
    parser.add_argument('--device', help='cpu, cuda, cuda:1, ...')
    parser.add_argument('--batch-size', type=int, default=37)
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of all configs: key=value')
    args = parser.parse_args(argv)
    if len(args.networks) % 2:
        parser.error('give a checkpoint to each config')
    args.networks = [
        (config, None if checkpoint == 'none' else checkpoint)
        for config, checkpoint in zip(args.networks[::2], args.networks[1::2])
    ]
    if args.names is None:
        stems = [Path(config).stem for config, _ in args.networks]
        short = [stem.split('_')[0] for stem in stems]
        args.names = short if len(set(short)) == len(stems) else stems
    if len(set(args.names)) != len(args.networks):
        parser.error('give a name of its own to each network with --names')
    if args.people < 1:
        parser.error('--people must be 1 or more')
    return args


def write_pictures(maps: OcclusionMaps, folder: Path) -> None:
    """Sheets of people, a picture of each person's joints, and bars."""
    joints = SKELETONS['j14'].joint_names
    mean = np.nanmean(maps.occluded, -1)
    clean = np.nanmean(maps.clean, -1)
    titles = [f'person {index}' for index in maps.indices]
    for start in range(0, len(titles), _SHEET):
        some = slice(start, start + _SHEET)
        write_picture(
            folder / f'maps_{start // _SHEET:02d}.png',
            draw_error_maps(maps.crops[some], mean[:, some], clean[:, some],
                            maps.places, maps.names, titles[some]))
    for n, title in enumerate(titles):
        write_picture(
            folder / 'joints' / f'person_{maps.indices[n]:06d}.png',
            draw_joint_maps(maps.crops[n], maps.occluded[:, n], maps.places,
                            maps.names, joints, title))
    write_picture(
        folder / 'joint_errors.png',
        draw_joint_bars(
            np.nanmean(maps.occluded, (1, 2, 3)), np.nanmean(maps.clean, 1),
            maps.names, joints))


def table(maps: OcclusionMaps) -> str:
    """MPJPE in mm, a row for each network."""
    width = max(map(len, maps.names))
    lines = [f'{"MPJPE in mm":{width}}   clean  square  worst place']
    for name, row in maps.summary().items():
        lines.append(f'{name:{width}} {row["clean"]:7.1f} '
                     f'{row["occluded"]:7.1f} {row["worst"]:12.1f}')
    return '\n'.join(lines)


def main(argv=None):
    """Run the tool."""
    args = parse_args(argv)
    keep_freed_memory()
    init_default_scope('mmpose')
    progress = ProgressLine()
    try:
        maps = compare_occlusion(
            args.networks,
            args.names,
            args.people,
            args.occluder / 224,
            args.stride / 224,
            options=args.cfg_options,
            device=args.device,
            batch_size=args.batch_size,
            report=lambda fraction, text: progress.update(
                'squares', fraction, text))
    except (OSError, ValueError) as error:
        sys.exit(f'{type(error).__name__}: {error}')
    folder = Path(args.out_dir)
    write_occlusion_maps(maps, folder / 'maps.npz')
    write_pictures(maps, folder)
    rows, columns = maps.places.shape[:2]
    progress.say(f'{len(maps.indices)} people, {rows} x {columns} places of '
                 f'the square')
    if maps.skipped:
        progress.say(f'{maps.skipped} people left out, whose 3D joints are '
                     'not known')
    progress.say(table(maps))
    progress.say(f'wrote {folder}/maps.npz, maps_*.png, joint_errors.png and '
                 'joints/')


if __name__ == '__main__':
    main()
