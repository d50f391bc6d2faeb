"""How much memory there is to use."""

from __future__ import annotations

import os
import socket
from pathlib import Path

from ..errors import Recon3DError
from .communicator import Comm, together
from .control_groups import ROOT, control_groups, text_of

_CACHED = {  # by version of the control groups: pages of files, which give way to what is wanted
    True: ("inactive_file", "active_file"),
    False: ("total_inactive_file", "total_active_file"),
}


def free_bytes(root: Path = ROOT) -> int:
    """What this process and others of its node may still take, by the machine and the batch job's limits."""
    lines = text_of(root / "proc/meminfo").splitlines()
    free = [int(line.split()[1]) * 1024 for line in lines if line.startswith("MemAvailable")]
    if not free:  # not Linux
        free = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2]
    for folder, is_version_2 in control_groups("memory", root):
        names = ("memory.max", "memory.current")
        if not is_version_2:
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
        limit, used = (text_of(folder / name) for name in names)
        if limit.isdigit() and used.isdigit():
            free.append(max(int(limit) - int(used) + _cached(folder, is_version_2), 0))
    return min(free)


def _cached(folder: Path, is_version_2: bool) -> int:
    """Bytes of files that a control group holds in memory while nothing else wants it."""
    found = dict(line.split() for line in text_of(folder / "memory.stat").splitlines())
    return sum(int(found.get(name, 0)) for name in _CACHED[is_version_2])


def wanted_on_this_node(comm: Comm, n_bytes: int) -> int:
    """The bytes that all ranks of this node want together. Collective; n_bytes are this rank's."""
    host = socket.gethostname()
    return sum(theirs for name, theirs in comm.allgather((host, n_bytes)) if name == host)


def check_memory(comm: Comm, n_bytes: int, where: str, what: str, remedy: str) -> None:
    """Refuse work that cannot fit into the memory of a node, before it is begun. Collective.

    n_bytes are what this rank will need at least. Raises Recon3DError at `where` (a key) that says what
    needs how much, what there is, and the remedy.
    """
    wanted = wanted_on_this_node(comm, n_bytes)
    with together(comm):
        free = free_bytes()
        if wanted > free:
            raise Recon3DError(
                where,
                f"{what} needs at least {_size(wanted)} of memory on {socket.gethostname()}, "
                f"{_size(free)} are free there (of the machine, or of the batch job): {remedy}",
            )


def _size(n_bytes: int) -> str:
    return f"{n_bytes / 1e9:.3g} GB"


def fits_on_every_node(comm: Comm, n_bytes: int, limit_bytes: float | None) -> bool:
    """Whether what all ranks of a node want to hold stays below a limit, on each node. Collective.

    n_bytes are this rank's. Without a limit it is half of what is free.
    """
    wanted = wanted_on_this_node(comm, n_bytes)
    limit = free_bytes() // 2 if limit_bytes is None else limit_bytes
    return all(comm.allgather(wanted <= limit))
