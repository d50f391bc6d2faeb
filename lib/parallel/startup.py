"""What a program sets in its own environment before numpy and HDF5 are loaded, which look at it then.

For the commands only: in a notebook the environment is the user's. Nothing heavy is imported here.
"""

from __future__ import annotations

import atexit
import gc
import os
from collections.abc import Iterator, MutableMapping
from pathlib import Path

from . import launchers
from .control_groups import ROOT, control_groups, text_of

_BETWEEN_SEARCHES = (700, 10, 100)  # of Python's collector; the last is that of old objects, usually 10
_THREADS = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS")  # OpenBLAS, MKL and BLIS heed the first


def prepare(environment: MutableMapping[str, str] | None = None) -> None:
    """No pool of threads larger than the share of this rank, and no file locks of HDF5.

    What the user has set for threads counts. Locks are never taken: some file systems of clusters have none,
    files are read while others write them, and what is written here has a temporary name of its own.
    What is old is searched for garbage rarely, and not once more at the end of the process: code makes up
    nearly all of it, and a search takes a quarter of a second.
    """
    gc.set_threshold(*_BETWEEN_SEARCHES)
    atexit.register(gc.freeze)
    environment = os.environ if environment is None else environment
    environment["HDF5_USE_FILE_LOCKING"] = "FALSE"  # also of files that HDF5 opens itself, to follow links
    share = str(max(1, n_cores() // launchers.local_size(environment)))
    for name in _THREADS:
        if not environment.get(name):
            environment[name] = share


def n_cores(root: Path = ROOT) -> int:
    """The cores that this process may use: its affinity, and the limits of its control groups (Linux).

    A launcher that binds each rank to cores of its own leaves that rank a share which is smaller still.
    """
    try:
        n = len(os.sched_getaffinity(0))
    except AttributeError:  # not Linux
        n = os.cpu_count() or 1
    return max(1, min([n, *(int(limit) for limit in _limits(root))]))


def _limits(root: Path) -> Iterator[float]:
    """Cores that each control group around this process allows, of either version of cgroups."""
    for folder, is_version_2 in control_groups("cpu", root):
        if is_version_2:
            quota, _, period = text_of(folder / "cpu.max").partition(" ")
        else:
            quota, period = text_of(folder / "cpu.cfs_quota_us"), text_of(folder / "cpu.cfs_period_us")
        if quota.isdigit() and period.isdigit() and int(period) > 0:
            yield int(quota) / int(period)
