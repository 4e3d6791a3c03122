# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Contact sheet of augmented crops; see docs/augmentation.md.

Each transform on people of the built-in data:
    python tools/analysis_tools/browse_augmentation.py sheet.jpg
The training data of a config, one person a row, as training sees them (its
keypoints are COCO's 17):
    python tools/analysis_tools/browse_augmentation.py sheet.jpg \\
        --config CONFIG
"""
import argparse
from typing import Dict, List

import cv2
import numpy as np
from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope
from mmpose.registry import DATASETS

import mpm_postometro  # noqa: F401  (registers modules, mends imports)
from mpm_postometro.bodies.skeletons import SKELETONS
from mpm_postometro.datasets.mixed_dataset import MixedDataset
from mpm_postometro.files import atomic_write

_SHOWN, _HIDDEN = (80, 220, 80), (60, 60, 235)
_PAPER, _INK = (255, 255, 255), (60, 48, 34)
_MARGIN = 138  # for the names of the rows
# Transforms before the crop, and after it.
ROWS = {
    'crop': ([], []),
    'MeshFlip': ([dict(type='MeshFlip', prob=1.)], []),
    'RandomScaleRotation': ([dict(type='RandomScaleRotation',
                                  rotate_prob=1.)], []),
    'RandomTruncation': ([dict(type='RandomTruncation', prob=1.)], []),
    'ChannelGain': ([], [dict(type='ChannelGain')]),
    'ColorJitter': ([], [dict(type='ColorJitter')]),
    'SyntheticOcclusion': ([], [dict(type='SyntheticOcclusion', prob=1.)]),
    '... cut-outs': ([], [
        dict(
            type='SyntheticOcclusion',
            prob=1.,
            shapes=('rectangle', ),
            rotate=False,
            fill='mean')
    ]),
    '... noise': ([],
                  [dict(type='SyntheticOcclusion', prob=1., fill='noise')]),
    'PasteObjects': ([], [dict(type='PasteObjects', prob=1.)]),
    'GridDropout': ([], [dict(type='GridDropout', prob=1.)]),
}  # yapf: disable


def parse_args(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', help='picture to write (.jpg or .png)')
    parser.add_argument('--config', help='draw the training data of this')
    parser.add_argument(
        '--columns', type=int, default=8, help='pictures in a row')
    parser.add_argument(
        '--people', type=int, default=8, help='rows, with --config')
    parser.add_argument(
        '--size', type=int, default=112, help='side of a picture in pixels')
    parser.add_argument(
        '--quality', type=int, default=90, help='of a .jpg, up to 100')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument(
        '--labels',
        action='store_true',
        help='draw keypoints and limbs: green seen, red hidden; none where '
        'their label was cut off')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        help='override settings of the config: key=value')
    return parser.parse_args(argv)


def draw(packed: dict, size: int, labels: bool) -> np.ndarray:
    """A crop (size, size, 3) of a packed sample."""
    crop = packed['inputs'].permute(1, 2, 0).numpy()
    height, width = crop.shape[:2]
    scale = size / max(height, width)
    tile = np.full((size, size, 3), _PAPER, np.uint8)
    crop = cv2.resize(
        crop, (round(width * scale), round(height * scale)),
        interpolation=cv2.INTER_AREA)
    tile[:crop.shape[0], :crop.shape[1]] = crop
    if not labels:
        return tile
    sample = packed['data_samples']
    points = sample.gt_instance_labels.keypoint_labels[0].numpy()
    weights = sample.gt_instance_labels.keypoint_weights[0].numpy()
    hidden = sample.gt_instances.get('keypoints_occluded', [weights * 0])[0]
    places = np.round((points + .5) * scale - .5).astype(int).tolist()
    colors = [_HIDDEN if h else _SHOWN for h in hidden]
    for start, end in SKELETONS['coco17'].links:
        if weights[start] > 0 and weights[end] > 0:
            cv2.line(tile, places[start], places[end],
                     colors[start if hidden[start] else end], 1, cv2.LINE_AA)
    for place, color, weight in zip(places, colors, weights):
        if weight > 0:
            cv2.circle(tile, place, max(size // 64, 1), color, -1)
    return tile


def each_transform(columns: int, size: int,
                   labels: bool) -> Dict[str, List[np.ndarray]]:
    """Rows of built-in people, the same in each row."""
    rows = {}
    for name, (before, after) in ROWS.items():
        dataset = DATASETS.build(
            dict(
                type='SyntheticBodyDataset',
                length=columns,
                image_size=2 * size,
                pipeline=[
                    dict(type='GetBBoxCenterScale', padding=1.25), *before,
                    dict(type='MeshAffine', input_size=(size, size)), *after,
                    dict(type='PackMeshInputs')
                ]))
        rows[name] = [draw(dataset[k], size, labels) for k in range(columns)]
    return rows


def training_data(config: Config, people: int, columns: int, size: int,
                  labels: bool) -> Dict[str, List[np.ndarray]]:
    """Rows of people of a config, each augmented again and again."""
    dataset = DATASETS.build(config.train_dataloader.dataset)
    rows = {}
    for k in range(people):
        index = len(dataset) * k // people
        rows[f'{_owner(dataset, index)}\nperson {index}'] = [
            draw(dataset[index], size, labels) for _ in range(columns)
        ]
    return rows


def _owner(dataset, index: int) -> str:
    """The type of the data set that an item comes from."""
    while isinstance(dataset, MixedDataset):
        which, index = dataset.locate(index)
        dataset = dataset.datasets[which]
    return type(dataset).__name__


def sheet(rows: Dict[str, List[np.ndarray]]) -> np.ndarray:
    """Rows below each other with their names at the left."""
    lines = []
    for name, tiles in rows.items():
        height = tiles[0].shape[0]
        margin = np.full((height, _MARGIN, 3), _PAPER, np.uint8)
        for i, text in enumerate(name.split('\n')):
            cv2.putText(margin, text, (6, height // 2 + 4 + 16 * i),
                        cv2.FONT_HERSHEY_SIMPLEX, .36, _INK, 1, cv2.LINE_AA)
        lines.append(np.hstack([margin, *tiles]))
    return np.vstack(lines)


def main(argv=None):
    """Run the tool."""
    args = parse_args(argv)
    init_default_scope('mmpose')
    np.random.seed(args.seed)
    if args.config is None:
        rows = each_transform(args.columns, args.size, args.labels)
    else:
        config = Config.fromfile(args.config)
        config.merge_from_dict(args.cfg_options or {})
        rows = training_data(config, args.people, args.columns, args.size,
                             args.labels)
    picture, quality = sheet(rows), [cv2.IMWRITE_JPEG_QUALITY, args.quality]
    atomic_write(args.out, lambda name: cv2.imwrite(name, picture, quality))
    print(f'wrote {args.out}')


if __name__ == '__main__':
    main()
