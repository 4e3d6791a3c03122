# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Models and pipelines for inference, from configs and checkpoints."""
import inspect
import logging
import os
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Dict, Iterator, List, Optional, Tuple, Union
from urllib.error import URLError

import torch
from mmengine.config import Config
from mmengine.logging import print_log
from mmengine.model import revert_sync_batchnorm
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from mmpose.registry import DATASETS, MODELS

from mpm_postometro.compat import load_checkpoint_file

__all__ = [
    'check_checkpoint_paths', 'explain_missing_weights',
    'find_dataset_setting', 'find_metainfo', 'find_test_dataset',
    'find_test_pipeline', 'load_model', 'open_config'
]


def open_config(config: Union[str, Path, Config]) -> Config:
    """Read a config, unless it is one.

    Args:
        config (str | Path | Config): Its file, or the config.

    Returns:
        Config: The config.

    Raises:
        FileNotFoundError: If there is no such file.
    """
    if isinstance(config, Config):
        return config
    if not Path(config).is_file():
        raise FileNotFoundError(f'{config}: no such config')
    return Config.fromfile(config)


def find_test_dataset(config: Config) -> Dict:
    """The config of the test data, without wrappers.

    Args:
        config (Config): Of a model with its data.

    Returns:
        dict: Of ``test_dataloader`` or ``val_dataloader``, whichever comes
        first; empty if there is none with a pipeline.
    """
    for loader in ('test_dataloader', 'val_dataloader'):
        dataset = (config.get(loader) or {}).get('dataset') or {}
        for _ in range(5):  # inside wrappers
            if dataset.get('pipeline'):
                return dataset
            inner = dataset.get('dataset') or (dataset.get('datasets')
                                               or [{}])[0]
            dataset = inner
    return {}


def find_dataset_setting(dataset: Dict, key: str, base: type) -> Any:
    """What a data set is built with.

    Args:
        dataset (dict): Its config.
        key (str): Of the setting.
        base (type): A class that has the setting.

    Returns:
        Any: As in the config; otherwise the default of the class, of those
        that it comes from, or of ``base``, whichever comes first.
    """
    if key in dataset:
        return dataset[key]
    kind = dataset.get('type')
    if isinstance(kind, str):
        kind = DATASETS.get(kind)
    signatures = (
        inspect.signature(parent.__init__).parameters
        for parent in (*getattr(kind, '__mro__', ()), *base.__mro__))
    return next(s[key].default for s in signatures if key in s)


def find_test_pipeline(config: Config) -> List[Dict]:
    """The transforms of the config's test data.

    Args:
        config (Config): Of a model with its data.

    Returns:
        list[dict]: Of ``test_dataloader``, ``val_dataloader`` or
        ``test_pipeline``, whichever comes first.

    Raises:
        ValueError: If there are none.
    """
    dataset = find_test_dataset(config)
    if dataset:
        return list(dataset['pipeline'])
    if config.get('test_pipeline'):
        return list(config.test_pipeline)
    raise ValueError(
        f'{config.filename}: expected test_dataloader.dataset.pipeline, '
        'val_dataloader.dataset.pipeline or test_pipeline')


def find_metainfo(config: Config) -> Dict:
    """Names, links and mirror images of the joints of the config's test
    data.

    Args:
        config (Config): Of a model with its data. No data are read.

    Returns:
        dict: As MMPose parses it: ``keypoint_id2name``, ``skeleton_links``,
        ``flip_indices`` and so on.

    Raises:
        ValueError: If the data set is unknown, or does not say.
    """
    dataset = find_test_dataset(config)
    kind = dataset.get('type')
    if isinstance(kind, str):
        kind = DATASETS.get(kind)
    raw = dataset.get('metainfo') or getattr(kind, 'METAINFO', None)
    if not raw:
        raise ValueError(
            f'{config.filename}: expected test_dataloader.dataset with a type '
            'that is registered and knows its joints, got '
            f'{dataset.get("type")!r}')
    return parse_pose_metainfo(dict(raw))


