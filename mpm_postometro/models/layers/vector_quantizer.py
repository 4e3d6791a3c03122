# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Vector quantiser whose codebook follows its inputs by moving averages."""
from typing import NamedTuple, Optional, Tuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from .token_mixing import mix_tokens

__all__ = ['QuantizerOutput', 'VectorQuantizer']

Mixed = Tuple[Tensor, Tensor, Tensor]


class QuantizerOutput(NamedTuple):
    """What :class:`VectorQuantizer` returns.

    Attributes:
        quantized (Tensor): Chosen codebook vectors ``(..., D)``; their
            gradient goes straight through to the input.
        codes (Tensor): Index of the nearest code, int64 ``(...)``.
        latent_loss (Tensor): Mean squared distance of the input to its
            (constant) code, a scalar.
        usage (Tensor, optional): Fraction of the codebook that this batch,
            over all processes, chose; only in training.
        perplexity (Tensor, optional): ``exp`` of the entropy of the code
            counts of this batch, between 1 and ``V``; only in training.
    """
    quantized: Tensor
    codes: Tensor
    latent_loss: Tensor
    usage: Optional[Tensor] = None
    perplexity: Optional[Tensor] = None


class VectorQuantizer(nn.Module):
    """Nearest-code lookup with a codebook updated by moving averages.

    The update is that of PCT (sec. 3.1, after VQ-VAE, appendix A.1). With
    ``n`` the number of inputs that chose a code and ``s`` their sum, both
    added over all processes::

        count = decay * count + (1 - decay) * n
        count = (count + eps) / (sum(count) + V * eps) * sum(count)
        ema_w = decay * ema_w + (1 - decay) * s
        codebook = ema_w / count

    The smoothed count is what is stored. The update follows the lookup, so
    that a step uses the codebook as it was; it happens in training mode
    only. Every process ends up with the same codebook, whatever its share of
    the batch, and a step never waits for the device.

    Args:
        num_codes (int): Number ``V`` of codes.
        channels (int): Width ``D`` of a code.
        decay (float): Decay of the moving averages. Defaults to 0.9.
        eps (float): Smoothing of the counts. Defaults to 1e-5.
        kmeans_iters (int): If positive, the first training batch sets the
            codebook by that many rounds of k-means. With 0, as published,
            it starts from normal noise, and codes that the first batches do
            not choose are thrown far out: they shrink by the decay in each
            step, and may come back into use. Defaults to 0.
        revive_threshold (float): A code whose count has fallen below this
            fraction of the mean count is moved to a random input of the
            current batch. 0, as published, never revives; 0.02 is a
            sensible value. Defaults to 0.
        distance (str): 'euclidean', as published, or 'cosine' (after
            `ViT-VQGAN`_, sec. 3.2): inputs and codes are scaled to length
            ``sqrt(D)``, so that their direction alone counts and no code
            is out of reach. Defaults to 'euclidean'.

    .. _`ViT-VQGAN`: https://arxiv.org/abs/2110.04627
    """

    def __init__(self,
                 num_codes: int,
                 channels: int,
                 decay: float = 0.9,
                 eps: float = 1e-5,
                 kmeans_iters: int = 0,
                 revive_threshold: float = 0.,
                 distance: str = 'euclidean') -> None:
        super().__init__()
        if distance not in ('euclidean', 'cosine'):
            raise ValueError("distance should be 'euclidean' or 'cosine', "
                             f'but got {distance!r}')
        if not 0 <= decay < 1:
            raise ValueError(f'decay should be in [0, 1), but got {decay}')
        if not 0 <= revive_threshold < 1:
            raise ValueError('revive_threshold is a fraction of the mean '
                             f'count in [0, 1), but got {revive_threshold}')
        self.num_codes = num_codes
        self.channels = channels
        self.decay = decay
        self.eps = eps
        self.kmeans_iters = kmeans_iters
        self.revive_threshold = revive_threshold
        self.distance = distance
        self.register_buffer('codebook',
                             self._scaled(torch.randn(num_codes, channels)))
        self.register_buffer('ema_w', torch.randn(num_codes, channels))
        self.register_buffer('ema_cluster_size', torch.zeros(num_codes))
        # Known on the host, so that only the first step looks at the device.
        self._maybe_fresh = kmeans_iters > 0

    def extra_repr(self) -> str:
        return (f'num_codes={self.num_codes}, channels={self.channels}, '
                f'decay={self.decay}, kmeans_iters={self.kmeans_iters}, '
                f'revive_threshold={self.revive_threshold}, '
                f'distance={self.distance!r}')

    def _scaled(self, vectors: Tensor) -> Tensor:
        """Vectors ``(..., D)`` as they are compared."""
        if self.distance == 'euclidean':
            return vectors
        return F.normalize(vectors, dim=-1) * self.channels**0.5

    def distances(self, z: Tensor) -> Tensor:
        """Squared Euclidean distances ``(..., V)`` of ``z (..., D)`` to all
        codes; of scaled ``z`` where the distance is 'cosine'."""
        z = self._scaled(z)
        rows = _add_products(z.flatten(0, -2), self.codebook)
        return (rows.view(*z.shape[:-1], self.num_codes) +
                z.square().sum(-1, keepdim=True))

    def lookup(self, codes: Tensor) -> Tensor:
        """Codebook vectors ``(..., D)`` of codes ``(...)``."""
        return F.embedding(codes, self.codebook)

    def forward(self,
                z: Tensor,
                mixed: Optional[Mixed] = None) -> QuantizerOutput:
        """Quantise ``z``, and in training move the codebook.

        Args:
            z (Tensor): Latent vectors ``(..., D)``.
            mixed (tuple[Tensor, Tensor, Tensor], optional): Where ``z (B, N,
                D)`` is ``mix_tokens(x, weight, bias)``, these three. With
                fewer vectors in ``x (B, K, D)`` than in ``z``, the distances
                of ``z`` cost little more than those of ``x``. Defaults to
                None.

        Returns:
            QuantizerOutput: See there.
        """
        if z.shape[-1] != self.channels:
            raise ValueError(f'expected latent vectors of width '
                             f'{self.channels}, but got {tuple(z.shape)}')
        # Half precision would choose other codes.
        with torch.autocast(z.device.type, enabled=False):
            z = self._scaled(z.to(self.codebook.dtype))
            latents = z.detach().flatten(0, -2)
            # A process may have no input in a step, but not all of them.
            moves = self.training and (len(latents) > 0 or _is_parallel())
            if moves and self._maybe_fresh:
                self._start(latents)
            if mixed is None or self.distance == 'cosine':
                codes = _nearest(latents, self.codebook)
            else:
                mixed = tuple(part.detach().to(z.dtype) for part in mixed)
                codes = _nearest_of_mixed(*mixed, self.codebook)
            chosen = self.lookup(codes).view_as(z)
            # Of no input the mean would be NaN.
            latent_loss = F.mse_loss(z, chosen) if len(latents) else z.sum()
            quantized = z + (chosen - z).detach()
            usage = perplexity = None
            if moves:
                usage, perplexity = self._update(latents, codes)
        return QuantizerOutput(quantized, codes.view(z.shape[:-1]),
                               latent_loss, usage, perplexity)

    @torch.no_grad()
    def _update(self, latents: Tensor, codes: Tensor) -> Tuple[Tensor, Tensor]:
        """Moving averages after one batch; returns usage and perplexity."""
        counts, sums = _cluster(latents, codes, self.num_codes)
        size = self.ema_cluster_size
        size.mul_(self.decay).add_(counts, alpha=1 - self.decay)
        total = size.sum()
        size.add_(self.eps).mul_(total / (total + self.num_codes * self.eps))
        self.ema_w.mul_(self.decay).add_(sums, alpha=1 - self.decay)
        # In place, as what remembers the tensors (DDP) must see the change;
        # the lookup's gradient does not need the old values.
        torch.div(self.ema_w, size[:, None], out=self.codebook)
        if self.distance == 'cosine':
            self.codebook.copy_(self._scaled(self.codebook))
        if self.revive_threshold > 0:
            self._revive(latents)
        share = counts / counts.sum().clamp(min=1)
        return ((counts
                 > 0).float().mean(), torch.special.entr(share).sum().exp())

    def _revive(self, latents: Tensor) -> None:
        """Move dead codes to random inputs of this batch."""
        mean = self.ema_cluster_size.mean()
        dead = self.ema_cluster_size < self.revive_threshold * mean
        fresh = _random_rows(latents, self.num_codes)
        self.ema_cluster_size.copy_(
            torch.where(dead, mean, self.ema_cluster_size))
        dead = dead[:, None]
        self.codebook.copy_(torch.where(dead, fresh, self.codebook))
        self.ema_w.copy_(torch.where(dead, fresh * mean, self.ema_w))

    @torch.no_grad()
    def _start(self, latents: Tensor) -> None:
        """Set a fresh codebook by k-means over the first batch."""
        self._maybe_fresh = False
        if self.ema_cluster_size.any():  # trained, then loaded
            return
        centres = _random_rows(latents, self.num_codes)
        for _ in range(self.kmeans_iters):
            nearest = _nearest(latents, centres)
            counts, sums = _cluster(latents, nearest, self.num_codes)
            means = self._scaled(sums / counts.clamp(min=1)[:, None])
            centres = torch.where(counts[:, None] > 0, means, centres)
        # An empty cluster gets a small count: it moves easily, and is the
        # first to be revived.
        size = counts.clamp(min=self.eps)
        self.codebook.copy_(centres)
        self.ema_cluster_size.copy_(size)
        self.ema_w.copy_(centres * size[:, None])

    def _load_from_state_dict(self, *args, **kwargs) -> None:
        self._maybe_fresh = self.kmeans_iters > 0
        super()._load_from_state_dict(*args, **kwargs)


