# Copyright (c) The mpm_postometro authors. All rights reserved.
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.structures import InstanceData

from mpm_postometro.apis import occlusion_maps
from mpm_postometro.apis.occlusion_maps import (compare_occlusion,
                                                write_occlusion_maps)

SIZE = 48


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope('mmpose')


class Fake:
    """Knows the truth, but for the first joint where its pixel is grey.

    Args:
        pixel (tuple[int, int]): Row and column.
        body (str, optional): What its predictions are said to be of.
    """

    def __init__(self, pixel, body):
        self.pixel, self.body = pixel, body

    def to(self, device):
        return self

    def eval(self):
        return self

    def data_preprocessor(self, data, training):
        assert not training
        # never 0, which is the colour of the square
        inputs = torch.stack(data['inputs']).float() + 1
        return dict(inputs=inputs, data_samples=data['data_samples'])

    def __call__(self, images, samples, mode):
        assert mode == 'predict' and len(images) == len(samples)
        for image, sample in zip(images, samples):
            labels = sample.gt_instance_labels
            joints = torch.tensor(labels['joints_3d']) + 3.
            row, column = self.pixel
            joints[0, 0, 0] += .05 * float(image[0, row, column] == 0)
            sample.pred_instances = InstanceData(keypoints_3d=joints)
            sample.set_metainfo(dict(pred_body=self.body))
        return samples


def config(**dataset):
    dataset = dict(
        type='SyntheticBodyDataset',
        split='test',
        length=9,
        image_size=SIZE,
        pipeline=[
            dict(type='GetBBoxCenterScale', padding=1.25),
            dict(type='MeshAffine', input_size=(SIZE, SIZE)),
            dict(type='PackMeshInputs')
        ],
        test_mode=True,
        **dataset)
    return Config(dict(model=dict(), test_dataloader=dict(dataset=dataset)))


@pytest.fixture
def fakes(monkeypatch):
    """Checkpoints are pixels here: ``(row, column, body)``."""

    def load(config, checkpoint):
        *pixel, body = checkpoint
        return Fake(pixel, body)

    monkeypatch.setattr(occlusion_maps, 'load_model', load)


def test_maps_say_where_squares_hurt(fakes, tmp_path):
    told = []
    maps = compare_occlusion([(config(seed=3), (20, 30, None)),
                              (config(seed=3), (0, 0, None))],
                             ['left', 'right'],
                             people=4,
                             occluder=.25,
                             stride=.25,
                             report=lambda *what: told.append(what))
    assert maps.indices.tolist() == [0, 2, 4, 6]
    assert maps.crops.shape == (4, SIZE, SIZE, 3)
    assert maps.occluded.shape == (2, 4, 4, 4, 14) and maps.skipped == 0
    expected = np.zeros((2, 4, 4))
    expected[0, 1, 2] = expected[1, 0, 0] = 50
    np.testing.assert_allclose(
        maps.occluded[..., 0], np.repeat(expected[:, None], 4, 1), atol=1e-3)
    np.testing.assert_allclose(maps.occluded[..., 1:], 0, atol=1e-3)
    np.testing.assert_allclose(maps.clean, 0, atol=1e-3)
    row = maps.summary()['left']
    assert row == pytest.approx(
        dict(clean=0, occluded=50 / 14 / 16, worst=50 / 14), abs=1e-3)
    fractions = [fraction for fraction, _ in told]
    assert fractions == sorted(fractions) and len(told) == 8
    assert told[5] == (.625, 'right: person 2 of 4')

    path = write_occlusion_maps(maps, tmp_path / 'new' / 'maps.npz')
    with np.load(path) as file:
        assert file['names'].tolist() == ['left', 'right']
        np.testing.assert_array_equal(file['occluded'], maps.occluded)
        np.testing.assert_array_equal(file['places'], maps.places)


def test_options_reach_the_data(fakes):
    given = config()
    maps = compare_occlusion([(given, (0, 0, None))], ['a'],
                             people=100,
                             occluder=.5,
                             stride=.5,
                             options={'test_dataloader.dataset.length': 3})
    assert maps.indices.tolist() == [0, 1, 2]
    assert given.test_dataloader.dataset.length == 9


def test_what_cannot_be_compared_is_refused(fakes):
    network = config(), (0, 0, None)
    with pytest.raises(ValueError, match='2 different names'):
        compare_occlusion([network, network], ['a', 'a'])
    with pytest.raises(ValueError, match='a and b have different test data'):
        compare_occlusion([network, (config(seed=1), (0, 0, None))],
                          ['a', 'b'],
                          people=1,
                          occluder=.5,
                          stride=.5)
    with pytest.raises(ValueError, match='network has the body x:1'):
        compare_occlusion([(config(), (0, 0, 'x:1'))], ['a'], people=1)


def test_people_without_joints_are_counted(fakes, monkeypatch):
    read = occlusion_maps._Person.read.__func__

    def read_some(cls, dataset, index):
        person = read(cls, dataset, index)
        return person._replace(known=index > 1)

    monkeypatch.setattr(occlusion_maps._Person, 'read', classmethod(read_some))
    arguments = dict(
        networks=[(config(), (0, 0, None))],
        names=['a'],
        occluder=.5,
        stride=.5)
    maps = compare_occlusion(people=9, **arguments)
    assert maps.skipped == 2 and maps.indices.tolist() == list(range(2, 9))
    with pytest.raises(ValueError, match='none of 1 people'):
        compare_occlusion(people=1, **arguments)
