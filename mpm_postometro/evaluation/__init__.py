# Copyright (c) The mpm_postometro authors. All rights reserved.
