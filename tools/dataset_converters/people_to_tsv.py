# Copyright (c) The mpm_postometro authors. All rights reserved.
"""People of any data set, with their pictures, into METRO's tables.

Writes NAME.img.tsv, NAME.label.tsv, NAME.hw.tsv, their indexes and last
NAME.yaml for METRODataset; labels are checked, brought before the camera and
posed once and for all. NAME.report.json says who was left out and why.
Started again after an interruption, it goes on where it was.

Example:
    python tools/dataset_converters/people_to_tsv.py data/metro/muco/train \\
        MuCoDataset --cfg-options ann_file=data/muco/MuCo-3DHP.json \\
        data_prefix.img=data/muco fits=smpl_param.json \\
        body.path=data/body_models/smpl
"""
import argparse
import base64
import json
import os
import sys
from pathlib import Path
from typing import Any, Dict, Tuple

import cv2
import numpy as np
from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope
from mmpose.registry import DATASETS

import mpm_postometro  # noqa: F401  (registers modules, mends imports)
from mpm_postometro.apis.progress import ProgressLine
from mpm_postometro.datasets.body import METRODataset, PersonDataset
from mpm_postometro.datasets.body.metro_tsv import TSVFile, decode_picture
from mpm_postometro.datasets.body.person_table import gather_points
from mpm_postometro.files import atomic_write, read_json, write_json

KINDS = ('img', 'label', 'hw')
ENLARGED = 1.2  # METRO's boxes are so much larger than the person
QUALITY = 95  # of pictures that are no JPEG files yet
STEP = 100  # people between two notes of how far it is


def parse_args(argv=None):
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        'name', type=Path, help='the tables, without .img.tsv and so on')
    parser.add_argument('type', help='of the data set')
    parser.add_argument(
        '--cfg-options',
        nargs='+',
        action=DictAction,
        default={},
        help='arguments of the data set: key=value')
    return parser.parse_args(argv)


class Tables:
    """The three tables while they grow, and how far they are.

    Args:
        name (Path): Without endings.
        source (dict): What they are made of; tables of something else are
            not gone on with.

    Raises:
        ValueError: If there are finished tables, or ones of something else.
    """

    def __init__(self, name: Path, source: dict) -> None:
        self.name = name
        if self.path('yaml').exists():
            raise ValueError(f'{self.path("yaml")} is there already')
        name.parent.mkdir(parents=True, exist_ok=True)
        self._state_path = self.path('state.json')
        state = read_json(self._state_path)
        if state is None:
            state = dict(
                source=source,
                done=0,
                written=0,
                sizes=dict.fromkeys(KINDS, 0),
                dropped={})
            write_json(self._state_path, state)
            for kind in KINDS:
                self.path(f'{kind}.tsv.part').write_bytes(b'')
        if state['source'] != source:
            raise ValueError(
                f'{self._state_path} is of other people: {state["source"]}, '
                f'expected {source}; delete it to begin anew')
        self.done: int = state['done']
        self.written: int = state['written']
        self.dropped: Dict[str, list] = state['dropped']
        self._source = source
        self._files = {}
        for kind, size in state['sizes'].items():
            part = self.path(f'{kind}.tsv.part')
            if not part.exists() and self.path(f'{kind}.tsv').exists():
                part = self.path(f'{kind}.tsv')  # it was about to be finished
            file = self._files[kind] = open(part, 'r+b')
            file.truncate(size)
            file.seek(size)

    def path(self, ending: str) -> Path:
        """A file beside the others."""
        return self.name.with_name(f'{self.name.name}.{ending}')

    def add(self, key: str, **columns: bytes) -> None:
        """Write a row into each table."""
        for kind in KINDS:
            self._files[kind].write(key.encode() + b'\t' + columns[kind] +
                                    b'\n')
        self.written += 1

    def drop(self, key: str, reason: str) -> None:
        """Leave a person out."""
        self.dropped.setdefault(reason, []).append(key)

    def note(self, done: int) -> None:
        """Let what is written count, whatever happens from now on."""
        self.done = done
        for file in self._files.values():
            file.flush()
            os.fsync(file.fileno())
        write_json(
            self._state_path,
            dict(
                source=self._source,
                done=done,
                written=self.written,
                sizes={
                    k: f.tell()
                    for k, f in self._files.items()
                },
                dropped=self.dropped))

    def finish(self) -> None:
        """Give the files their names, the one that counts last."""
        for kind, file in self._files.items():
            file.close()
            part = self.path(f'{kind}.tsv.part')
            if part.exists():
                self.path(f'{kind}.lineidx').unlink(missing_ok=True)
                os.replace(part, self.path(f'{kind}.tsv'))
            TSVFile(self.path(f'{kind}.tsv'))  # makes the index, and checks
        text = ''.join(f'{kind}: {self.path(kind).name}.tsv\n'
                       for kind in KINDS)
        atomic_write(
            self.path('yaml'), lambda name: Path(name).write_text(text))
        self._state_path.unlink()


