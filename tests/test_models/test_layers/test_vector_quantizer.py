# Copyright (c) The mpm_postometro authors. All rights reserved.

import pytest
import torch
import torch.multiprocessing as mp
import torch.nn.functional as F
from two_ranks import in_group_of_two

from mpm_postometro.models.layers import (VectorQuantizer, mix_tokens,
                                          vector_quantizer)

NAMES = ('codebook', 'ema_w', 'ema_cluster_size')


def test_nearest_code_and_straight_through():
    torch.manual_seed(0)
    quantizer = VectorQuantizer(7, 3).eval()
    z = torch.randn(2, 5, 3, requires_grad=True)
    output = quantizer(z)
    distances = (z[..., None, :] - quantizer.codebook).square().sum(-1)
    torch.testing.assert_close(quantizer.distances(z), distances)
    assert output.codes.equal(distances.argmin(-1))
    torch.testing.assert_close(output.quantized,
                               quantizer.codebook[output.codes])
    torch.testing.assert_close(output.latent_loss,
                               distances.min(-1).values.sum() / z.numel())
    assert output.usage is None and output.perplexity is None

    weight = torch.randn_like(z)
    grad, = torch.autograd.grad((output.quantized * weight).sum(), z)
    torch.testing.assert_close(grad, weight)


def test_update_by_hand():
    """Two codes, three inputs, numbers worked out on paper."""
    quantizer = VectorQuantizer(2, 1, decay=0.5, eps=0.5).train()
    quantizer.load_state_dict(
        dict(
            codebook=torch.tensor([[0.], [10.]]),
            ema_w=torch.tensor([[2.], [40.]]),
            ema_cluster_size=torch.tensor([2., 4.])))
    output = quantizer(torch.tensor([[1.], [2.], [9.]]))
    assert output.codes.tolist() == [0, 0, 1]
    # The lookup saw the old codebook.
    assert output.quantized.tolist() == [[0.], [0.], [10.]]
    assert output.latent_loss.item() == pytest.approx((1 + 4 + 1) / 3)
    # Counts .5 * (2, 4) + .5 * (2, 1) = (2, 2.5), of sum 4.5; smoothed
    # (2.5, 3) / 5.5 * 4.5.
    count = torch.tensor([2.5, 3.]) / 5.5 * 4.5
    weight = torch.tensor([[.5 * 2 + .5 * 3], [.5 * 40 + .5 * 9]])
    torch.testing.assert_close(quantizer.ema_cluster_size, count)
    torch.testing.assert_close(quantizer.ema_w, weight)
    torch.testing.assert_close(quantizer.codebook, weight / count[:, None])
    assert output.usage.item() == 1
    entropy = torch.distributions.Categorical(torch.tensor([2., 1.])).entropy()
    torch.testing.assert_close(output.perplexity, entropy.exp())


def test_eval_changes_nothing():
    torch.manual_seed(0)
    quantizer = VectorQuantizer(
        8, 4, kmeans_iters=2, revive_threshold=0.5).eval()
    before = {k: v.clone() for k, v in quantizer.state_dict().items()}
    quantizer(torch.randn(20, 4))
    for key, value in quantizer.state_dict().items():
        assert value.equal(before[key]), key


def test_half_precision_chooses_the_same_codes():
    torch.manual_seed(0)
    quantizer = VectorQuantizer(64, 16).eval()
    z = torch.randn(200, 16)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        codes = quantizer(z).codes
    assert codes.equal(quantizer(z).codes)


def test_kmeans_start_finds_clusters_and_keeps_a_loaded_codebook():
    torch.manual_seed(0)
    centres = torch.randn(4, 3) * 10
    z = (centres[:, None] + 0.01 * torch.randn(4, 50, 3)).flatten(0, 1)
    quantizer = VectorQuantizer(16, 3, kmeans_iters=10).train()
    output = quantizer(z)
    assert output.latent_loss < 1e-3
    assert VectorQuantizer(16, 3).train()(z).latent_loss > 1

    resumed = VectorQuantizer(16, 3, kmeans_iters=10).train()
    resumed.load_state_dict(quantizer.state_dict())
    codebook = resumed.codebook.clone()
    moved = resumed(z + 100)  # a fresh start would fit these
    assert moved.latent_loss > 100
    assert moved.quantized.sub(codebook[moved.codes]).abs().max() < 1e-3


