# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Figures by which a bake is judged."""
from typing import Dict, Tuple

import numpy as np
from scipy import sparse

from .makehuman import MIRROR_JOINTS
from .surface import mesh_report


def csr(arrays: Dict[str, np.ndarray], name: str) -> sparse.csr_matrix:
    """An upsampling matrix (``10`` or ``21``) of the archive."""
    fine, coarse = (('v_template', 'level1_idx'), ('level1_idx',
                                                   'level2_idx'))[name == '21']
    return sparse.csr_matrix(
        (arrays[f'upsample_{name}_data'], arrays[f'upsample_{name}_indices'],
         arrays[f'upsample_{name}_indptr']),
        shape=(len(arrays[fine]), len(arrays[coarse])))


def regressor(arrays: Dict[str, np.ndarray],
              name: str = 'J_regressor') -> sparse.csr_matrix:
    """A joint regressor of the archive, shaped (K, V)."""
    index = arrays[f'{name}_idx'].astype(int)
    return sparse.csr_matrix(
        (arrays[f'{name}_data'], (index[:, 0], index[:, 1])),
        shape=(index[:, 0].max() + 1, len(arrays['v_template'])))


def dense_weights(arrays: Dict[str, np.ndarray]) -> np.ndarray:
    """Skinning weights, shaped (V, 24), float64."""
    values = arrays['weights_val'].astype(np.float64)
    dense = np.zeros((len(values), len(arrays['parents'])))
    np.add.at(dense, (np.arange(len(values))[:, None], arrays['weights_idx']),
              values)
    return dense


def distances(a: np.ndarray, b: np.ndarray) -> Tuple[float, float, float]:
    """Mean, 99th percentile and worst distance in mm."""
    error = np.linalg.norm(a - b, axis=-1) * 1000
    return (float(error.mean()), float(np.percentile(error,
                                                     99)), float(error.max()))


def symmetry_error(arrays: Dict[str, np.ndarray]) -> float:
    """Largest deviation of any array from its own mirror image."""
    mirror = arrays['mirror_idx'].astype(int)
    flip = np.array([-1, 1, 1], dtype=np.float32)
    template, shapes = arrays['v_template'], arrays['shapedirs']
    errors = [
        np.abs(template[mirror] * flip - template).max(),
        np.abs(shapes[mirror] * flip[:, None] - shapes).max(),
    ]
    faces = np.sort(arrays['f'].astype(int), axis=1)
    mirrored = np.sort(mirror[arrays['f']], axis=1)
    same = set(map(tuple,
                   faces.tolist())) == set(map(tuple, mirrored.tolist()))
    errors.append(0. if same else np.inf)
    weights = dense_weights(arrays)
    errors.append(np.abs(weights[mirror][:, MIRROR_JOINTS] - weights).max())
    rest = regressor(arrays).toarray()
    errors.append(np.abs(rest[MIRROR_JOINTS][:, mirror] - rest).max())
    return float(max(errors))


def surface_figures(arrays: Dict[str, np.ndarray]) -> Dict[str, str]:
    """Closedness and genus of the three levels, in words."""
    figures = {}
    for level, key in enumerate(('f', 'level1_f', 'level2_f')):
        r = mesh_report(arrays[key].astype(int))
        figures[f'level {level}'] = (
            '{vertices} vertices, {faces} faces, {open_edges} open edges, '
            '{components} component, genus {genus}'.format(**r))
    return figures
