# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Pictures for the inferencer: finding and reading them."""
from pathlib import Path
from typing import List, Sequence, Tuple, Union

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

__all__ = [
    'IMAGE_SUFFIXES', 'ImageError', 'ImageSource', 'find_images', 'read_image'
]

IMAGE_SUFFIXES = ('.jpg', '.jpeg', '.png', '.bmp', '.webp', '.tif', '.tiff')

ImageSource = Union[str, Path, np.ndarray, Sequence[Union[str, Path,
                                                          np.ndarray]]]


class ImageError(Exception):
    """A picture that cannot be used; the message names it."""


def find_images(
        images: ImageSource) -> List[Tuple[str, Union[Path, np.ndarray]]]:
    """List pictures with their names.

    Args:
        images: A path, a folder (its pictures, sorted, not of its folders),
            an array, or a list of these.

    Returns:
        list[tuple]: Name and path or array. A path need not exist:
        :func:`read_image` says so.

    Raises:
        ValueError: If a folder has no pictures, or an item is none of these.
    """
    items = images if isinstance(images, (list, tuple)) else [images]
    found: List[Tuple[str, Union[Path, np.ndarray]]] = []
    for index, item in enumerate(items):
        if isinstance(item, np.ndarray):
            found.append((f'array {index}', item))
            continue
        if not isinstance(item, (str, Path)):
            raise ValueError('images must be paths, folders or arrays, got '
                             f'{type(item).__name__} at {index}')
        path = Path(item)
        if not path.is_dir():
            found.append((str(item), path))
            continue
        inside = sorted(p for p in path.iterdir()
                        if p.suffix.lower() in IMAGE_SUFFIXES)
        if not inside:
            raise ValueError(f'{path}: the folder holds no image '
                             f'({", ".join(IMAGE_SUFFIXES)})')
        found += [(str(p), p) for p in inside]
    return found


def read_image(source: Union[Path, np.ndarray]) -> np.ndarray:
    """Read a picture whole, upright as its EXIF data say.

    OpenCV fills what is missing of a damaged JPEG with grey and goes on; here
    that is an error.

    Args:
        source (Path | np.ndarray): File, or (H, W, 3) uint8 BGR.

    Returns:
        np.ndarray: (H, W, 3) uint8 BGR.

    Raises:
        ImageError: If the file is missing, empty, damaged or no picture, or
            the array has another shape or type.
    """
    if isinstance(source, np.ndarray):
        if (source.dtype != np.uint8 or source.ndim != 3
                or source.shape[2] != 3 or source.size == 0):
            raise ImageError('expected an image array (H, W, 3) uint8 in BGR '
                             f'order, got {source.shape} {source.dtype}')
        return source
    if not source.exists():
        raise ImageError(f'{source}: no such file')
    if source.is_file() and source.stat().st_size == 0:
        raise ImageError(f'{source}: the file is empty')
    try:
        with Image.open(source) as file:
            upright = ImageOps.exif_transpose(file)
            rgb = np.asarray(upright.convert('RGB'))
    except UnidentifiedImageError as error:
        raise ImageError(f'{source}: not an image, or damaged at its '
                         'beginning') from error
    except Image.DecompressionBombError as error:
        raise ImageError(f'{source}: {error}') from error
    except (OSError, SyntaxError, ValueError) as error:
        # Pillow raises SyntaxError for a broken PNG.
        raise ImageError(f'{source}: damaged image ({error})') from error
    return np.ascontiguousarray(rgb[..., ::-1])
