# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Print the tables of the PostoMETRO paper, with our own numbers beside them.

Ours are read from the files that MeshMetric writes, one for each config and
split, in WORK_DIRS/<config>/<SPLIT>.npz:

python tools/test.py configs/postometro/NAME.py CHECKPOINT --cfg-options \
    test_dataloader.dataset.split=OCC \
    test_evaluator.dump=work_dirs/NAME/OCC.npz

python tools/analysis_tools/paper_tables.py
python tools/analysis_tools/paper_tables.py --tables 5 8 --out tables.md

SPLIT is one of 3DPW's (TEST, ALL, OCC, PC, Non-OC), or 3DOH. Where there is no
such file, it says "not trained here". Images per second (Table 4) are read
from a file of benchmark_networks.py.
"""
import argparse
import os.path as osp
from pathlib import Path
from typing import Dict, List, NamedTuple, Optional, Sequence, Tuple

import numpy as np

from mpm_postometro.files import atomic_write, read_json

_ALL = ('mpvpe', 'mpjpe', 'pa_mpjpe')
_JOINTS = ('mpjpe', 'pa_mpjpe')
TITLES = dict(
    mpvpe='MPVPE',
    mpjpe='MPJPE',
    pa_mpjpe='PA-MPJPE',
    gpu_hours='GPU hours',
    fps='images/s')
NOT_TRAINED = 'not trained here'


class Row(NamedTuple):
    """A line of a table.

    Attributes:
        method (str): As the paper calls it.
        published (tuple): One number a column, None where the paper has none.
        config (str, optional): Whose results are ours; None for methods of
            others.
    """
    method: str
    published: Tuple[Optional[float], ...]
    config: Optional[str] = None


class Table(NamedTuple):
    """A table of the paper.

    Attributes:
        number (int): In the paper.
        title (str): What it compares.
        columns (tuple): Split and metric of each number.
        rows (tuple[Row, ...]): Its lines.
        note (str): What else to know.
    """
    number: int
    title: str
    columns: Tuple[Tuple[str, str], ...]
    rows: Tuple[Row, ...]
    note: str = ''


def _columns(**splits: Sequence[str]) -> Tuple[Tuple[str, str], ...]:
    """Splits with their metrics, in the paper's order."""
    return tuple((split.replace('_', '-'), metric)
                 for split, metrics in splits.items() for metric in metrics)


def _ours(name: str, data: str) -> str:
    return f'{name}_{data}-256x256'


