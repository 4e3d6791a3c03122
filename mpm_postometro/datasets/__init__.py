# Copyright (c) The mpm_postometro authors. All rights reserved.
from . import body, epoch_hook, mixed_dataset, transforms  # noqa: F401
