# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Images per second of whole networks, from crop to mesh (Table 4).

Networks are built as their configs say, with random weights, and predict
random pictures: backbone, pose branch, mesh transformer and projection, not
the reading of files. They take turns, and the best of the rounds counts.

python tools/analysis_tools/benchmark_networks.py \
    configs/postometro/{image-only,postometro}_res50_mix-256x256.py \
    --out work_dirs/speed.json
python tools/analysis_tools/paper_tables.py --tables 4 --speed \
    work_dirs/speed.json
"""
import argparse
import os.path as osp
from typing import Callable, Dict, Optional, Sequence

import torch
from benchmarking import add_cpu_flags, best_times, set_up_cpu
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample

from mpm_postometro.files import write_json


def make_work(path: str, batch_size: int, device: str) -> Callable:
    """Function that predicts a batch.

    Args:
        path (str): Config of a MeshEstimator.
        batch_size (int): Pictures at a time.
        device (str): Where it runs.
    """
    cfg = Config.fromfile(path)
    torch.manual_seed(0)
    model = MODELS.build(cfg.model).to(device).eval()
    crop = next(step for step in cfg.test_dataloader.dataset.pipeline
                if step['type'] == 'MeshAffine')
    w, h = crop['input_size']
    pictures = torch.randn(batch_size, 3, h, w, device=device)
    meta = dict(input_center=(w / 2, h / 2), input_scale=(w, h))

    @torch.no_grad()
    def predict():
        samples = [PoseDataSample(metainfo=meta) for _ in range(batch_size)]
        return model(pictures, samples, mode='predict')

    return predict


def parse_args(argv: Optional[Sequence[str]] = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('configs', nargs='+')
    parser.add_argument('--batch-size', type=int, default=1)
    parser.add_argument('--rounds', type=int, default=5)
    add_cpu_flags(parser)
    parser.add_argument(
        '--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument('--out', help='JSON file for paper_tables.py')
    return parser.parse_args(argv)


def main(argv: Optional[Sequence[str]] = None) -> None:
    args = parse_args(argv)
    init_default_scope('mmpose')
    set_up_cpu(args)
    work = {
        osp.splitext(osp.basename(path))[0]:
        make_work(path, args.batch_size, args.device)
        for path in args.configs
    }
    times = best_times(work, args.rounds, args.device)
    speed: Dict[str, float] = {
        name: args.batch_size / seconds
        for name, seconds in times.items()
    }
    print(f'{args.device}, {args.threads} threads, freed memory '
          f'{args.freed_memory}, {args.batch_size} at a time\n\n'
          '| config | images/s |\n|---|---:|')
    for name, value in speed.items():
        print(f'| {name} | {value:.2f} |')
    if args.out:
        write_json(
            args.out,
            dict(
                networks=speed,
                device=args.device,
                threads=args.threads,
                batch_size=args.batch_size))


if __name__ == '__main__':
    main()
