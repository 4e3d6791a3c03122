# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Half a million people are to take less than 2 GB with four workers."""
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from mpm_postometro.datasets.body import PersonDataset
from mpm_postometro.datasets.body.person_table import NameList, PersonTable

COUNT = 20000
# A quarter of the allowance, the rest is for torch and for pictures.
BYTES_A_PERSON = 0.25 * 2e9 / 5e5 + 200


class Many(PersonDataset):
    """People with all labels, two in a picture."""

    def load_people(self):
        names, image = NameList.unique(
            [f'train2014/COCO_{i // 2:012d}.jpg' for i in range(COUNT)])
        ones = np.ones
        return PersonTable(
            image=image,
            image_names=names,
            bbox=np.tile([0., 0, 1, 1], (COUNT, 1)),
            image_size=ones((COUNT, 2)),
            keypoints=ones((COUNT, 17, 3)),
            joints_2d=ones((COUNT, 14, 3)),
            joints_3d=ones((COUNT, 14, 4)),
            global_orient=ones((COUNT, 3)),
            body_pose=ones((COUNT, 23, 3)),
            betas=ones((COUNT, 10)),
            transl=ones((COUNT, 3)),
            intrinsics=ones((COUNT, 3, 3)),
            gender=ones(COUNT),
            annotation_id=np.arange(COUNT),
            frame=ones(COUNT))


def own_memory():
    """Bytes that this process shares with nobody."""
    text = Path('/proc/self/smaps_rollup').read_text()
    return 1024 * sum(
        int(size) for size in re.findall(r'Private_\w+:\s+(\d+) kB', text))


def test_bytes_a_person():
    dataset = Many()
    assert dataset.table.nbytes < BYTES_A_PERSON * COUNT
    before = dataset.table.body_pose
    assert dataset.get_subset(5).table.body_pose is before


@pytest.mark.skipif(not sys.platform.startswith('linux'), reason='reads /proc')
def test_forked_workers_share_the_labels():
    dataset = Many()
    for index in range(50):  # what is loaded once, before the fork
        dataset.get_data_info(index)
    ours, theirs = os.pipe()
    child = os.fork()
    if child == 0:
        before = own_memory()
        for index in range(0, COUNT, 7):
            dataset.get_data_info(index)
        grown = own_memory() - before
        os.write(theirs, str(grown).encode())
        os._exit(0)
    os.close(theirs)
    grown = int(os.read(ours, 100) or 1 << 40)
    os.close(ours)
    os.waitpid(child, 0)
    # Its own copy of the labels would be as large as they are.
    assert grown < .3 * dataset.table.nbytes
