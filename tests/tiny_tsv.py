# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Writes METRO's tables as its own writer does, byte for byte."""
import base64
from pathlib import Path
from typing import Sequence, Tuple

import cv2
import numpy as np


def jpeg(image: np.ndarray, suffix: str = '.jpg') -> bytes:
    """The bytes of a picture file."""
    return cv2.imencode(suffix, image)[1].tobytes()


def pictures(count: int, size: Tuple[int, int] = (24, 32)) -> list:
    """Pictures (h, w) in plain colours that tell them apart."""
    return [
        np.full((*size, 3), (10 + 5 * i, 200 - 5 * i, 100), np.uint8)
        for i in range(count)
    ]


def write_tsv(path: Path,
              rows: Sequence[Sequence],
              lineidx: bool = True) -> Path:
    """Write rows of text or bytes, and where they begin."""
    starts, position = [], 0
    with open(path, 'wb') as file:
        for row in rows:
            columns = [x if isinstance(x, bytes) else x.encode() for x in row]
            line = b'\t'.join(columns) + b'\n'
            starts.append(position)
            position += len(line)
            file.write(line)
    if lineidx:
        path.with_suffix('.lineidx').write_text(''.join(f'{x}\n'
                                                        for x in starts))
    return path


def write_images(path: Path, images: Sequence[np.ndarray], **kwargs) -> Path:
    """Write a ``.img.tsv`` with the keys images/0.jpg, images/1.jpg ..."""
    rows = [(f'images/{i}.jpg', base64.b64encode(jpeg(image)))
            for i, image in enumerate(images)]
    return write_tsv(path, rows, **kwargs)
