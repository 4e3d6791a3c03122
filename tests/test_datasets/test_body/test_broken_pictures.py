# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Every reader with pictures that are absent, cut off or none."""
from pathlib import Path

import cv2
import numpy as np
import pytest
import test_eft_dataset
import test_h36m_person_dataset
import test_human_data
import test_metro_dataset
import test_muco_dataset
import test_spin_dataset
import test_threedoh_dataset
import test_threedpw_dataset
import test_up3d_dataset
from mmengine.registry import init_default_scope

from mpm_postometro.apis.dataset_check import check_dataset
from mpm_postometro.datasets.body import (EFTDataset, H36MPersonDataset,
                                          HumanDataDataset, METRODataset,
                                          MuCoDataset, SPINDataset,
                                          ThreeDOHDataset, ThreeDPWDataset,
                                          UP3DDataset)

PIPELINE = [
    dict(type='LoadImage'),
    dict(type='GetBBoxCenterScale', padding=1.2),
    dict(type='MeshAffine', input_size=(32, 32)),
    dict(type='PackMeshInputs')
]
# Writes the small file of the reader's own test, and opens it.
READERS = dict(
    SPIN=lambda root, **kwargs: SPINDataset(
        test_spin_dataset.write(root / 'a.npz'), **kwargs),
    EFT=lambda root, **kwargs: EFTDataset(
        test_eft_dataset.write(root / 'a.json'), **kwargs),
    HumanData=lambda root, **kwargs: HumanDataDataset(
        test_human_data.write(root / 'a.npz'), **kwargs),
    ThreeDPW=lambda root, **kwargs: ThreeDPWDataset(
        data_root=str(test_threedpw_dataset.write(root)), **kwargs),
    ThreeDOH=lambda root, **kwargs: ThreeDOHDataset(
        test_threedoh_dataset.write(
            root / 'a.json', test_threedoh_dataset.annotations()), **kwargs),
    H36M=lambda root, **kwargs: H36MPersonDataset(
        data_root=test_h36m_person_dataset.write(root), split='P2', **kwargs),
    MuCo=lambda root, **kwargs: MuCoDataset(
        test_muco_dataset.write(root), **kwargs),
    UP3D=lambda root, **kwargs: UP3DDataset(
        test_up3d_dataset.write(root, pictures=False), **kwargs))
JPEG = cv2.imencode('.jpg',
                    np.random.RandomState(0).randint(0, 255, (160, 200, 3)))[1]
JPEG = JPEG.tobytes()


@pytest.fixture(params=READERS)
def dataset(request, tmp_path):
    init_default_scope('mmpose')
    dataset = READERS[request.param](
        tmp_path,
        data_prefix=dict(img=str(tmp_path / 'pictures')),
        pipeline=PIPELINE)
    for row in dataset.rows():
        path = Path(dataset.image_path(row))
        assert tmp_path / 'pictures' in path.parents
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(JPEG)
    return dataset


def test_good_ones(dataset):
    for item in dataset:
        assert item['inputs'].shape == (3, 32, 32)
    check = check_dataset(dataset, number=None)
    assert check.ok, str(check)


@pytest.mark.parametrize('content, message', [
    (None, 'pictures are missing'),
    (b'<html>not found</html>', 'is no picture'),
    (b'', 'is no picture'),
    (JPEG[:-500], 'that is cut off'),
])
def test_bad_ones_are_named(dataset, content, message):
    bad = Path(dataset.image_path(dataset.rows()[1]))
    bad.unlink()
    if content is not None:
        bad.write_bytes(content)
    if message != 'that is cut off':  # OpenCV lets these pass
        with pytest.raises(Exception, match=bad.name):
            dataset[1]
    check = check_dataset(dataset, number=None)
    assert not check.ok
    assert any(message in x for x in check.problems)
    assert any(str(bad) in x for x in check.problems)


def test_metro_has_its_pictures_in_the_table(tmp_path):
    pictures = [np.zeros((160, 200, 3), np.uint8)] * 4
    path = test_metro_dataset.write(tmp_path, pictures)
    for content, message in (('', 'is no picture'), ('bm8=', 'is no picture'),
                             ('<>', 'base64')):
        lines = (tmp_path / 'train.img.tsv').read_text().split('\n')
        lines[1] = f'images/1.jpg\t{content}'
        (tmp_path / 'train.img.tsv').write_text('\n'.join(lines))
        (tmp_path / 'train.img.lineidx').unlink()
        dataset = METRODataset(path)
        assert len(dataset) == 4 and dataset[0]['img'].shape == (160, 200, 3)
        with pytest.raises(ValueError, match=f'img.tsv, row 1 .*{message}'):
            dataset[1]
        assert not check_dataset(dataset, number=None).ok
