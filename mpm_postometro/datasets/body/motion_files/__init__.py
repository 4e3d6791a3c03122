# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Files of motion capture in the formats that people have."""
from .amass import read_amass
from .asf_amc import read_asf_amc
from .bvh import read_bvh
from .motion import Motion

__all__ = ['Motion', 'read_amass', 'read_asf_amc', 'read_bvh']
