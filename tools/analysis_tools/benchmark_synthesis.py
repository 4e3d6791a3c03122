# Copyright (c) The mpm_postometro authors. All rights reserved.
"""How fast the built-in data set is made, and what is in it.

python tools/analysis_tools/benchmark_synthesis.py
python tools/analysis_tools/benchmark_synthesis.py --statistics 2000
"""
import argparse
import os
import time

for _name in ('OMP_NUM_THREADS', 'OPENBLAS_NUM_THREADS', 'MKL_NUM_THREADS'):
    os.environ.setdefault(_name, '1')

import cv2  # noqa: E402
import numpy as np  # noqa: E402
import torch  # noqa: E402

from mpm_postometro.datasets.synthesis.generator import \
    ItemGenerator  # noqa: E402
from mpm_postometro.evaluation import functional  # noqa: E402


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--sizes',
        type=int,
        nargs='+',
        default=[256, 128],
        help='sides of the pictures in pixels')
    parser.add_argument(
        '--images', type=int, default=200, help='pictures to time')
    parser.add_argument(
        '--statistics',
        type=int,
        default=0,
        metavar='N',
        help='also print what is in N items (drawn at 128 pixels)')
    parser.add_argument(
        '--motion-file', help='take poses from motion capture (.npz)')
    return parser.parse_args()


def speed(function, count: int):
    """Items per second of wall time and of processor time."""
    function(0)  # tables and textures are made at the first call
    wall, processor = time.perf_counter(), time.process_time()
    for index in range(1, count + 1):
        function(index)
    return (count / (time.perf_counter() - wall),
            count / (time.process_time() - processor))


def histogram(title: str, values: np.ndarray, edges) -> None:
    """Print a histogram of text."""
    counts, _ = np.histogram(values, edges)
    print(title)
    for count, low, high in zip(counts, edges[:-1], edges[1:]):
        share = 100 * count / len(values)
        print(f'  {low:7.2f} .. {high:7.2f}  {share:5.1f} %  '
              f'{"#" * round(share)}')


def best_constant_pose(joints: torch.Tensor, rounds: int = 6) -> float:
    """PA-MPJPE in mm if one pose is given for everybody.

    The pose is the Procrustes mean: by turns, all are aligned to it and
    averaged.

    Args:
        joints (torch.Tensor): (N, K, 3), metres.
    """
    mean = joints[:1]
    for _ in range(rounds):
        aligned = functional.procrustes_align(joints, mean.expand_as(joints))
        mean = aligned.to(joints.dtype).mean(0, keepdim=True)
    error = functional.pa_mpjpe(mean.expand_as(joints).contiguous(), joints)
    return 1000 * float(error.mean())


def statistics(generator: ItemGenerator, count: int) -> None:
    """Print what is in the first items."""
    scenes = [generator.scene(index) for index in range(count)]
    items = [generator.item(index) for index in range(count)]
    occlusion = np.array([item['occlusion'][0] for item in items])
    hidden = np.array([item['keypoints_occluded'][0] for item in items])
    print(f'\n{count} items')
    print(f'occlusion above 0.05: {100 * (occlusion > .05).mean():.1f} %, '
          f'mean {occlusion.mean():.3f}; hidden keypoints '
          f'{100 * hidden.mean():.1f} %')
    histogram('occlusion', occlusion,
              [0, .05, .1, .2, .3, .4, .5, .6, .7, .8, 1.001])
    yaw = np.array([scene.yaw for scene in scenes])
    print(f'within 75 degrees of frontal: {100 * (abs(yaw) < 75).mean():.1f} '
          '%')
    histogram('yaw in degrees, 0 = faces the camera', yaw,
              np.linspace(-180, 180, 13))
    names, counts = np.unique([scene.pose_name for scene in scenes],
                              return_counts=True)
    print('stances: ' + ', '.join(f'{name} {100 * n / count:.1f} %'
                                  for name, n in zip(names, counts)))
    joints = torch.from_numpy(
        np.concatenate([item['joints_3d'] for item in items]))
    centred = joints - joints[:, 2:4].mean(1, keepdim=True)
    error = 1000 * (centred - centred.mean(0)).norm(dim=-1).mean()
    print(f'mean pose in the camera frame: MPJPE {float(error):.0f} mm')
    print('best constant pose: PA-MPJPE '
          f'{best_constant_pose(joints):.0f} mm')


def main():
    args = parse_args()
    cv2.setNumThreads(0)
    print('images/s on one core:    by the clock   by processor time')
    for size in args.sizes:
        generator = ItemGenerator(
            image_size=size, motion_file=args.motion_file)
        wall, processor = speed(generator.item, args.images)
        print(f'  {size:4d} x {size:<4d}          {wall:9.1f} '
              f'{processor:18.1f}')
    wall, processor = speed(generator.labels, args.images)
    print(f'  labels only          {wall:9.1f} {processor:18.1f}')
    if args.statistics:
        statistics(
            ItemGenerator(image_size=128, motion_file=args.motion_file),
            args.statistics)


if __name__ == '__main__':
    main()
