"""How numba compiles the kernels, where it keeps them, and when. Import before the kernels.

There is one place for each name of the package: run from a clone it is `lib`, installed in place it is
`recon3d_lib` as well; what was compiled under one name cannot be loaded under the other, and numba would
find it.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import numba

_PACKAGE = __name__.partition(".")[0]

numba.config.SLP_VECTORIZE = 1  # numba leaves it off; it makes vectors of the sums written out in map_kernels
if not numba.config.CACHE_DIR:  # else the user has said where
    numba.config.CACHE_DIR = str(Path(__file__).parents[1] / "__pycache__" / _PACKAGE)


def compile_first(calls: Iterable[Callable[[], object]], *, quiet: bool = False) -> None:
    """Make small calls of every kernel of the run; says so on standard error where that compiles.

    Call it on one rank while the others wait: they then load what this one has compiled, as later runs do.
    """
    started, said = time.monotonic(), False
    for call in calls:
        call()
        if not said and _n_compiled():
            said = True
            if not quiet:
                print("compiling kernels ...", end=" ", file=sys.stderr, flush=True)
    if said and not quiet:
        print(f"{time.monotonic() - started:.1f} s (once)", file=sys.stderr, flush=True)


def _n_compiled() -> int:
    """How many kernels this process has compiled, rather than found in the cache on disk."""
    own = [module for name, module in sys.modules.items() if name.startswith(f"{_PACKAGE}.")]
    functions = {f for module in own for f in vars(module).values() if hasattr(f, "stats")}
    return sum(sum(f.stats.cache_misses.values()) for f in functions)