def read_picture(dataset: PersonDataset, info: dict) -> Tuple[bytes, tuple]:
    """The JPEG file of a person's picture, and its height and width.

    Raises:
        ValueError: If there is none; the reason.
    """
    data, image = b'', info.get('img')
    if isinstance(dataset, METRODataset):
        data = dataset.image_file(info['id'])
    elif image is None:
        try:
            data = Path(info['img_path']).read_bytes()
        except OSError as error:
            raise ValueError(f'cannot be read: {error.strerror}') from None
        image = decode_picture(data)
    if not data.startswith(b'\xff\xd8'):
        data = cv2.imencode('.jpg', image,
                            (cv2.IMWRITE_JPEG_QUALITY, QUALITY))[1].tobytes()
    return data, image.shape[:2]


def label_of(info: dict) -> Dict[str, Any]:
    """METRO's label of a sample, see docs/datasets.md."""
    low, high = info['bbox'][0, :2], info['bbox'][0, 2:]

    def j24(*names: Tuple[str, str]) -> np.ndarray:
        return gather_points(
            [(skeleton,
              np.concatenate([info[key], info[f'{key}_visible'][..., None]],
                             -1)) for skeleton, key in names], 'j24')[0]

    points = j24(('j14', 'joints_2d'), ('coco17', 'keypoints'))
    joints = j24(('j14', 'joints_3d'))
    pose = np.concatenate([info['global_orient'][0], *info['body_pose'][0]])
    return {
        'center': _rounded((low + high) / 2, 3),
        'scale': round(float((high - low).max()) * ENLARGED / 200, 6),
        '2d_joints': _rounded(points, 3),
        'has_2d_joints': int((points[:, 2] > 0).any()),
        '3d_joints': _rounded(joints, 6),
        'has_3d_joints': int(info['has_joints_3d'][0]),
        'pose': _rounded(pose, 6),
        'betas': _rounded(info['betas'][0], 6),
        'has_smpl': int(info['has_smpl'][0]),
        'gender': info['gender'],
    }


def _rounded(array: np.ndarray, decimals: int) -> list:
    return np.asarray(array, np.float64).round(decimals).tolist()


def convert(dataset: PersonDataset, tables: Tables,
            line: ProgressLine) -> None:
    """Write everybody who is not yet written."""
    for item in range(tables.done, len(dataset)):
        key = dataset.image_path(dataset.data_list[item])
        try:
            info = dataset.get_data_info(item)
            data, (height, width) = read_picture(dataset, info)
        except ValueError as error:
            # The reason without what is this picture's only.
            tables.drop(f'{key}: {error}', 'picture is missing or broken')
        else:
            tables.add(
                key,
                img=base64.b64encode(data),
                label=json.dumps([label_of(info)]).encode(),
                hw=json.dumps([dict(height=height, width=width)]).encode())
        if (item + 1) % STEP == 0:
            tables.note(item + 1)
        line.update(tables.name.name, (item + 1) / len(dataset),
                    f'{item + 1} of {len(dataset)} people')
    tables.note(len(dataset))


def main(argv=None):
    """Convert; 130 if it was interrupted, 2 if it cannot be done."""
    args = parse_args(argv)
    init_default_scope('mmpose')
    config = Config(dict(type=args.type))
    config.merge_from_dict(args.cfg_options)
    line = ProgressLine()
    try:
        kind = DATASETS.get(args.type)
        if kind is None or not issubclass(kind, PersonDataset):
            raise ValueError(f'{args.type} is no data set of labelled people')
        dataset = DATASETS.build(config.to_dict())
        dataset.full_init()
        source = dict(config=config.to_dict(), people=len(dataset))
        tables = Tables(args.name, json.loads(json.dumps(source)))
    except (ValueError, OSError) as error:
        line.say(f'Nothing is converted: {error}')
        return 2
    if tables.done:
        line.say(f'Goes on after {tables.done} of {len(dataset)} people')
    try:
        convert(dataset, tables, line)
    except KeyboardInterrupt:
        line.say('Interrupted; the same command goes on where it was')
        return 130
    report = dict(
        **source,
        written=tables.written,
        left_out_by_the_reader=dict(dataset.table.drop_report),
        left_out_by_the_converter=tables.dropped)
    write_json(tables.path('report.json'), report)
    counts = dict(dataset.table.drop_report)
    counts.update({k: len(v) for k, v in tables.dropped.items()})
    line.say(f'{tables.written} people written')
    for reason, count in counts.items():
        line.say(f'  left out {count:>9,}  {reason}')
    if not tables.written:
        line.say('No table: nobody has a picture')
        return 2
    tables.finish()
    line.say(f'Table: {tables.path("yaml")}\n'
             f'Report: {tables.path("report.json")}')
    return 0


if __name__ == '__main__':
    sys.exit(main())