TABLES = (
    Table(1, '3DPW, fine-tuned on its training split', _columns(TEST=_ALL), (
        Row('HMR (ResNet-50)', (None, 130.0, 81.3)),
        Row('SPIN (ResNet-50)', (116.4, 96.9, 59.2)),
        Row('VIBE (ResNet-50)', (99.1, 82.9, 51.9)),
        Row('3DCrowdNet (ResNet-50)', (98.3, 81.7, 51.5)),
        Row('ROMP (ResNet-50)', (94.7, 79.7, 49.7)),
        Row('HybrIK (ResNet-34)', (86.5, 74.1, 45.0)),
        Row('VisDB (ResNet-50)', (83.5, 72.1, 44.1)),
        Row('INT-2 (ResNet-50)', (87.9, 75.6, 42.0)),
        Row('Pose2Mesh (HRNet-W48)', (105.3, 89.5, 56.3)),
        Row('PARE (HRNet-W32)', (88.6, 74.5, 46.5)),
        Row('METRO (HRNet-W64)', (88.2, 77.1, 47.9)),
        Row('MeshGraphormer (HRNet-W64)', (87.7, 74.7, 45.6)),
        Row('FastMETRO (HRNet-W64)', (84.1, 72.5, 44.6)),
        Row('PSVT (HRNet-W32)', (84.0, 73.1, 43.5)),
        Row('CLIFF (HRNet-W48)', (81.2, 69.0, 43.0)),
        Row('MPT (HigherHRNet)', (79.4, 65.9, 42.8)),
        Row('VirtualMarker (HRNet-W48)', (77.9, 67.5, 41.3)),
        Row('NIKI (HRNet-W48)', (81.6, 71.3, 40.6)),
        Row('no pose tokens (ResNet-50)',
            (82.5, 72.4, 44.4), _ours('image-only_res50', '3dpw')),
        Row('PostoMETRO (ResNet-50)',
            (78.0, 68.4, 40.8), _ours('postometro_res50', '3dpw')),
        Row('no pose tokens (HRNet-W48)',
            (78.6, 68.9, 41.5), _ours('image-only_hrnet-w48', '3dpw')),
        Row('PostoMETRO (HRNet-W48)',
            (76.8, 67.7, 39.8), _ours('postometro_hrnet-w48', '3dpw')),
    ), 'FastMETRO itself reports an MPJPE of 73.5.'),
    Table(2, '3DPW-OCC, not fine-tuned', _columns(OCC=_ALL), (
        Row('Zhang et al.', (None, None, 72.2)),
        Row('SPIN', (121.6, 95.6, 60.8)),
        Row('HybrIK', (111.9, 90.8, 58.8)),
        Row('HMR-EFT', (111.3, 94.4, 60.9)),
        Row('PARE', (107.9, 90.5, 56.6)),
        Row('NIKI', (107.6, 85.5, 53.5)),
        Row('PostoMETRO (ResNet-50)',
            (93.5, 84.0, 50.0), _ours('postometro_res50', 'mix')),
        Row('PostoMETRO (HRNet-W48)',
            (90.1, 79.7, 49.0), _ours('postometro_hrnet-w48', 'mix')),
    )),
    Table(2, '3DOH, fine-tuned on its training split',
          _columns(**{'3DOH': _JOINTS}), (
              Row('Zhang et al.', (None, 58.5)),
              Row('SPIN', (104.3, 68.3)),
              Row('HybrIK', (40.4, 31.2)),
              Row('HMR-EFT', (75.2, 53.1)),
              Row('PARE', (60.9, 42.7)),
              Row('NIKI', (38.8, 28.7)),
              Row('PostoMETRO (ResNet-50)',
                  (39.2, 28.7), _ours('postometro_res50', '3doh')),
              Row('PostoMETRO (HRNet-W48)',
                  (35.4, 26.8), _ours('postometro_hrnet-w48', '3doh')),
          )),
    Table(3, '3DPW-PC, not fine-tuned', _columns(PC=_ALL), (
        Row('VIBE', (None, None, 103.5)),
        Row('SPIN', (157.6, 129.6, 82.6)),
        Row('PyMAF', (154.3, 126.7, 81.3)),
        Row('ROMP', (147.5, 115.6, 75.8)),
        Row('OCHMR', (145.9, 112.2, 75.2)),
        Row('PostoMETRO (ResNet-50)',
            (113.4, 97.8, 62.4), _ours('postometro_res50', 'mix')),
        Row('PostoMETRO (HRNet-W48)',
            (110.9, 95.3, 61.0), _ours('postometro_hrnet-w48', 'mix')),
    )),
    Table(4, 'Time of training (hours on RTX 3090) and inference (images/s)', (
        ('time', 'gpu_hours'),
        ('time', 'fps'),
    ), (
        Row('METRO', (1400., 15.8)),
        Row('MeshGraphormer', (1300., 15.0)),
        Row('FastMETRO', (330., 17.0)),
        Row('PostoMETRO (ResNet-50)',
            (340., 18.7), _ours('postometro_res50', 'mix')),
        Row('PostoMETRO (HRNet-W48)',
            (390., 11.5), _ours('postometro_hrnet-w48', 'mix')),
    ), 'Errors are those of Table 1.'),
    Table(
        5, 'Tokens (ResNet-50), not fine-tuned',
        _columns(OCC=_JOINTS, PC=_JOINTS, ALL=_JOINTS), (
            Row('pose tokens', (90.2, 56.4, 104.1, 65.7, 93.3, 54.5),
                _ours('pose-only_res50', 'mix')),
            Row('image tokens', (92.1, 56.3, 111.0, 71.0, 91.9, 53.2),
                _ours('image-only_res50', 'mix')),
            Row('both', (84.0, 50.0, 97.8, 62.4, 83.1, 48.2),
                _ours('postometro_res50', 'mix')),
        ), 'The text of the paper tells which of the first two lines is '
        'which.'),
    Table(6, 'Tokens of the true 2D pose (ResNet-50)', _columns(TEST=_ALL), (
        Row('predicted tokens',
            (78.0, 68.4, 40.8), _ours('postometro_res50', '3dpw')),
        Row('true tokens',
            (65.9, 57.7, 31.3), _ours('postometro-true-tokens_res50', '3dpw')),
    )),
    Table(7, 'Modulators of image and pose tokens, not fine-tuned',
          _columns(TEST=_JOINTS), (
              Row('linear, linear',
                  (87.0, 51.0), _ours('postometro-linear_res50', 'mix')),
              Row('linear, mixer',
                  (84.9, 48.9), _ours('postometro_res50', 'mix')),
              Row('mixer, mixer',
                  (85.4, 50.0), _ours('postometro-image-mixer_res50', 'mix')),
          )),
    Table(8, 'Blocks of the pose modulator, not fine-tuned',
          _columns(TEST=('pa_mpjpe', )), (
              Row('1', (50.1, ), _ours('postometro-1-block_res50', 'mix')),
              Row('2', (49.6, ), _ours('postometro-2-blocks_res50', 'mix')),
              Row('4', (48.9, ), _ours('postometro_res50', 'mix')),
              Row('8', (49.6, ), _ours('postometro-8-blocks_res50', 'mix')),
          )),
    Table(9, 'Against MPT, which is pre-trained on 8000k samples (ours: 190k)',
          _columns(TEST=_ALL), (
              Row('MPT (HigherHRNet)', (79.4, 65.9, 42.8)),
              Row('PostoMETRO (HRNet-W48)',
                  (76.8, 67.7, 39.8), _ours('postometro_hrnet-w48', '3dpw')),
          )),
    Table(10, '3DPW-Non-OC (ResNet-50), not fine-tuned', _columns(Non_OC=_ALL),
          (
              Row('FastMETRO',
                  (99.9, 91.1, 51.0), _ours('fastmetro-l_res50', 'mix')),
              Row('PostoMETRO',
                  (90.1, 82.3, 46.8), _ours('postometro_res50', 'mix')),
          )),
    Table(11, 'Source of pose tokens (ResNet-50), not fine-tuned',
          _columns(TEST=_ALL), (
              Row('2D coordinates', (97.6, 87.6, 50.0),
                  _ours('postometro-coordinates_res50', 'mix')),
              Row('tokens',
                  (91.6, 84.9, 48.9), _ours('postometro_res50', 'mix')),
          )),
)