@pytest.mark.parametrize('threshold', [0, 0.1])
def test_dead_codes_are_revived(threshold):
    torch.manual_seed(0)
    quantizer = VectorQuantizer(32, 4, revive_threshold=threshold).train()
    z = torch.randn(256, 4) * 0.1 + 5  # far from the codebook
    for _ in range(60):
        output = quantizer(z)
    for name in NAMES:
        assert getattr(quantizer, name).isfinite().all()
    if threshold:
        assert output.usage > 0.9 and output.perplexity > 16
    else:
        assert output.usage < 0.5


def test_kmeans_start_is_a_codebook_in_motion():
    """The moving averages stand where the codes are: inputs that stay move
    no code."""
    torch.manual_seed(0)
    centres = torch.randn(4, 3) * 10
    z = centres.repeat(50, 1)
    quantizer = VectorQuantizer(4, 3, kmeans_iters=10).train()
    for _ in range(3):
        assert quantizer(z).latent_loss < 1e-6
    # Two clusters of two points each, from starts in one cluster: the first
    # round does not part them well.
    z = torch.tensor([[0.], [1.], [100.], [101.]]).repeat(8, 1)
    losses = []
    for rounds in (1, 10):
        torch.manual_seed(2)
        quantizer = VectorQuantizer(2, 1, kmeans_iters=rounds).train()
        losses.append(quantizer(z).latent_loss)
    assert losses[1] < 0.3 < losses[0]


@pytest.mark.parametrize('options', [
    dict(),
    dict(kmeans_iters=2, revive_threshold=0.5),
    dict(distance='cosine', kmeans_iters=2, revive_threshold=0.5)
])
def test_no_input_changes_nothing(options):
    torch.manual_seed(0)
    quantizer = VectorQuantizer(8, 4, **options).train()
    for start in (True, False):
        before = {k: v.clone() for k, v in quantizer.state_dict().items()}
        output = quantizer(torch.zeros(0, 4))
        assert output.latent_loss == 0 and output.codes.shape == (0, )
        for key, value in quantizer.state_dict().items():
            assert value.equal(before[key]), key
        if start:
            quantizer(torch.randn(20, 4))


def test_double_precision():
    torch.manual_seed(0)
    quantizer = VectorQuantizer(8, 4).double().train()
    z = torch.randn(20, 4, dtype=torch.float64)
    assert quantizer(z).quantized.dtype == torch.float64


def test_more_codes_than_inputs():
    torch.manual_seed(0)
    quantizer = VectorQuantizer(
        50, 4, kmeans_iters=3, revive_threshold=0.1).train()
    z = torch.randn(7, 4)
    for _ in range(3):
        output = quantizer(z)
    assert output.latent_loss < 1e-3
    assert quantizer.codebook.isfinite().all()


def test_pieces_find_the_same_codes(monkeypatch):
    torch.manual_seed(0)
    quantizer = VectorQuantizer(7, 3).eval()
    z = torch.randn(50, 3)
    codes = quantizer(z).codes
    monkeypatch.setattr(vector_quantizer, '_PIECE', 14)
    assert quantizer(z).codes.equal(codes)
    assert codes.equal(quantizer.distances(z).argmin(-1))


@pytest.mark.parametrize('distance', ['euclidean', 'cosine'])
def test_codes_of_mixed_vectors(distance, monkeypatch):
    monkeypatch.setattr(vector_quantizer, '_PIECE', 200)
    torch.manual_seed(0)
    quantizer = VectorQuantizer(16, 3, distance=distance).eval()
    mixed = torch.randn(9, 4, 3), torch.randn(8, 4), torch.randn(8, 3)
    z = mix_tokens(*mixed)
    assert quantizer(z, mixed).codes.equal(quantizer(z).codes)


