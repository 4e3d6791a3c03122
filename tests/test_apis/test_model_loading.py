# Copyright (c) The mpm_postometro authors. All rights reserved.
from urllib.error import URLError

import pytest
from mmengine.config import Config
from mmengine.registry import init_default_scope

from mpm_postometro.apis.model_loading import (explain_missing_weights,
                                               load_model)

FILE = 'work_dirs/some_run/epoch_9.pth'
URL = 'https://nowhere/weights.pth'


def config_of(**init_cfg):
    model = dict(
        type='TopdownPoseEstimator',
        backbone=dict(type='MobileNetV2', init_cfg=init_cfg),
        head=dict(
            type='RegressionHead',
            in_channels=1280,
            num_joints=1,
            loss=dict(type='SmoothL1Loss')))
    return Config(dict(model=model), filename=__file__)


def test_missing_weights_of_a_part():
    init_default_scope('mmpose')
    config = config_of(type='Pretrained', checkpoint=FILE)
    with pytest.raises(FileNotFoundError) as error:
        load_model(config)
    message, key = str(error.value), 'model.backbone.init_cfg.checkpoint'
    for part in (f'{FILE} can not be found. ',
                 f'{__file__} names it as {key}; the training of some_run.py',
                 f'--cfg-options {key}=FILE', 'docs/checkpoints.md'):
        assert part in message


def test_missing_weights_in_lists_and_of_the_whole():
    config = Config(
        dict(load_from='a.pth', model=dict(parts=[dict(checkpoint='b.pth')])))
    for path, key in (('a.pth', 'load_from'), ('b.pth',
                                               'model.parts.0.checkpoint')):
        with pytest.raises(FileNotFoundError, match=f'{path} .* as {key}'):
            with explain_missing_weights(config):
                raise FileNotFoundError(f'{path} can not be found')


def test_weights_that_cannot_be_downloaded():
    with pytest.raises(FileNotFoundError, match='no route.*' + URL):
        with explain_missing_weights(config_of(checkpoint=URL)):
            raise URLError('no route')


@pytest.mark.parametrize('error', [
    FileNotFoundError('pictures do not exist'),
    URLError('no route'),
    RuntimeError(FILE),
])
def test_other_errors_stay(error):
    with pytest.raises(type(error)) as caught:
        with explain_missing_weights(config_of(checkpoint=FILE)):
            raise error
    assert caught.value is error