def read_speed(path: str) -> Dict[str, float]:
    """Images per second of each config, as benchmark_networks.py has it.

    Args:
        path (str): The JSON file.

    Returns:
        dict[str, float]: Config -> images/s.

    Raises:
        ValueError: If the file is something else.
    """
    result = read_json(path)
    if not isinstance(result, dict) or 'networks' not in result:
        raise ValueError(f"{path} has no 'networks': it should be what "
                         'benchmark_networks.py writes')
    return {name: float(fps) for name, fps in result['networks'].items()}


def read_results(work_dirs: str, config: str,
                 split: str) -> Tuple[Dict[str, float], str]:
    """Mean errors of a config on a split.

    Args:
        work_dirs (str): Folder with a folder for each config.
        config (str): Name of the config.
        split (str): Name of the split, and of the file.

    Returns:
        tuple[dict[str, float], str]: Metric -> mm, nothing where there is no
        file; and of whom and how.

    Raises:
        ValueError: If the file is none of MeshMetric.
    """
    path = osp.join(work_dirs, config, f'{split}.npz')
    if not osp.isfile(path):
        return {}, ''
    with np.load(path) as file:
        missing = [key for key in _ALL if key not in file.files]
        if missing:
            raise ValueError(f'{path} has no {missing}, only {file.files}: it '
                             'should be what MeshMetric(dump=...) writes')
        errors = {key: file[key] for key in _ALL}
        protocol = str(file['protocol']) if 'protocol' in file.files else ''
    known = {key: values[~np.isnan(values)] for key, values in errors.items()}
    who = f"{len(errors['mpjpe'])} people"
    if protocol not in ('', 'metro'):
        who += f", {protocol}'s protocol"
    return {
        key: float(values.mean())
        for key, values in known.items() if len(values)
    }, who


