"""Where numba keeps the compiled kernels: one place for each name of the package.

Run from a clone the package is `lib`, installed in place it is `recon3d_lib` as well; what was compiled
under one name cannot be loaded under the other, and numba would find it. Import before the kernels.
"""

from __future__ import annotations

from pathlib import Path

import numba

if not numba.config.CACHE_DIR:  # else the user has said where
    numba.config.CACHE_DIR = str(Path(__file__).parent / "__pycache__" / __name__.partition(".")[0])