def test_cosine_codes_know_directions_only():
    torch.manual_seed(0)
    quantizer = VectorQuantizer(16, 4, distance='cosine').eval()
    lengths = quantizer.codebook.norm(dim=-1)
    torch.testing.assert_close(lengths, torch.full((16, ), 2.))  # sqrt(4)
    z = torch.randn(5, 6, 4, requires_grad=True)
    output = quantizer(z)
    assert quantizer(1000 * z).codes.equal(output.codes)
    best = F.cosine_similarity(z[..., None, :], quantizer.codebook, dim=-1)
    assert output.codes.equal(best.argmax(-1))
    assert output.codes.equal(quantizer.distances(z).argmin(-1))
    # The length of an input has no gradient, its direction has.
    grad, = torch.autograd.grad(output.latent_loss, z)
    assert (grad * z).sum(-1).abs().max() < 1e-6 < grad.abs().max()


@pytest.mark.parametrize('kmeans_iters', [0, 5])
def test_cosine_codebook_stays_on_its_sphere_and_is_used(kmeans_iters):
    torch.manual_seed(0)
    centres = F.normalize(torch.randn(8, 6), dim=-1)
    z = centres.repeat(40, 1) * (1 + 10 * torch.rand(320, 1))
    z = z + 0.001 * torch.randn_like(z)
    quantizer = VectorQuantizer(
        32,
        6,
        distance='cosine',
        kmeans_iters=kmeans_iters,
        revive_threshold=0.1).train()
    for _ in range(40):
        output = quantizer(z)
        lengths = quantizer.codebook.norm(dim=-1)
        torch.testing.assert_close(lengths, torch.full((32, ), 6**0.5))
    assert output.usage > 0.7 and output.latent_loss < 1e-4


def test_bad_arguments():
    with pytest.raises(ValueError, match='width 4'):
        VectorQuantizer(8, 4)(torch.zeros(2, 3))
    with pytest.raises(ValueError, match='decay'):
        VectorQuantizer(8, 4, decay=1.)
    with pytest.raises(ValueError, match="'euclidean' or 'cosine'"):
        VectorQuantizer(8, 4, distance='manhattan')
    with pytest.raises(ValueError, match='revive_threshold'):
        VectorQuantizer(8, 4, revive_threshold=2.)


def _build(options):
    torch.manual_seed(3)
    return VectorQuantizer(16, 4, **options).train()


def _batches():
    return torch.randn(2, 60, 4, generator=torch.Generator().manual_seed(1))


@in_group_of_two
def _two_steps(rank, folder):
    results = []
    for options in (dict(), dict(kmeans_iters=3, revive_threshold=0.3),
                    dict(distance='cosine')):
        quantizer = _build(options)
        torch.manual_seed(rank)
        for z in _batches():
            part = z[:13] if rank == 0 else z[13:]  # unequal shares
            output = quantizer(part)
        results.append(
            (quantizer.state_dict(), output.usage, output.perplexity))
    # A share may be empty, of the first step too.
    quantizer = _build(dict(kmeans_iters=3, revive_threshold=0.3))
    for z in _batches():
        output = quantizer(z[:0] if rank == 0 else z)
        assert output.latent_loss.isfinite()
    results.append((quantizer.state_dict(), output.usage, output.perplexity))
    torch.save(results, f'{folder}/{rank}.pth')


def test_two_processes_equal_one(tmp_path):
    mp.spawn(_two_steps, (str(tmp_path), ), nprocs=2)
    first, second = (torch.load(tmp_path / f'{rank}.pth') for rank in (0, 1))
    for case, options in ((2, dict(distance='cosine')), (0, {})):
        single = _build(options)
        for z in _batches():
            output = single(z)
        for name in NAMES:
            torch.testing.assert_close(first[case][0][name],
                                       getattr(single, name))
    for name in NAMES:
        # With the random choices of k-means and revival too.
        for one, other in zip(first, second):
            assert one[0][name].equal(other[0][name])
    # From inputs alone, not from the zeros that fill the empty share.
    codebook = first[3][0]['codebook']
    assert codebook.isfinite().all() and (codebook != 0).any(-1).all()
    torch.testing.assert_close(first[0][1], output.usage)
    torch.testing.assert_close(first[0][2], output.perplexity)
