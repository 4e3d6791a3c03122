# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Cut the objects out of Pascal VOC, to paste them with PasteObjects.

python tools/dataset_converters/voc_cutouts.py VOCdevkit/VOC2012 data/occluders

Takes the pictures that are segmented, and of them all objects but people,
difficult ones and those that the picture cuts off (as Sarandi et al., 2018).
What is left out is counted; report.json beside the cut-outs says so too, and
names files that are missing or broken. An interrupted run can be started
again.
"""
import argparse
import sys
import xml.etree.ElementTree as ElementTree
from collections import Counter
from pathlib import Path
from typing import Tuple

import cv2
import numpy as np
from PIL import Image

from mpm_postometro.apis.progress import ProgressLine
from mpm_postometro.datasets.body.metro_tsv import decode_picture
from mpm_postometro.files import write_json
from mpm_postometro.visualization import write_picture


def parse_args(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'voc',
        help='folder with Annotations, JPEGImages and '
        'SegmentationObject')
    parser.add_argument('out', help='folder that gets the .png pictures')
    parser.add_argument(
        '--smallest', type=int, default=500, help='least pixels of an object')
    parser.add_argument(
        '--scale', type=float, default=.5, help='to make pictures smaller by')
    return parser.parse_args(argv)


def unwanted(entry: ElementTree.Element) -> str:
    """Why an object is left out; '' if it is not."""
    if entry.findtext('name') == 'person':
        return 'people'
    for flag in ('difficult', 'truncated'):
        if entry.findtext(flag, '0').strip() != '0':
            return flag
    return ''


def cut_out(picture: np.ndarray, mask: np.ndarray, scale: float) -> np.ndarray:
    """The object (h, w, 4) uint8 BGRA, with a soft edge.

    Args:
        picture (np.ndarray): (H, W, 3) uint8 BGR.
        mask (np.ndarray): (H, W) bool.
        scale (float): To make it smaller by.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    alpha = 255 * mask[window].astype(np.uint8)
    # Contours are drawn by hand: their outermost pixels show what is behind.
    inner = cv2.erode(
        alpha,
        np.ones((3, 3), np.uint8),
        borderType=cv2.BORDER_CONSTANT,
        borderValue=0)
    alpha = np.where(inner < alpha, np.uint8(128), alpha)
    whole = np.dstack([picture[window], alpha])
    size = [max(round(side * scale), 1) for side in alpha.shape[::-1]]
    return cv2.resize(whole, size, interpolation=cv2.INTER_AREA)


def read(annotation: Path, voc: Path) -> Tuple[list, np.ndarray, np.ndarray]:
    """A picture's objects (none where it has no masks), itself and its masks.

    Raises:
        ValueError: If a file is missing or broken; says which.
    """
    file = annotation
    try:
        root = ElementTree.parse(file).getroot()
        if root.findtext('segmented', '0').strip() == '0':
            return [], np.empty(0), np.empty(0)
        file = voc / 'JPEGImages' / f'{annotation.stem}.jpg'
        picture = decode_picture(file.read_bytes())
        file = voc / 'SegmentationObject' / f'{annotation.stem}.png'
        with Image.open(file) as masks:  # colours are indices of objects
            objects = np.asarray(masks)
    # PIL has SyntaxError for broken .png files; so is ParseError of XML.
    except (OSError, ValueError, SyntaxError) as error:
        reason = getattr(error, 'strerror', None) or str(error)
        raise ValueError(f'{file.relative_to(voc)}: {reason}') from None
    if objects.shape != picture.shape[:2]:
        raise ValueError(f'{file.relative_to(voc)}: is {objects.shape}, the '
                         f'picture {picture.shape[:2]}')
    return root.findall('object'), picture, objects


def convert(annotation: Path, voc: Path, out: Path, smallest: int,
            scale: float) -> Counter:
    """Cut out the objects of one picture; counts what was kept or why not.

    Raises:
        ValueError: If a file is missing or broken; says which.
    """
    entries, picture, objects = read(annotation, voc)
    if not len(picture):
        return Counter({'pictures without masks': 1})
    counts, name = Counter(), annotation.stem
    for number, entry in enumerate(entries, 1):
        reason = unwanted(entry)
        mask = objects == number
        if not reason and np.count_nonzero(mask) < smallest:
            reason = 'small'
        counts[reason or 'objects'] += 1
        path = out / f'{name}_{number:02d}.png'
        if not reason and not path.exists():
            write_picture(path, cut_out(picture, mask, scale))
    return counts


def main(argv=None):
    """Run the converter."""
    args = parse_args(argv)
    voc, out = Path(args.voc), Path(args.out)
    for folder in ('Annotations', 'JPEGImages', 'SegmentationObject'):
        if not (voc / folder).is_dir():
            sys.exit(f'{voc} should be the folder VOC2012 with {folder} in it')
    progress, counts, broken = ProgressLine(), Counter(), []
    annotations = sorted((voc / 'Annotations').glob('*.xml'))
    for done, annotation in enumerate(annotations):
        progress.update('cut-outs', done / len(annotations), annotation.stem)
        try:
            counts += convert(annotation, voc, out, args.smallest, args.scale)
        except ValueError as error:
            counts['pictures whose files are missing or broken'] += 1
            broken.append(str(error))
    kept = counts.pop('objects', 0)
    report = write_json(
        out / 'report.json',
        dict(objects=kept, left_out=dict(counts), missing_or_broken=broken))
    progress.say(f'{kept} objects in {out}')
    for reason, count in counts.most_common():
        progress.say(f'left out: {count} {reason}')
    progress.say(f'report: {report}')


if __name__ == '__main__':
    main()
