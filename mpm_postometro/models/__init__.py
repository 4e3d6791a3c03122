# Copyright (c) The mpm_postometro authors. All rights reserved.
from . import (backbones, heads, losses, necks, pose_estimators, tokenizers,
               weight_decay)
