# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Contact sheet of the built-in data set.

python tools/analysis_tools/browse_synthetic.py sheet.jpg
python tools/analysis_tools/browse_synthetic.py sheet.jpg --labels
"""
import argparse

import cv2
import numpy as np

from mpm_postometro.datasets.synthesis.generator import ItemGenerator

_SHOWN, _HIDDEN, _TEXT = (80, 220, 80), (60, 60, 235), (255, 255, 255)


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('out', help='picture to write (.jpg or .png)')
    parser.add_argument('--split', default='train')
    parser.add_argument('--seed', type=int, default=0)
    parser.add_argument('--start', type=int, default=0, help='first item')
    parser.add_argument('--rows', type=int, default=5)
    parser.add_argument('--columns', type=int, default=8)
    parser.add_argument(
        '--size', type=int, default=160, help='side of a picture in pixels')
    parser.add_argument(
        '--quality', type=int, default=82, help='of a .jpg, up to 100')
    parser.add_argument(
        '--labels',
        action='store_true',
        help='draw keypoints (green seen, red hidden), box and occlusion')
    parser.add_argument(
        '--motion-file', help='take poses from motion capture (.npz)')
    return parser.parse_args()


def draw_labels(image: np.ndarray, item: dict) -> np.ndarray:
    """Draw box, keypoints and the hidden fraction onto a copy."""
    image = image.copy()
    x0, y0, x1, y1 = np.round(item['bbox'][0]).astype(int).tolist()
    cv2.rectangle(image, (x0, y0), (x1, y1), _TEXT, 1)
    for point, hidden in zip(item['keypoints'][0],
                             item['keypoints_occluded'][0]):
        x, y = np.round(point).astype(int).tolist()
        cv2.circle(image, (x, y), 2, _HIDDEN if hidden else _SHOWN, -1)
    cv2.putText(image, f'{item["occlusion"][0]:.2f}', (3, 12),
                cv2.FONT_HERSHEY_SIMPLEX, .4, _TEXT, 1, cv2.LINE_AA)
    return image


def main():
    args = parse_args()
    generator = ItemGenerator(
        split=args.split,
        seed=args.seed,
        image_size=args.size,
        motion_file=args.motion_file)
    pictures = []
    for index in range(args.start, args.start + args.rows * args.columns):
        item = generator.item(index)
        picture = item['img']
        pictures.append(draw_labels(picture, item) if args.labels else picture)
    rows = [
        np.hstack(pictures[k:k + args.columns])
        for k in range(0, len(pictures), args.columns)
    ]
    if not cv2.imwrite(args.out, np.vstack(rows),
                       [cv2.IMWRITE_JPEG_QUALITY, args.quality]):
        raise OSError(f'could not write {args.out}')
    print(f'wrote {args.out}')


if __name__ == '__main__':
    main()
