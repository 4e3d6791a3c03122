# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Speed and memory of the pose tokenizer beside a plain transcription.

The plain one is the method as it is published: axes turned for the MLP over
the tokens, the whole table of distances, and a one-hot matrix in the lookup
and in the moving averages. Both share the weights; the run first checks that
they agree. Beside them stands what the machine's own matrix product reaches.

python tools/analysis_tools/benchmark_tokenizer.py
python tools/analysis_tools/benchmark_tokenizer.py --threads 1 --batch-size 16
"""
import argparse
import copy
import json

import torch
import torch.nn.functional as F
from benchmarking import (Products, add_cpu_flags, added_memory, best_times,
                          count_gflop, printed_by, set_up_cpu)

import mpm_postometro  # noqa: F401  (mends imports)
from mpm_postometro.models.losses import smooth_l1_keypoint_loss
from mpm_postometro.models.tokenizers import PCTTokenizer

BETA, LATENT_WEIGHT = 0.05, 15.


def parse_args(argv=None):
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--batch-size', type=int, default=64)
    parser.add_argument('--joints', type=int, default=17)
    parser.add_argument('--tokens', type=int, default=34)
    parser.add_argument('--codes', type=int, default=2048)
    parser.add_argument('--token-dim', type=int, default=512)
    add_cpu_flags(parser)
    parser.add_argument('--rounds', type=int, default=20)
    parser.add_argument(
        '--device', default='cuda' if torch.cuda.is_available() else 'cpu')
    parser.add_argument(
        '--memory-of',
        choices=['ours', 'plain'],
        help='only print the peak memory of training steps (for the run '
        'itself, which starts a process for each)')
    return parser.parse_args(argv)


class Plain:
    """The published computation on the parameters of a tokenizer."""

    def __init__(self, tokenizer: PCTTokenizer) -> None:
        self.net = tokenizer

    def __call__(self, joints, visible):
        latents = self.latents(joints, visible)
        tokens, codes, loss = self.quantize(latents)
        return self.decode(tokens), codes, loss

    def encode(self, joints, visible):
        tokens, codes, _ = self.quantize(self.latents(joints, visible))
        return tokens, codes

    def latents(self, joints, visible):
        net = self.net
        seen = visible > 0
        if net.training:
            seen = seen & (torch.rand_like(visible) >= net.joint_drop)
        x = net.start_embed(joints)
        x = torch.where(seen[..., None], x, net.invisible_token)
        for layer in net.encoder:
            x = self.mix(layer, x)
        x = net.encoder_layer_norm(x).transpose(1, 2)
        return net.feature_embed(net.token_mlp(x).transpose(1, 2))

    def mix(self, layer, x):
        y = layer.MLP_token(layer.layernorm1(x).transpose(1, 2))
        y = y.transpose(1, 2)
        return x + y + layer.MLP_channel(layer.layernorm2(x + y))

    def quantize(self, latents):
        book = self.net.quantizer
        flat = latents.flatten(0, 1)
        distances = ((flat**2).sum(1, keepdim=True) +
                     (book.codebook**2).sum(1) - 2 * flat @ book.codebook.t())
        codes = distances.argmin(1, keepdim=True)
        one_hot = torch.zeros_like(distances).scatter_(1, codes, 1)
        tokens = (one_hot @ book.codebook).view_as(latents)
        if self.net.training:
            self.update(one_hot, flat.detach())
        loss = F.mse_loss(tokens.detach(), latents)
        return latents + (tokens - latents).detach(), codes, loss

    @torch.no_grad()
    def update(self, one_hot, flat):
        book = self.net.quantizer
        counts, sums = one_hot.sum(0), one_hot.t() @ flat
        size = book.ema_cluster_size * book.decay + counts * (1 - book.decay)
        total = size.sum()
        size = (size + book.eps) / (total + len(size) * book.eps) * total
        book.ema_cluster_size = size
        book.ema_w = book.ema_w * book.decay + sums * (1 - book.decay)
        book.codebook = book.ema_w / size[:, None]

    def decode(self, tokens):
        net = self.net
        x = net.decoder_token_mlp(tokens.transpose(1, 2)).transpose(1, 2)
        x = net.decoder_start(x)
        for layer in net.decoder:
            x = self.mix(layer, x)
        return net.recover_embed(net.decoder_layer_norm(x))


class Ours:
    """The tokenizer by the same three names."""

    def __init__(self, tokenizer: PCTTokenizer) -> None:
        self.net = tokenizer

    def __call__(self, joints, visible):
        output = self.net(joints, visible)
        return output.joints, output.codes, output.latent_loss

    def encode(self, joints, visible):
        output = self.net.encode(joints, visible)
        return output.quantized, output.codes

    def decode(self, tokens):
        return self.net.decode(tokens)


def build(args):
    """A tokenizer, and poses in pixels with a tenth of the joints hidden."""
    torch.manual_seed(0)
    tokenizer = PCTTokenizer(
        num_joints=args.joints,
        num_tokens=args.tokens,
        num_codes=args.codes,
        token_dim=args.token_dim).to(args.device)
    # As after some training: codes where the inputs are.
    tokenizer.quantizer.codebook.mul_(0.3)
    tokenizer.quantizer.ema_w.copy_(tokenizer.quantizer.codebook)
    tokenizer.quantizer.ema_cluster_size.fill_(1.)
    shape = (args.batch_size, args.joints)
    joints = 256 * torch.rand(*shape, 2, device=args.device)
    visible = (torch.rand(shape, device=args.device) > 0.1).float()
    return tokenizer, joints, visible


def optimizer_of(tokenizer):
    return torch.optim.AdamW(tokenizer.parameters(), 1e-4, fused=True)


def train_step(method, optimizer, joints, visible):
    pred, _, latent_loss = method(joints, visible)
    loss = smooth_l1_keypoint_loss(pred, joints, visible, BETA)
    optimizer.zero_grad()
    (loss + LATENT_WEIGHT * latent_loss).backward()
    optimizer.step()


def check(ours, plain, joints, visible):
    """Raise if the two do not agree."""
    with torch.no_grad():
        for one, other in zip(ours(joints, visible), plain(joints, visible)):
            if one.is_floating_point():
                torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-3)
            elif (one.flatten() != other.flatten()).float().mean() > 1e-3:
                raise AssertionError('the codes differ')


def train(method, args) -> None:
    tokenizer, joints, visible = build(args)
    optimizer = optimizer_of(tokenizer.train())
    for _ in range(3):
        train_step(method(tokenizer), optimizer, joints, visible)


def peak_memory(args) -> float:
    """MB of training steps."""
    method = dict(ours=Ours, plain=Plain)[args.memory_of]
    small = argparse.Namespace(**{**vars(args), 'batch_size': 1})
    return added_memory(lambda: train(method, args),
                        lambda: train(method, small), args.device)


def main(argv=None):
    args = parse_args(argv)
    set_up_cpu(args)
    if args.memory_of:
        print(json.dumps(peak_memory(args)))
        return
    tokenizer, joints, visible = build(args)
    methods = dict(plain=Plain(copy.deepcopy(tokenizer)), ours=Ours(tokenizer))
    for method in methods.values():
        method.net.eval()
    check(methods['ours'], methods['plain'], joints, visible)

    shape = args.batch_size * args.tokens, args.token_dim, args.codes
    products = Products(args.device, *shape)
    tokens = torch.randn(
        args.batch_size, args.tokens, args.token_dim, device=args.device)

    rows = []
    for task in ('encode', 'decode', 'training step'):
        work = dict(products.work)
        for name, method in methods.items():
            training = task == 'training step'
            method.net.train(training)
            work[name] = torch.no_grad()(
                {
                    'encode': lambda m=method: m.encode(joints, visible),
                    'decode': lambda m=method: m.decode(tokens)
                }[task]) if not training else (lambda m=method, o=optimizer_of(
                    method.net): train_step(m, o, joints, visible))
        times = best_times(work, args.rounds, args.device)
        rate = max(products.take_rates(times).values())
        for name in methods:
            gflop = count_gflop(work[name])
            rows.append(
                (task, name, times[name] * 1e3, args.batch_size / times[name],
                 gflop, gflop / times[name] / rate,
                 times['plain'] / times[name]))
    print(f'{args.batch_size} poses of {args.joints} joints, {args.tokens} '
          f'tokens, {args.codes} codes of {args.token_dim}; {args.device}, '
          f'{args.threads} threads; freed memory '
          f'{args.freed_memory}; matrix product {rate:.0f} GFLOP/s')
    print('| task | method | ms | poses/s | GFLOP | of the product\'s rate | '
          'plain / this |\n|---|---|---|---|---|---|---|')
    for task, name, ms, poses, gflop, share, ratio in rows:
        print(f'| {task} | {name} | {ms:.1f} | {poses:.0f} | {gflop:.2f} | '
              f'{share:.0%} | {ratio:.2f} |')
    memory = {
        name: printed_by(__file__, args, memory_of=name)
        for name in methods
    }
    print('peak memory of training steps: ' +
          ', '.join(f'{name} {value:.0f} MB'
                    for name, value in memory.items()) +
          f' ({memory["ours"] / memory["plain"]:.2f})')


if __name__ == '__main__':
    main()
