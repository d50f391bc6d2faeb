"""How numba compiles the kernels, and when."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

import numba
from numba.core.registry import cpu_target

from .kernel_cache import KernelCache, NotKept, only_kept

_PACKAGE = __name__.partition(".")[0]

numba.config.SLP_VECTORIZE = 1  # numba leaves it off; it makes vectors of the sums written out in map_kernels


def kernel(**options: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """`numba.njit` without the GIL, and with the cache of this package in the place of numba's."""

    def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
        dispatcher = numba.njit(nogil=True, **options)(function)
        dispatcher._cache = KernelCache(function)
        return dispatcher

    return compiled


def compile_all(calls: Iterable[Callable[[], object]], *, quiet: bool = False) -> None:
    """Make small calls of every kernel of the run; says so on standard error where that compiles."""
    started, said = time.monotonic(), False
    for call in calls:
        call()
        if not said and _n_compiled():
            said = True
            if not quiet:
                print("compiling kernels ...", file=sys.stderr, flush=True)
    if said and not quiet:
        print(f"compiled kernels: {time.monotonic() - started:.1f} s", file=sys.stderr, flush=True)


def load_kept(calls: Iterable[Callable[[], object]]) -> None:
    """Make these calls as long as what they need is kept from earlier runs, while another rank compiles."""
    with only_kept(), suppress(NotKept):
        for call in calls:
            call()


def load_compiler() -> None:
    """Have numba load what it loads before its first kernel (0.2 s), while another rank prepares the run."""
    cpu_target.typing_context.refresh()
    cpu_target.target_context.refresh()


def _n_compiled() -> int:
    """How many kernels this process has compiled, rather than found."""
    own = [module for name, module in sys.modules.items() if name.startswith(f"{_PACKAGE}.")]
    functions = {f for module in own for f in vars(module).values() if hasattr(f, "stats")}
    return sum(sum(f.stats.cache_misses.values()) for f in functions)
