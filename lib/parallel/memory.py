"""How much memory there is to use."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from .communicator import Comm

_MEMINFO = Path("/proc/meminfo")
_CGROUP = Path("/sys/fs/cgroup")


def free_bytes(meminfo: Path = _MEMINFO, cgroup: Path = _CGROUP) -> int:
    """What this process and others of its node may still take: of the machine, and of a batch job's limit."""
    try:
        lines = meminfo.read_text().splitlines()
        free = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable"))
    except (OSError, StopIteration):  # not Linux
        free = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2
    try:
        limit = (cgroup / "memory.max").read_text().strip()
        used = int((cgroup / "memory.current").read_text())
    except (OSError, ValueError):
        return free
    return free if limit == "max" else min(free, int(limit) - used)


def fits_on_every_node(comm: Comm, n_bytes: int, limit_bytes: float | None) -> bool:
    """Whether what all ranks of a node want to hold stays below a limit, on each node. Collective.

    n_bytes are this rank's. Without a limit it is half of what is free.
    """
    host = socket.gethostname()
    everyone = comm.allgather((host, n_bytes))
    wanted = sum(theirs for name, theirs in everyone if name == host)
    limit = free_bytes() // 2 if limit_bytes is None else limit_bytes
    return all(comm.allgather(wanted <= limit))
