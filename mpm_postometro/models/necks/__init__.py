# Copyright (c) The mpm_postometro authors. All rights reserved.
from .hrnet_classification_neck import HRNetClassificationNeck

__all__ = ['HRNetClassificationNeck']
