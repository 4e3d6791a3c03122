# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Small files in the formats of COCO and MPII, with drawn people."""
import json
from pathlib import Path

import cv2
import numpy as np
from mmpose.datasets import CocoDataset
from mmpose.datasets.datasets.utils import parse_pose_metainfo
from scipy.io import savemat

COCO = parse_pose_metainfo(CocoDataset.METAINFO)
# A person who stands and waves, in fractions of its box, as COCO has it.
WAVING = np.array([(.50, .08), (.53, .06), (.47, .06), (.56, .08), (.44, .08),
                   (.66, .22), (.34, .22), (.80, .14), (.28, .38), (.92, .02),
                   (.26, .54), (.60, .52), (.40, .52), (.62, .74), (.38, .74),
                   (.64, .96), (.36, .96)])
# MPII's joints 0 to 15 out of COCO's: pelvis, thorax, neck and head are near
# to what they are taken from.
MPII_FROM_COCO = [16, 14, 12, 11, 13, 15, 11, 5, 0, 1, 10, 8, 6, 5, 7, 9]
SIZE = (160, 120)  # width, height of the pictures


def _people(count: int):
    """Boxes xywh and keypoints (17, 2) of people, one a picture."""
    rng = np.random.RandomState(0)
    for _ in range(count):
        size = np.array([50., 90.]) * rng.uniform(0.8, 1.2)
        start = rng.uniform(0, 1, 2) * (np.array(SIZE) - size)
        jitter = rng.uniform(-.03, .03, WAVING.shape)
        yield np.concatenate([start, size]), start + size * (WAVING + jitter)


def _draw(path: Path, points: np.ndarray) -> None:
    """A picture with a figure of sticks on noise."""
    noise = np.random.RandomState(1).randint(0, 60, (SIZE[1], SIZE[0], 3))
    picture = noise.astype(np.uint8)
    for i, link in enumerate(COCO['skeleton_links']):
        start, end = (tuple(points[k].astype(int).tolist()) for k in link)
        cv2.line(picture, start, end, (60 + 10 * i, 255 - 10 * i, 200), 3)
    cv2.imwrite(str(path), picture)


def write_coco(root: Path, count: int = 3) -> None:
    """Write ``annotations``, ``train2017`` and ``val2017`` below ``root``."""
    (root / 'annotations').mkdir(parents=True)
    for split in ('train2017', 'val2017'):
        (root / split).mkdir()
        images, annotations = [], []
        for i, (box, points) in enumerate(_people(count), 1):
            name = f'{i:012d}.jpg'
            _draw(root / split / name, points)
            labels = np.concatenate([points, np.full((17, 1), 2)], 1)
            labels[i % 17] = 0  # not labelled
            images.append(
                dict(id=i, file_name=name, width=SIZE[0], height=SIZE[1]))
            annotations.append(
                dict(
                    id=i,
                    image_id=i,
                    category_id=1,
                    iscrowd=0,
                    bbox=box.tolist(),
                    area=float(box[2] * box[3] / 2),
                    num_keypoints=16,
                    keypoints=labels.flatten().tolist()))
        content = dict(
            images=images,
            annotations=annotations,
            categories=[
                dict(
                    id=1,
                    name='person',
                    keypoints=list(COCO['keypoint_name2id']),
                    skeleton=[])
            ])
        file = root / 'annotations' / f'person_keypoints_{split}.json'
        file.write_text(json.dumps(content))


def write_mpii(root: Path, count: int = 3) -> None:
    """Write ``annotations`` and ``images`` below ``root``."""
    (root / 'annotations').mkdir(parents=True)
    (root / 'images').mkdir()
    people = []
    for i, (box, points) in enumerate(_people(count), 1):
        name = f'{i:09d}.jpg'
        _draw(root / 'images' / name, points)
        people.append(
            dict(
                image=name,
                center=(box[:2] + box[2:] / 2).tolist(),
                scale=float(box[3] / 200),
                joints=points[MPII_FROM_COCO].tolist(),
                joints_vis=[1] * 16))
    for split in ('train', 'val'):
        file = root / 'annotations' / f'mpii_{split}.json'
        file.write_text(json.dumps(people))
    heads = np.zeros((2, 2, count))
    heads[1] = 20.
    savemat(root / 'annotations' / 'mpii_gt_val.mat',
            dict(headboxes_src=heads))