def ours(table: Table, row: Row, work_dirs: str,
         speed: Dict[str, float]) -> Tuple[List[Optional[float]], str]:
    """Our numbers for a row.

    Args:
        table (Table): The table of the row.
        row (Row): The row.
        work_dirs (str): Folder with a folder for each config.
        speed (dict[str, float]): Config -> images/s.

    Returns:
        tuple[list, str]: One number a column, None where there is none; and
        how many people it is of.
    """
    numbers, people = [], {}
    for split, metric in table.columns:
        if split == 'time':
            fps = speed.get(row.config) if metric == 'fps' else None
            numbers.append(fps)
            continue
        found, who = read_results(work_dirs, row.config, split)
        numbers.append(found.get(metric))
        if who:
            people[split] = who
    if len(people) > 1:
        return numbers, ', '.join(f'{k}: {v}' for k, v in people.items())
    return numbers, ''.join(people.values())


def _number(value: Optional[float]) -> str:
    return '-' if value is None else f'{value:.1f}'


def render(table: Table, work_dirs: str, speed: Dict[str, float]) -> str:
    """A table as Markdown.

    Args:
        table (Table): One of ``TABLES``.
        work_dirs (str): Folder with a folder for each config.
        speed (dict[str, float]): Config -> images/s.

    Returns:
        str: A heading, the table, its note.
    """
    several = len({split for split, _ in table.columns}) > 1
    header = [
        '', *(f'{TITLES[metric]}{f", {split}" if several else ""}'
              for split, metric in table.columns), 'ours'
    ]
    lines = [header]
    for row in table.rows:
        lines.append([row.method, *map(_number, row.published), ''])
        if row.config is None:
            continue
        numbers, people = ours(table, row, work_dirs, speed)
        if not any(number is not None for number in numbers):
            people = NOT_TRAINED
        lines.append([
            '... ours', *map(_number, numbers),
            ': '.join(filter(None, (f'`{row.config}`', people)))
        ])
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    right = [0 < i <= len(table.columns) for i in range(len(header))]
    texts = [
        '| ' + ' | '.join(
            cell.rjust(width) if number else cell.ljust(width)
            for cell, width, number in zip(line, widths, right)) + ' |'
        for line in lines
    ]
    rule = ' | '.join('-' * (width - number) + ':' * number
                      for width, number in zip(widths, right))
    text = [
        f'### Table {table.number}: {table.title}', '', texts[0],
        f'| {rule} |', *texts[1:]
    ]
    if table.note:
        text += ['', table.note]
    return '\n'.join(text)


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--work-dirs', default='work_dirs')
    parser.add_argument(
        '--tables',
        type=int,
        nargs='+',
        choices=sorted({table.number
                        for table in TABLES}),
        help='their numbers in the paper; all by default')
    parser.add_argument('--speed', help='a JSON file of benchmark_networks.py')
    parser.add_argument('--out', help='write the tables to this file too')
    return parser.parse_args(argv)


def main(argv: Optional[Sequence[str]] = None) -> None:
    args = parse_args(argv)
    speed = read_speed(args.speed) if args.speed else {}
    text = '\n\n'.join(
        render(table, args.work_dirs, speed) for table in TABLES
        if not args.tables or table.number in args.tables)
    text = (
        'Published numbers, and below those of PostoMETRO what was measured '
        f'with this package.\n\n{text}')
    print(text)
    if args.out:
        atomic_write(args.out, lambda path: Path(path).write_text(text + '\n'))


if __name__ == '__main__':
    main()
