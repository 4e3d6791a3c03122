# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Speed and memory of MPM beside a plain transcription.

The plain one is the method as it is published: explicit softmax attention
with three linear layers, a layer norm of single steps, 1x1 convolutions with
the channels in front, joints masked frame by frame, and hidden frames dropped
behind the per-frame layers. Both share the weights; the run first checks that
they agree. Shares are of the rate that the machine's own matrix product
reaches, with the operations of the plain method, so that work saved counts.
Then the loader of the configs, on motion capture of random walks seen by
virtual cameras, in clips a second with and without workers: it should not be
what the network waits for.

python tools/analysis_tools/benchmark_mpm.py
python tools/analysis_tools/benchmark_mpm.py --threads 1 --batch-sizes 8
"""
import argparse
import copy
import json
import os.path as osp
import sys
import tempfile
import time

import numpy as np
import torch
import torch.nn.functional as F
from benchmarking import (Products, add_cpu_flags, added_memory, best_times,
                          count_gflop, printed_by, set_up_cpu)
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpose.registry import MODELS
from mmpose.structures import PoseDataSample

import mpm_postometro  # noqa: F401  (mends imports)
from mpm_postometro.apis.quickstart import find_configs
from mpm_postometro.models.layers import PUBLISHED_STRIDES
from mpm_postometro.models.losses import sequence_mpjpe_loss

TASKS = {
    'pre-training step': dict(pretraining=True, training=True),
    'lifting training step': dict(pretraining=False, training=True),
    'lifting': dict(pretraining=False, training=False),
}
LOADERS = {
    'pre-training': 'mpm/mpm_pretrain_cmu-27f.py',
    'lifting': 'mpm/mpm_lift_cmu-27f.py'
}


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--batch-sizes', type=int, nargs='+', default=[1, 32])
    parser.add_argument(
        '--frames', type=int, default=243, choices=PUBLISHED_STRIDES)
    parser.add_argument('--joints', type=int, default=17)
    parser.add_argument('--channels', type=int, default=256)
    parser.add_argument('--layers', type=int, default=4)
    parser.add_argument(
        '--attention-dropout',
        type=float,
        default=0.1,
        help='dropout rate of the attention weights, in training; 0.1 is '
        'published')
    add_cpu_flags(parser)
    parser.add_argument('--rounds', type=int, default=5)
    parser.add_argument(
        '--workers',
        type=int,
        nargs='+',
        default=[0, 1, 2],
        help='processes that load clips')
    parser.add_argument(
        '--loaded-clips',
        type=int,
        default=2048,
        help='clips to time the loader by')
    parser.add_argument(
        '--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument(
        '--memory-of',
        nargs=2,
        metavar=('METHOD', 'TASK'),
        help='only print the peak memory (for the run itself, which starts a '
        'process for each)')
    return parser.parse_args(argv)


class Plain:
    """The published computation on the parameters of an estimator.

    Poses are (B, T, J, d); inside, features of frames are (B, C, T) in the
    per-frame layers and (B, T, C) in the transformers.
    """

    def __init__(self, model) -> None:
        self.model = model

    def pretrain(self, inputs):
        """Poses of both modalities; the masks of the first clip serve all, as
        published."""
        poses = []
        for name in ('2d', '3d'):
            joint_mask = inputs[f'joint_mask_{name}'][0]
            frame_mask = torch.zeros_like(joint_mask[:, 0])
            if f'frame_mask_{name}' in inputs:  # or nothing is hidden
                frame_mask = inputs[f'frame_mask_{name}'][0]
            poses.append(
                self.reconstruct(inputs[f'keypoints_{name}'], name, joint_mask,
                                 frame_mask))
        return poses

    def reconstruct(self, poses, name, joint_mask, frame_mask):
        net, head = self.model.backbone, self.model.heads[name]
        poses = poses.clone()
        for frame in range(poses.shape[1]):
            poses[:, frame, joint_mask[frame]] = net.joint_tokens[name]
        x = self.encode_frames(poses, name) + net.position
        x = x[:, ~frame_mask]
        for layer in net.layers:
            x = self.layer(layer, x)
        x = self.norm(net.norm, x)
        position = net.second_position.expand(len(x), -1, -1)
        full = torch.cat([
            x + position[:, ~frame_mask],
            net.frame_token + position[:, frame_mask]
        ], 1)
        order = torch.cat([(~frame_mask).nonzero(), frame_mask.nonzero()])
        x = full[:, order[:, 0].argsort()]
        for layer in head.layers:
            x = self.layer(layer, x)
        return self.output(head.output, x)

    def lift(self, poses):
        """Poses of all frames and of the target frame."""
        net, head = self.model.backbone, self.model.heads['3d']
        x = self.encode_frames(poses, '2d') + net.position
        for layer in net.layers:
            x = self.layer(layer, x)
        frames = self.output(head.frame_output, x)
        for i, layer in enumerate(head.aggregator.layers):
            if i < 3:
                x = x + head.aggregator.positions[i][:, :x.shape[1]]
            x = self.strided_layer(layer, x)
        return frames, self.output(head.target_output, x)

    def encode_frames(self, poses, name):
        net = self.model.backbone
        x = self.block(net.encoders[name], poses.flatten(2).transpose(1, 2))
        y = x
        for block in net.residual:
            y = self.block(block, y)
        x = F.conv1d(x + y, net.projection.weight[..., None],
                     net.projection.bias)
        return x.transpose(1, 2)

    def block(self, block, x):
        x = F.conv1d(x, block.linear.weight[..., None], block.linear.bias)
        return self.drop(block, F.leaky_relu(block.norm(x), block.slope))

    def drop(self, layer, x):
        return F.dropout(x, layer.dropout.p, self.model.training)

    def norm(self, norm, x):
        mean, std = x.mean(-1, keepdim=True), x.std(-1, keepdim=True)
        return norm.weight * (x - mean) / (std + norm.eps) + norm.bias

    def attention(self, attn, x):
        query, key, value = (F.linear(x, weight, bias).unflatten(
            -1, (attn.num_heads, -1)).transpose(1, 2) for weight, bias in zip(
                attn.in_proj_weight.chunk(3), attn.in_proj_bias.chunk(3)))
        scores = query @ key.transpose(-1, -2) / query.shape[-1]**0.5
        weights = F.dropout(
            scores.softmax(-1), attn.dropout, self.model.training)
        out = (weights @ value).transpose(1, 2).contiguous().flatten(2)
        return attn.out_proj(out)

    def layer(self, layer, x):
        y = self.attention(layer.self_attn, self.norm(layer.norm1, x))
        x = x + self.drop(layer, y)
        y = F.relu(layer.linear1(self.norm(layer.norm2, x)))
        y = self.drop(layer, y)
        return x + self.drop(layer, layer.linear2(y))

    def strided_layer(self, layer, x):
        y = self.attention(layer.self_attn, self.norm(layer.norm1, x))
        x = x + self.drop(layer, y)
        y = self.norm(layer.norm2, x).transpose(1, 2)
        y = F.conv1d(y, layer.linear1.weight[..., None], layer.linear1.bias)
        weight = layer.linear2.weight.unflatten(1, (3, -1)).transpose(1, 2)
        y = F.conv1d(
            self.drop(layer, F.relu(y)),
            weight,
            layer.linear2.bias,
            stride=layer.stride,
            padding=1)
        return x[:, ::layer.stride] + self.drop(layer, y.transpose(1, 2))

    def output(self, output, x):
        """(B, T, C) or (B, C) -> (B, T, J * d) or (B, J * d)."""
        single = x.dim() == 2
        x = x.unsqueeze(1) if single else x
        x = F.conv1d(
            output.norm(x.transpose(1, 2)), output.linear.weight[..., None],
            output.linear.bias).transpose(1, 2)
        return x[:, 0] if single else x


class Ours:
    """The estimator by the same names."""

    def __init__(self, model) -> None:
        self.model = model

    def pretrain(self, inputs):
        poses = self.model(inputs)
        return [poses[f'{name}_to_{name}'].frames for name in ('2d', '3d')]

    def lift(self, poses):
        return self.model(dict(keypoints_2d=poses))['2d_to_3d']


def build(args, pretraining):
    """An estimator, on the device."""
    torch.manual_seed(0)
    sizes = dict(
        num_joints=args.joints,
        channels=args.channels,
        feedforward_channels=2 * args.channels,
        attention_dropout=args.attention_dropout)
    backbone = dict(
        type='MPM',
        num_frames=args.frames,
        hidden_channels=2 * args.channels,
        num_layers=args.layers,
        modalities=('2d', '3d') if pretraining else ('2d', ),
        masking=pretraining,
        **sizes)
    if pretraining:
        heads = {
            name:
            dict(type='MPMDecoderHead', coord_dims=int(name[0]), **sizes)
            for name in ('2d', '3d')
        }
        tasks = [
            dict(source='2d', target='2d', weight=5.),
            dict(source='3d', target='3d', weight=2.)
        ]
    else:
        head = dict(type='MPMLiftingHead', num_frames=args.frames, **sizes)
        heads, tasks = {'3d': head}, [dict(source='2d', target='3d')]
    model = dict(
        type='MPMEstimator', backbone=backbone, heads=heads, tasks=tasks)
    return MODELS.build(model).to(args.device)


def make_batch(args, size, masked, same_masks=False):
    """Random clips; if masked, 60 % of the frames and 5 of 17 joints of the
    others are hidden."""
    generator = torch.Generator().manual_seed(1)
    shape = (size, args.frames, args.joints)
    data = {}
    for name in ('2d', '3d'):
        data[f'keypoints_{name}'] = torch.randn(
            *shape, int(name[0]), generator=generator)
        if not masked:
            continue
        scores = torch.rand(shape, generator=generator)
        joint_mask = scores.argsort(-1) < args.joints * 5 // 17
        order = torch.rand(shape[:2], generator=generator).argsort(-1)
        frame_mask = order < int(0.6 * args.frames)
        if same_masks:
            joint_mask = joint_mask[:1].repeat(size, 1, 1)
            frame_mask = frame_mask[:1].repeat(size, 1)
        data[f'joint_mask_{name}'] = joint_mask
        data[f'frame_mask_{name}'] = frame_mask
    sample = PoseDataSample(metainfo=dict(target_index=args.frames // 2))
    return dict(inputs=data, data_samples=[sample] * size)


METHODS = dict(plain=Plain, ours=Ours)


def loss_of(method, task, batch):
    inputs = batch['inputs']
    if isinstance(method, Ours):
        return sum(
            method.model(inputs, batch['data_samples'], mode='loss').values())
    target = inputs['keypoints_3d']
    if task['pretraining']:
        poses = method.pretrain(inputs)
        return sum(
            weight *
            sequence_mpjpe_loss(pose.view_as(inputs[key]), inputs[key])
            for pose, key, weight in zip(poses, ('keypoints_2d',
                                                 'keypoints_3d'), (5., 2.)))
    frames, middle = method.lift(inputs['keypoints_2d'])
    return sequence_mpjpe_loss(
        frames.view_as(target), target) + sequence_mpjpe_loss(
            middle.view_as(target[:, 0]), target[:, target.shape[1] // 2])


def optimizer_of(model):
    return torch.optim.Adam(model.parameters(), 1e-4, amsgrad=True, fused=True)


def make_work(method, task, data):
    """Function that does one step of a task, on a collated batch."""
    method.model.train(task['training'])
    preprocess = method.model.data_preprocessor
    if not task['training']:

        @torch.no_grad()
        def infer():
            inputs = preprocess(copy.copy(data))['inputs']
            return method.lift(inputs['keypoints_2d'])

        return infer
    optimizer = optimizer_of(method.model)

    def step():
        loss = loss_of(method, task, preprocess(copy.copy(data), True))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


@torch.no_grad()
def check(args, pretraining):
    """Raise if the two do not agree."""
    model = build(args, pretraining).eval()
    batch = model.data_preprocessor(make_batch(args, 2, pretraining, True))
    inputs = batch['inputs']
    if pretraining:
        ours, plain = (m(model).pretrain(inputs) for m in (Ours, Plain))
    else:
        ours, plain = (
            m(model).lift(inputs['keypoints_2d']) for m in (Ours, Plain))
    for one, other in zip(ours, plain):
        torch.testing.assert_close(
            one, other.view_as(one), rtol=1e-4, atol=1e-4)


def peak_memory(args) -> float:
    """MB of a task, run twice."""
    name, task_name = args.memory_of
    task = TASKS[task_name]

    def run(size):
        model = build(args, task['pretraining'])
        data = make_batch(args, size, task['pretraining'])
        work = make_work(METHODS[name](model), task, data)
        for _ in range(2):
            work()

    return added_memory(lambda: run(max(args.batch_sizes)), lambda: run(2),
                        args.device)


def write_walks(path: str, num_frames: int) -> None:
    """Motion capture of somebody who walks at random."""
    rng = np.random.default_rng(0)
    root = rng.normal(0, .01, (num_frames, 1, 3)).cumsum(0)
    np.savez(
        path,
        joints_3d=(root + rng.normal(0, .3, (1, 17, 3))).astype(np.float32),
        clip_start=np.array([0]),
        clip_length=np.array([num_frames]),
        clip_name=np.array(['walk']),
        clip_subject=np.array(['1']),
        clip_action=np.array(['walk']))


def loader_rate(args, config: str, path: str, workers: int) -> float:
    """Clips a second of the training loader of a config."""
    cfg = Config.fromfile(osp.join(find_configs(), config)).train_dataloader
    cfg.update(num_workers=workers, persistent_workers=workers > 0)
    cfg.batch_size = max(args.batch_sizes)
    cfg.pin_memory = args.device.startswith('cuda')
    cfg.dataset.update(ann_file=path, seq_len=args.frames)
    loader = Runner.build_dataloader(cfg, seed=0)
    batches = iter(loader)
    next(batches)  # workers have started
    start, count = time.perf_counter(), 0
    while count < args.loaded_clips:
        count += len(next(batches)['data_samples'])
    rate = count / (time.perf_counter() - start)
    del batches
    return rate


def print_loaders(args) -> None:
    init_default_scope('mmpose')
    print(f'\nloader, batches of {max(args.batch_sizes)} clips of '
          f'{args.frames} frames\n| clips for | workers | clips/s |\n'
          '|---|---|---|')
    with tempfile.TemporaryDirectory() as folder:
        path = osp.join(folder, 'walks.npz')
        write_walks(path, args.loaded_clips + 10 * max(args.batch_sizes))
        for name, config in LOADERS.items():
            for workers in args.workers:
                rate = loader_rate(args, config, path, workers)
                print(f'| {name} | {workers} | {rate:.0f} |', flush=True)


def main(argv=None):
    args = parse_args(argv)
    set_up_cpu(args)
    if args.memory_of:
        print(json.dumps(peak_memory(args)))
        return
    for pretraining in (True, False):
        check(args, pretraining)
    # The largest product: all frames of 32 clips.
    shape = 32 * args.frames, 2 * args.channels, 2 * args.channels
    products = Products(args.device, *shape)
    rows = []
    for task_name, task in TASKS.items():
        for size in args.batch_sizes:
            if size == 1 and task_name == 'lifting training step':
                continue  # see below
            model = build(args, task['pretraining'])
            data = make_batch(args, size, task['pretraining'])
            data['inputs'] = {k: list(v) for k, v in data['inputs'].items()}
            work = dict(products.work)
            for name, method in METHODS.items():
                work[name] = make_work(
                    method(copy.deepcopy(model)), task, data)
            times = best_times(work, args.rounds, args.device)
            rate = max(products.take_rates(times).values())
            gflop = count_gflop(work['plain'])
            for name in METHODS:
                memory = None
                if size == max(args.batch_sizes):
                    memory = printed_by(
                        __file__,
                        args,
                        '--memory-of',
                        name,
                        task_name,
                        batch_sizes=size,
                        memory_of=None)
                rows.append(
                    (task_name, size, name, times[name] * 1e3,
                     size / times[name], gflop, gflop / times[name] / rate,
                     times['plain'] / times[name], memory))
    print(f'{args.frames} frames of {args.joints} joints, {args.layers} '
          f'layers of {args.channels} channels, attention dropout '
          f'{args.attention_dropout}; {args.device}, {args.threads} threads; '
          f'freed memory {args.freed_memory}; matrix product {rate:.0f} '
          'GFLOP/s')
    print('| task | batch | method | ms | clips/s | GFLOP | of the product\'s '
          'rate | plain / this | peak MB |\n|---|---|---|---|---|---|---|---|'
          '---|')
    if 1 in args.batch_sizes:
        print(
            'no lifting training of one clip: BatchNorm of target frames '
            'needs two',
            file=sys.stderr)
    for task, size, name, ms, clips, gflop, share, ratio, memory in rows:
        memory = '' if memory is None else f'{memory:.0f}'
        print(f'| {task} | {size} | {name} | {ms:.1f} | {clips:.1f} | '
              f'{gflop:.1f} | {share:.0%} | {ratio:.2f} | {memory} |')
    print_loaders(args)


if __name__ == '__main__':
    main()
