# Copyright (c) The mpm_postometro authors. All rights reserved.
"""Parts of the bake of the built-in body; see ``../bake_body.py``."""
