# Copyright (c) The mpm_postometro authors. All rights reserved.
"""How fast pictures come out of METRO's TSV tables, from any row.

python tools/analysis_tools/benchmark_tsv.py --workers 0 1 2
python tools/analysis_tools/benchmark_tsv.py --tsv data/metro/train.img.tsv

Without a table, one is made of random textures. Printed are the processor
time of the steps of an image, and images a second of a loader with so many
workers, from the table and, where it was made here, from files.
"""
import argparse
import base64
import binascii
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np
from torch.utils.data import DataLoader, Dataset

import mpm_postometro  # noqa: F401  (mends imports)
from mpm_postometro.datasets.body.metro_tsv import TSVFile


def parse_args(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--tsv', help='a .img.tsv to read')
    parser.add_argument(
        '--images', type=int, default=400, help='images to read, at random')
    parser.add_argument(
        '--size',
        type=int,
        nargs=2,
        default=(640, 480),
        help='width and height of the images that are made')
    parser.add_argument('--workers', type=int, nargs='+', default=[0, 1, 2])
    return parser.parse_args(argv)


def make_jpegs(count, size):
    """JPEG files of textures, fine and coarse, about as large as photos."""
    rng = np.random.RandomState(0)
    files = []
    for _ in range(count):
        image = np.zeros((size[1], size[0], 3), np.float32)
        for cells, weight in ((8, 80), (40, 40), (160, 15)):
            noise = rng.rand(cells, cells, 3).astype(np.float32) * 2 - 1
            image += cv2.resize(noise, tuple(size)) * weight
        files.append(
            cv2.imencode('.jpg', (image + 128).clip(0, 255).astype(
                np.uint8))[1].tobytes())
    return files


class Table(Dataset):
    """Images of a table."""

    def __init__(self, path):
        self.file = TSVFile(path)

    def __len__(self):
        return len(self.file)

    def __getitem__(self, row):
        return self.file.image(row).shape


class Files(Table):
    """The same images as files."""

    def __init__(self, folder):
        self.file = sorted(str(path) for path in folder.glob('*.jpg'))

    def __getitem__(self, row):
        return cv2.imread(self.file[row]).shape


def rate(dataset, rows, workers):
    """Images a second of a loader, its start left out."""
    # OpenCV's own threads would count as further workers
    loader = DataLoader(
        dataset,
        batch_size=4,
        sampler=rows,
        num_workers=workers,
        worker_init_fn=lambda _: cv2.setNumThreads(0),
        collate_fn=list)
    batches = iter(loader)
    next(batches)
    start = time.perf_counter()
    count = sum(len(batch) for batch in batches)
    return count / (time.perf_counter() - start)


def steps(path, rows):
    """Milliseconds of the processor for each step of an image."""
    file = TSVFile(path)
    total = dict.fromkeys(('row', 'base64', 'JPEG', 'TSVFile.image'), 0.)

    def clock(name, function, *args):
        start = time.process_time()
        result = function(*args)
        total[name] += time.process_time() - start
        return result

    for row in rows:
        columns = clock('row', file.__getitem__, row)
        data = clock('base64', binascii.a2b_base64, columns[-1])
        clock('JPEG', cv2.imdecode, np.frombuffer(data, np.uint8), 1)
        clock('TSVFile.image', file.image, row)
    return {name: 1000 * value / len(rows) for name, value in total.items()}


def measure(path, folder, args):
    """Print all there is to say about a table."""
    table = Table(path)
    rows = np.random.RandomState(0).randint(0, len(table),
                                            args.images).tolist()
    size = Path(path).stat().st_size / len(table) / 1024
    print(f'{len(table)} images, {size:.0f} KiB of text each')
    for name, value in steps(path, rows).items():
        print(f'  {name:<14}{value:7.3f} ms of one core')
    print(f'{"workers":<10}{"table":>12}' +
          ('files'.rjust(12) if folder else '') + '   images/s')
    sources = [table] + ([Files(folder)] if folder else [])
    for workers in args.workers:
        rates = [rate(source, rows, workers) for source in sources]
        print(f'{workers:<10}' + ''.join(f'{x:12.0f}' for x in rates))


def main(argv=None):
    """Run the benchmark."""
    args = parse_args(argv)
    cv2.setNumThreads(0)
    if args.tsv:
        measure(args.tsv, None, args)
        return
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        path = folder / 'made.img.tsv'
        with open(path, 'wb') as file:
            for i, data in enumerate(
                    make_jpegs(min(args.images, 200), args.size)):
                (folder / f'{i:05d}.jpg').write_bytes(data)
                file.write(b'%05d.jpg\t%s\n' % (i, base64.b64encode(data)))
        measure(path, folder, args)


if __name__ == '__main__':
    main()