# Entries of a piece of the distance table: it stays in the processor's cache.
_PIECE = 2**20


def _add_products(z: Tensor, codebook: Tensor) -> Tensor:
    """``|c|^2 - 2 z.c`` for all pairs, ``(M, D), (V, D) -> (M, V)``: squared
    distances less ``|z|^2``, which no argmin depends on."""
    return torch.addmm(codebook.square().sum(-1), z, codebook.t(), alpha=-2)


def _nearest(z: Tensor, codebook: Tensor) -> Tensor:
    """Nearest code ``(M, )`` of each vector ``(M, D)``.

    The whole table of distances would be the largest tensor of a step.
    """
    if z.device.type != 'cpu':  # where many small steps cost more than space
        return _add_products(z, codebook).argmin(-1)
    rows = max(1, _PIECE // len(codebook))
    norms, transposed = codebook.square().sum(-1), codebook.t()
    return torch.cat([
        torch.addmm(norms, piece, transposed, alpha=-2).argmin(-1)
        for piece in z.split(rows)
    ])


def _nearest_of_mixed(x: Tensor, weight: Tensor, bias: Tensor,
                      codebook: Tensor) -> Tensor:
    """Nearest code ``(B * N, )`` of each ``mix_tokens(x, weight, bias)``:
    the products with the codes are mixed, not the vectors."""
    offset = _add_products(bias, codebook)  # (N, V)
    weight, transposed = -2 * weight, codebook.t()
    rows = len(x)
    if x.device.type == 'cpu':
        rows = max(1, _PIECE // offset.numel())
    return torch.cat([
        mix_tokens(piece @ transposed, weight, offset).argmin(-1).flatten()
        for piece in x.split(rows)
    ])


def _is_parallel() -> bool:
    return (dist.is_available() and dist.is_initialized()
            and dist.get_world_size() > 1)


def _cluster(latents: Tensor, codes: Tensor,
             num_codes: int) -> Tuple[Tensor, Tensor]:
    """Number ``(V, )`` and sum ``(V, D)`` of the vectors of each code, over
    all processes.

    One reduction for both; each process may hold another number of vectors.
    """
    width = latents.shape[-1]
    both = latents.new_zeros(num_codes, width + 1)
    both[:, :width].index_add_(0, codes, latents)
    both[:, width].index_add_(0, codes, latents.new_ones(len(latents)))
    if _is_parallel():
        dist.all_reduce(both)
    return both[:, width], both[:, :width]


def _random_rows(latents: Tensor, num: int) -> Tensor:
    """Draw ``num`` vectors, an equal part from every process that has some;
    all processes get the same.

    Without repetition as far as a process has enough vectors.
    """
    parts = dist.get_world_size() if _is_parallel() else 1
    part = -(-num // parts)
    rows = latents.new_zeros(part, latents.shape[-1])
    if len(latents):
        index = torch.cat([
            torch.randperm(len(latents), device=latents.device)
            for _ in range(-(-part // len(latents)))
        ])
        rows = latents[index[:part]]
    if parts > 1:
        # The last column says whether a row was drawn.
        drawn = torch.full_like(rows[:, :1], float(len(latents) > 0))
        rows = torch.cat([rows, drawn], 1)
        gathered = [torch.empty_like(rows) for _ in range(parts)]
        dist.all_gather(gathered, rows)
        rows = torch.cat(gathered)
        drawn, rows = rows[:, -1] > 0, rows[:, :-1]
        order = (~drawn).float().argsort(stable=True)  # those drawn first
        turns = torch.arange(
            num, device=rows.device) % drawn.sum().clamp(min=1)
        rows = rows[order[turns]]
    return rows[:num]
