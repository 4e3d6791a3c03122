# Copyright (c) The mpm_postometro authors. All rights reserved.
"""The one way to get a body."""
from pathlib import Path
from typing import Mapping, Union

import torch

from .body_io import read_body
from .body_model import BodyModel

__all__ = ['load_body']


def load_body(path: Union[None, str, Path] = None,
              *,
              gender: str = 'neutral',
              num_betas: int = 10,
              regressors: Union[None, str, Path, Mapping] = None,
              mesh_levels: Union[None, str, Path] = None,
              dtype: torch.dtype = torch.float32) -> BodyModel:
    """Load a body model.

    Files are looked for in this order: ``path`` as it is given; below each
    folder of the environment variable ``MPM_POSTOMETRO_BODY_MODELS``; below
    ``data/body_models``. A folder is searched for SMPL's usual file names of
    the gender. What goes with SMPL (``mesh_downsampling.npz``,
    ``J_regressor_h36m*.npy``, ``J_regressor_coco*.npy``,
    ``J_regressor_extra.npy``) is looked for beside the model file, in the
    folder above it, then in the same search folders; if it is missing, the
    error comes when it is first wanted.

    Files are read by a restricted reader that never runs what a pickle asks
    for. Arrays are cached, so that loading again is cheap; modules are not.

    Args:
        path (str | Path, optional): SMPL .pkl or .npz, a folder with them,
            or a file in the layout of the built-in body. None gives the
            built-in body.
        gender (str): 'neutral', 'male' or 'female'; chooses the file in a
            folder. The built-in body has one gender.
        num_betas (int): Shape coefficients to use.
        regressors (str | Path | dict, optional): Folder with regressor
            files, or paths or arrays by name ('h36m17', 'coco17', 'extra').
            Either published variant of the H36M file will do: swapped legs
            are noticed by the template and put right.
        mesh_levels (str | Path, optional): ``mesh_downsampling.npz``.
        dtype (torch.dtype): Of buffers and results.

    Returns:
        BodyModel: On the CPU.

    Raises:
        FileNotFoundError: If the file is missing; says which, where it was
            looked for, and where it can be had.
    """
    data = read_body(path, gender, regressors, mesh_levels)
    return BodyModel(data, num_betas=num_betas, dtype=dtype)
