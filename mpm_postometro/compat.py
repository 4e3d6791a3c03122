# Copyright (c) The mpm_postometro authors. All rights reserved.
def apply() -> None:
    """Placeholder until the cures land."""
