"""How numba compiles the kernels, and where it keeps them. Import before the kernels.

There is one place for each name of the package: run from a clone it is `lib`, installed in place it is
`recon3d_lib` as well; what was compiled under one name cannot be loaded under the other, and numba would
find it.
"""

from __future__ import annotations

from pathlib import Path

import numba

numba.config.SLP_VECTORIZE = 1  # numba leaves it off; it makes vectors of the sums written out in map_kernels
if not numba.config.CACHE_DIR:  # else the user has said where
    numba.config.CACHE_DIR = str(Path(__file__).parent / "__pycache__" / __name__.partition(".")[0])