def load_model(
        config: Config,
        checkpoint: Optional[Union[str, Path]] = None) -> torch.nn.Module:
    """Build the estimator of a config with its weights, on the CPU.

    Args:
        config (Config): Stays as it is.
        checkpoint (str | Path, optional): Weights of the whole, read without
            running code from the file; paths of weights of parts in the
            config are passed over then. Without it the weights are
            initialised, with a warning.

    Returns:
        nn.Module: The estimator.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        pickle.UnpicklingError: If it is damaged, or would need more than
            tensors to be read.
        ValueError: If it belongs to another model, or holds no weights.
    """
    model_config = Config(dict(model=config.model)).model  # a copy
    if checkpoint is not None:
        _drop_part_checkpoints(model_config)
    model = revert_sync_batchnorm(MODELS.build(model_config))
    if checkpoint is None:
        print_log(
            'no checkpoint: the weights are what the config starts '
            'from, and the people will not fit', 'current', logging.WARNING)
        with explain_missing_weights(config):
            model.init_weights()
        return model
    content = load_checkpoint_file(str(checkpoint), map_location='cpu')
    state = content.get('state_dict', content) if isinstance(content,
                                                             dict) else content
    if not isinstance(state, dict):
        raise ValueError(f'{checkpoint}: expected a dict of weights, got '
                         f'{type(state).__name__}')
    state = {
        key[7:] if key.startswith('module.') else key: value
        for key, value in state.items()
    }
    try:
        model.load_state_dict(state, strict=True)
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines()]
        raise ValueError(
            f'{checkpoint}: expected the weights of {config.filename}. ' +
            ' '.join(lines[1:4])[:600]) from error
    return model


def check_checkpoint_paths(config: Config) -> None:
    """Refuse names of checkpoints that are empty.

    A command makes them of ``$(cat last_checkpoint)`` where that file is
    missing.

    Args:
        config (Config): Of a run.

    Raises:
        ValueError: Names the key.
    """
    for key, path in _checkpoints(config):
        if not path:
            raise ValueError(
                f'{key}: the path of the checkpoint is empty; was it to be '
                'read from a file that is not there?')


@contextmanager
def explain_missing_weights(config: Config) -> Iterator[None]:
    """Say what weights that cannot be read are to a config.

    Args:
        config (Config): Of a model whose weights are initialised meanwhile.

    Raises:
        FileNotFoundError: Names file or address, key and what to do.
    """
    try:
        yield
    except (FileNotFoundError, URLError) as error:
        download = isinstance(error, URLError)
        wanted = {
            key: path
            for key, path in _checkpoints(config)
            if ('://' in path if download else path
                and os.path.expanduser(path) in str(error))
        }
        if not wanted:
            raise
        lines = [str(error)]
        for key, path in wanted.items():
            line = f'{config.filename or "the config"} names it as {key}'
            if download:
                line += f'={path}'
            if Path(path).match('work_dirs/*/epoch_*.pth'):
                name = Path(path).parent.name
                line += f'; the training of {name}.py writes it'
            lines.append(line)
        lines.append(f'--cfg-options {key}=FILE names another file; '
                     'docs/checkpoints.md says where weights come from')
        raise FileNotFoundError('. '.join(lines)) from error


def _checkpoints(config: Config) -> Iterator[Tuple[str, str]]:
    """Keys and paths of the weights that a run starts from."""
    if config.get('load_from') is not None:
        yield 'load_from', config.load_from
    for name, part in _parts(config.get('model'), 'model'):
        for key in _checkpoint_keys(part):
            yield f'{name}.{key}', part[key]


def _drop_part_checkpoints(config: Any) -> None:
    """The checkpoint of the whole has the weights of its parts."""
    for _, part in list(_parts(config, 'model')):
        for key in _checkpoint_keys(part):
            part[key] = None
        if part.get('init_cfg') and 'checkpoint' in part['init_cfg']:
            part['init_cfg'] = None


def _parts(config: Any, name: str) -> Iterator[Tuple[str, dict]]:
    """All dicts of a config, and what they are called in it."""
    if isinstance(config, dict):
        yield name, config
        for key, value in config.items():
            yield from _parts(value, f'{name}.{key}')
    elif isinstance(config, (list, tuple)):
        for i, item in enumerate(config):
            yield from _parts(item, f'{name}.{i}')


def _checkpoint_keys(part: dict) -> List[str]:
    return [
        key for key, value in part.items() if isinstance(value, str) and (
            key == 'checkpoint' or key.endswith('_checkpoint'))
    ]
