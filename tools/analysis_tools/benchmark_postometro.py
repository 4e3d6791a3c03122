# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Speed and memory of the mesh transformer beside a plain transcription.

The plain one is in plain_mesh_head.py: nn.MultiheadAttention as published, a
mask over all pairs, dense upsampling. Both have the same weights; the run
first checks that their outputs agree to 1e-5. In a training step both have
the same loss, with given targets, and the same optimizer. Shares are of the
quicker of two matrix products, torch.mm and that of our linear layers, with
the operations of the plain method, so that work saved counts. At the end
stands the evaluation of 3DPW's test split: PA-MPJPE of 35,515 persons, at
once and one by one. How fast pictures come out of METRO's tables is in
benchmark_tsv.py.

On a GPU, both methods also run in bf16 and compiled.

python tools/analysis_tools/benchmark_postometro.py
python tools/analysis_tools/benchmark_postometro.py --threads 1 --sizes L
"""
import argparse
import json
from contextlib import nullcontext

import numpy as np
import torch
from benchmarking import (Products, add_cpu_flags, added_memory, best_times,
                          count_gflop, printed_by, set_up_cpu)
from plain_mesh_head import PlainMeshHead

import mpm_postometro  # noqa: F401  (mends imports)
from mpm_postometro.bodies import load_body
from mpm_postometro.evaluation.functional import pa_mpjpe
from mpm_postometro.models.heads import PostoMETROHead
from mpm_postometro.models.losses import MeshLoss, MeshTargets

LAYERS = dict(S=1, M=2, L=3)
METHODS = ('plain', 'ours', 'ours, checkpointed')
TASKS = ('inference', 'training step')


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        '--sizes', nargs='+', choices=LAYERS, default=list(LAYERS))
    parser.add_argument(
        '--batch-sizes',
        type=int,
        nargs='+',
        default=[1, 16],
        help='of inference; the largest is that of training')
    parser.add_argument(
        '--hidden-dims', type=int, nargs='+', default=[512, 128])
    parser.add_argument('--in-channels', type=int, default=2048)
    parser.add_argument(
        '--persons', type=int, default=35515, help='of the evaluation')
    add_cpu_flags(parser)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument(
        '--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument(
        '--precisions',
        nargs='+',
        choices=('fp32', 'bf16'),
        help='fp32 and, on a GPU, bf16 (autocast)')
    parser.add_argument(
        '--compile',
        action=argparse.BooleanOptionalAction,
        help='with torch.compile too; on a GPU by default')
    parser.add_argument(
        '--memory-of',
        nargs=2,
        metavar=('METHOD', 'TASK'),
        help='only print the peak memory (for the run itself, which starts a '
        'process for each)')
    args = parser.parse_args(argv)
    on_gpu = args.device.startswith('cuda')
    if args.precisions is None:
        args.precisions = ['fp32', 'bf16'] if on_gpu else ['fp32']
    if args.compile is None:
        args.compile = on_gpu
    return args


def build(args, method, size, body):
    """A head with the weights that all methods share."""
    sizes = dict(
        num_layers=LAYERS[size],
        hidden_dims=args.hidden_dims,
        feedforward_dims=[4 * dim for dim in args.hidden_dims],
        num_heads=8)
    torch.manual_seed(0)
    head = PostoMETROHead(
        args.in_channels,
        body,
        with_cp=method == 'ours, checkpointed',
        **sizes)
    if method == 'plain':
        ours = head
        head = PlainMeshHead(args.in_channels, body.levels, **sizes)
        head.load_state_dict(ours.state_dict())
    return head.to(args.device)


def make_batch(args, count):
    """Features and pose tokens."""
    torch.manual_seed(1)
    feats = torch.randn(count, args.in_channels, 8, 8, device=args.device)
    tokens = torch.randn(count, 34, 512, device=args.device)
    return feats, (tokens, torch.randn(count, 34, 1, device=args.device))


def make_targets(args, count, body):
    torch.manual_seed(2)

    def draw(*shape):
        return torch.randn(count, *shape, device=args.device)

    ones = torch.ones(count, device=args.device)
    vertices = (None, None, draw(body.num_vertices, 3))
    return MeshTargets(vertices, draw(14, 3), ones[:, None].expand(-1, 14),
                       draw(14, 2), ones[:, None].expand(-1, 14), ones, ones)


def optimizer_of(head):
    return torch.optim.AdamW(head.parameters(), 1e-4, fused=True)


def make_work(args, head, task, count, body, precision='fp32'):
    """Function that does one step of a task."""
    head.train(task == 'training step')
    batch = make_batch(args, count)

    def forward():
        context = nullcontext()
        if precision == 'bf16':
            context = torch.autocast(
                torch.device(args.device).type, torch.bfloat16)
        with context:
            return head(*batch)

    if task == 'inference':
        return torch.no_grad()(forward)
    loss, targets = MeshLoss(), make_targets(args, count, body)
    optimizer = optimizer_of(head)

    def step():
        losses = loss(forward(), targets, body)
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()

    return step


def outputs(prediction):
    return prediction.camera, prediction.joints_3d, *prediction.vertices


def check(args, size, body):
    """Raise if the two do not agree."""
    found = [
        make_work(args, build(args, method, size, body), 'inference', 2,
                  body)() for method in ('plain', 'ours')
    ]
    for plain, ours in zip(*map(outputs, found)):
        torch.testing.assert_close(ours, plain, rtol=1e-5, atol=1e-5)


def peak_memory(args) -> float:
    """MB of a task, run twice."""
    method, task = args.memory_of
    size, = args.sizes
    body = load_body().to(args.device)

    def run(count):
        head = build(args, method, size, body)
        work = make_work(args, head, task, count, body)
        for _ in range(2):
            work()

    return added_memory(lambda: run(max(args.batch_sizes)), lambda: run(1),
                        args.device)


def methods_of(args, task):
    methods = METHODS if task == 'training step' else METHODS[:2]
    if args.compile:
        methods += tuple(f'{method}, compiled' for method in METHODS[:2])
    return methods


def measure(args, size, task, count, precision, body):
    """Rows of the table: methods of one task in turns, with the products."""
    dtype = dict(fp32=torch.float32, bf16=torch.bfloat16)[precision]
    rows = 445 * (count if args.device.startswith('cuda') else 1)
    products = Products(args.device, rows, 512, 2048, dtype)
    work = dict(products.work)
    for method in methods_of(args, task):
        head = build(args, method.replace(', compiled', ''), size, body)
        if method.endswith('compiled'):
            head = torch.compile(head)
        work[method] = make_work(args, head, task, count, body, precision)
    times = best_times(work, args.rounds, args.device)
    rates = products.take_rates(times)
    gflop = count_gflop(work['plain'])
    for method, seconds in times.items():
        memory = ''
        if (count == max(args.batch_sizes) and method in METHODS
                and precision == 'fp32'):
            memory = printed_by(
                __file__,
                args,
                '--memory-of',
                method,
                task,
                sizes=size,
                batch_sizes=count,
                memory_of=None,
                compile=None)
            memory = f'{memory:.0f}'
        share = gflop / seconds / max(rates.values())
        print(
            f'| {size} | {task} | {count} | {precision} | {method} | '
            f'{seconds * 1e3:.1f} | {count / seconds:.1f} | {gflop:.1f} | '
            f'{share:.0%} | {times["plain"] / seconds:.2f} | {memory} |',
            flush=True)
    return rates


def one_by_one(pred, target):
    """PA-MPJPE as published: a singular value decomposition a person."""
    errors = []
    for p, t in zip(pred, target):
        p, t = p.T, t.T
        p_mean, t_mean = p.mean(1, keepdims=True), t.mean(1, keepdims=True)
        p_centred, t_centred = p - p_mean, t - t_mean
        u, _, vh = np.linalg.svd(p_centred @ t_centred.T)
        sign = np.eye(3)
        sign[2, 2] = np.sign(np.linalg.det(u @ vh))
        rotation = vh.T @ sign @ u.T
        scale = np.trace(rotation @ p_centred @ t_centred.T)
        scale = scale / np.square(p_centred).sum()
        aligned = scale * rotation @ p + t_mean - scale * rotation @ p_mean
        errors.append(np.sqrt(((aligned - t)**2).sum(0)).mean())
    return torch.tensor(np.array(errors))


def print_evaluation(args) -> None:
    generator = torch.Generator().manual_seed(0)
    target = torch.randn(
        args.persons, 14, 3, generator=generator, dtype=torch.float64)
    pred = target + 0.1 * torch.randn(
        target.shape, generator=generator, dtype=torch.float64)
    on_device = [x.to(args.device).float() for x in (pred, target)]
    arrays = pred.numpy(), target.numpy()
    torch.testing.assert_close(
        pa_mpjpe(*on_device).cpu().double(),
        one_by_one(*arrays),
        rtol=1e-4,
        atol=1e-5)
    times = best_times(
        dict(
            together=lambda: pa_mpjpe(*on_device),
            alone=lambda: one_by_one(*arrays)), 3, args.device)
    print(f'PA-MPJPE of {args.persons} persons: {times["together"]:.2f} s at '
          f'once, {times["alone"]:.2f} s one by one '
          f'({times["alone"] / times["together"]:.0f} times as long)')


def main(argv=None):
    args = parse_args(argv)
    set_up_cpu(args)
    if args.memory_of:
        print(json.dumps(peak_memory(args)))
        return
    body = load_body().to(args.device)
    for size in args.sizes:
        check(args, size, body)
    print('| size | task | batch | precision | method | ms | images/s | '
          'GFLOP | of the product\'s rate | plain / this | peak MB |\n'
          '|---|---|---|---|---|---|---|---|---|---|---|')
    best = {}
    for size in args.sizes:
        for task in TASKS:
            for count in args.batch_sizes:
                if task != 'inference' and count < max(args.batch_sizes):
                    continue
                for precision in args.precisions:
                    rates = measure(args, size, task, count, precision, body)
                    for name, rate in rates.items():
                        key = name, precision
                        best[key] = max(best.get(key, 0), rate)
    rates = ', '.join(f'{name} {precision} {rate:.0f}'
                      for (name, precision), rate in best.items())
    print(f'{args.device}, {args.threads} threads; freed memory '
          f'{args.freed_memory}; matrix products in GFLOP/s: {rates}')
    print_evaluation(args)


if __name__ == '__main__':
    main()
