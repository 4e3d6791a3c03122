# Copyright (c) The mpm_postometro authors. All rights reserved.
"""``.npz`` files whose bytes depend on nothing but their arrays."""
import io
import zipfile
from typing import Mapping

import numpy as np

# The earliest time stamp a zip archive can hold.
ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)


def npz_bytes(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Pack arrays like ``np.savez_compressed``, sorted and without clock.

    Args:
        arrays (Mapping[str, np.ndarray]): Arrays by key, no objects.

    Returns:
        bytes: The archive.
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, 'w') as archive:
        for key in sorted(arrays):
            member = io.BytesIO()
            np.lib.format.write_array(
                member,
                np.ascontiguousarray(arrays[key]).reshape(
                    np.shape(arrays[key])),
                allow_pickle=False)
            info = zipfile.ZipInfo(f'{key}.npy', date_time=ZIP_EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system = 3  # the same bytes on every system
            info.external_attr = 0o644 << 16
            archive.writestr(info, member.getvalue(), compresslevel=9)
    return buffer.getvalue()
