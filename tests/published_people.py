# Copyright (c) The mpm_postometro authors. All rights reserved.
"""The data sets of the published mesh networks, of a few people each, where
the configs look for them."""
import importlib.util
import json
import shutil
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

FOLDER = Path(__file__).parent / 'test_datasets' / 'test_body'


@lru_cache(None)
def _tests_of(name: str):
    """The module that tests a reader, and writes files for it."""
    path = FOLDER / f'test_{name}_dataset.py'
    spec = importlib.util.spec_from_file_location(f'written_{name}', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _pictures(folder: Path, names, size=(200, 160)) -> None:
    """One grey picture under many names."""
    first = None
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if first is None:
            cv2.imwrite(
                str(path), np.full((size[1], size[0], 3), 90, np.uint8))
            first = path
        elif path != first:
            shutil.copyfile(first, path)


def write_published_people(data: Path) -> None:
    """Write them below ``data``."""
    for name in ('h36m', 'muco', 'up3d', 'cliff', 'eft', '3doh/trainset',
                 '3doh/testset', '3dpw'):
        (data / name).mkdir(parents=True, exist_ok=True)
    _write_h36m(data / 'h36m')
    muco = _tests_of('muco')
    muco.write(data / 'muco')
    _pictures(data / 'muco',
              [image['file_name'] for image in muco.labels()[0]['images']])
    _tests_of('up3d').write(data / 'up3d')

    spin = _tests_of('spin')
    spin.write(
        data / 'cliff' / 'coco2014part_cliffGT.npz',
        annot_id=np.array([11, 12, 14, 15]))
    spin.write(
        data / 'cliff' / 'mpii_cliffGT.npz',
        imgname=np.array([f'images/{i}.jpg' for i in range(4)]))
    _tests_of('eft').write(data / 'eft' / 'COCO2014-All-ver01.json')
    _pictures(data / 'coco' / 'train2014', [f'{i}.jpg' for i in range(3)] +
              [f'COCO_train2014_{i:012d}.jpg' for i in range(3)])
    _pictures(data / 'mpii' / 'images', [f'{i}.jpg' for i in range(4)])

    doh = _tests_of('threedoh')
    for split in ('trainset', 'testset'):
        doh.write(data / '3doh' / split / 'annots.json', doh.annotations())
        _pictures(data / '3doh' / split / 'images',
                  [f'0000{i}.jpg' for i in range(3)])
    dpw = _tests_of('threedpw')
    for folder in ('train', 'validation', 'test'):
        name = f'courtyard_{folder}_00'
        dpw.write(
            data / '3dpw', dpw.sequence(sequence=name), folder, name=name)
        _pictures(data / '3dpw' / 'imageFiles' / name,
                  [f'image_{i:05d}.jpg' for i in range(2 * dpw.FRAMES)])


def _write_h36m(root: Path) -> None:
    h36m = _tests_of('h36m_person')
    names = []
    for subject in (1, 5, 6, 7, 8, 9, 11):
        h36m.write_subject(root / 'annotations', subject)
        path = root / 'annotations' / f'Human36M_subject{subject}_data.json'
        names += [
            image['file_name']
            for image in json.loads(path.read_text())['images']
        ]
    _pictures(root / 'images', names, (1000, 1002))
