# Copyright (c) The mpm_postometro authors. All rights reserved.
"""What the golden tests of the mesh networks share."""
import glob
import json
import os
import os.path as osp

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import nn

GOLDEN = os.environ.get('MPM_POSTOMETRO_GOLDEN')


def golden_files(pattern):
    """One test parameter for each golden file of a family."""
    if not GOLDEN:
        skip = pytest.mark.skip(
            reason='set MPM_POSTOMETRO_GOLDEN to the golden folder')
        return [pytest.param(None, marks=skip)]
    files = sorted(glob.glob(osp.join(GOLDEN, pattern)))
    assert files, f'no {pattern} in {GOLDEN}'
    return [pytest.param(f, id=osp.basename(f)[:-4]) for f in files]


class Golden:
    """One golden file."""

    def __init__(self, path):
        with np.load(path, allow_pickle=False) as data:
            self.arrays = {key: data[key] for key in data.files}
        self.cfg = json.loads(str(self.arrays.pop('cfg')))

    def __getitem__(self, key):
        return torch.from_numpy(self.arrays[key].copy())

    def group(self, prefix):
        return {
            key[len(prefix):]: self[key]
            for key in self.arrays if key.startswith(prefix)
        }


class GoldenLevels:
    """Mesh levels of a golden file. The learned first step needs the shape
    of its matrix only."""

    def __init__(self, golden):
        cfg = golden.cfg
        self.golden = golden
        self.sizes = (cfg['num_fine'], cfg['num_intermediate'],
                      cfg['num_vertices'])

    def adjacency(self, level):
        assert level == 2
        return self.golden['in/adjacency']

    def upsample_matrix(self, from_level, to_level):
        if (from_level, to_level) == (1, 0):
            return sparse.csr_matrix(self.golden.arrays['in/upsample'])
        assert (from_level, to_level) == (2, 1)
        return sparse.csr_matrix((self.sizes[1], self.sizes[2]))


class GoldenBody(nn.Module):

    def __init__(self, golden):
        super().__init__()
        self.levels = GoldenLevels(golden)


def head_args(golden):
    """Sizes of the mesh network of a golden file."""
    cfg = golden.cfg
    return dict(
        in_channels=cfg['conv_1x1_dim'],
        body=GoldenBody(golden),
        num_joints=cfg['num_joints'],
        hidden_dims=(cfg['model_dim_1'], cfg['model_dim_2']),
        feedforward_dims=(cfg['feedforward_dim_1'], cfg['feedforward_dim_2']),
        num_layers=cfg['num_layers'],
        num_heads=cfg['nhead'],
        learned_upsample=True)


def assert_close(actual, expected, name, rel=1e-5, floor=0.):
    actual = actual.detach()
    assert actual.shape == expected.shape, name
    bound = rel * (expected.abs().max() + expected.abs()) + floor
    error = (actual - expected).abs()
    assert (error <= bound).all(), (
        f'{name}: off by {error.max():.3g}, allowed {bound.min():.3g}')


def assert_prediction(prediction, golden, prefix=''):
    """Compare a prediction with `out/<prefix>pred_*`."""
    out = golden.group(f'out/{prefix}pred_')
    coarse, intermediate, fine = prediction.vertices
    actual = {
        'cam': prediction.camera,
        '3d_joints': prediction.joints_3d,
        '3d_vertices_coarse': coarse,
        '3d_vertices_intermediate': intermediate,
        '3d_vertices_fine': fine,
    }
    assert actual.keys() == out.keys()
    for name in out:
        assert_close(actual[name], out[name], name)


def record_outputs(**modules):
    """Hooks that keep the outputs of modules; returns the dict they fill."""
    kept = {}
    for name, module in modules.items():
        module.register_forward_hook(
            lambda m, args, out, name=name: kept.__setitem__(name, out))
    return kept
