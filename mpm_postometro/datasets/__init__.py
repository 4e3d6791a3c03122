# Copyright (c) The mpm_postometro authors. All rights reserved.
from . import body, transforms  # noqa: F401
