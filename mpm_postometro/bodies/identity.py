# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Tell bodies apart that have the same number of vertices."""
import hashlib
from typing import Optional

import numpy as np

from .body_io import BodyData

__all__ = ['body_identity', 'check_same_body']

# More than is ever used of the 300 shapes that some files hold, so that
# neither their number nor `num_betas` makes another body.
_SHAPES = 10
# Pose blend shapes are ten times as large as all the rest: a sample will do.
_POSEDIRS_STEP = 50


def body_identity(data: BodyData) -> str:
    """Name and fingerprint of a body.

    Args:
        data (BodyData): The arrays.

    Returns:
        str: e.g. 'open_body:5d41402abc4b'. What comes after the colon is a
        hash of template, faces, shapes, weights and the regressors of tree
        and Human3.6M joints, in single precision: it depends neither on the
        file's format nor on where it lies.
    """
    posedirs = data.posedirs
    digest = hashlib.sha256()
    for array in (data.v_template, data.shapedirs[..., :_SHAPES], data.weights,
                  data.regressors['smpl24'], data.regressors.get('h36m17'),
                  None if posedirs is None else posedirs[::_POSEDIRS_STEP]):
        if array is not None:
            array = np.ascontiguousarray(array, np.float32)
            digest.update(str(array.shape).encode())
            digest.update(array.tobytes())
    digest.update(np.ascontiguousarray(data.faces, np.int64).tobytes())
    return f'{data.name}:{digest.hexdigest()[:12]}'


def check_same_body(own: str, other: Optional[str], who: str,
                    whose: str) -> None:
    """Refuse to mix bodies.

    Args:
        own (str): Identity of the body of ``who``.
        other (str, optional): Identity of the other body. None, if it is not
            known, passes.
        who (str): Who checks, for the error.
        whose (str): What the other body belongs to, for the error.

    Raises:
        ValueError: If the fingerprints differ; names both bodies. Names
            alone may differ: a file may be asked for by gender or by path.
    """
    if other is not None and other.split(':')[-1] != own.split(':')[-1]:
        raise ValueError(
            f'{who} has the body {own}, but {whose} {other}. Model, data, '
            'transforms and metric must be given the same body; '
            'docs/body.md says how')
