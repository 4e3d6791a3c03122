# Copyright (c) The mpm_postometro authors. All rights reserved.
import runpy

import pytest
import torch

from mpm_postometro.models.layers import linear


@pytest.fixture(scope='module')
def shared(repo_root):
    return runpy.run_path(
        str(repo_root / 'tools/analysis_tools/benchmarking.py'))


def test_products_of_our_layers_are_counted(shared):
    """Also where they are oneDNN's."""
    x = torch.randn(128, 256)
    weight = torch.randn(512, 256, requires_grad=True)
    product = 2 * 128 * 256 * 512 / 1e9
    count = shared['count_gflop']
    assert count(lambda: linear(x, weight)) == product
    assert count(lambda: linear(x, weight).sum().backward()) == 2 * product
    assert torch.backends.mkldnn.enabled


def test_both_products_multiply(shared):
    products = shared['Products']('cpu', 3, 4, 5)
    results = [work() for work in products.work.values()]
    torch.testing.assert_close(*results)
    assert results[0].shape == (3, 5)
    times = dict.fromkeys(products.work, 1e-6) | dict(plain=1.)
    rates = products.take_rates(times)
    assert rates == pytest.approx(dict.fromkeys(products.work, .12))
    assert times == dict(plain=1.)
