"""recon3d.py with its own measurements: python -m benchmarks.one_rank OUT INIT (under mpirun or not).

Each rank writes OUT.<rank>.json: peak resident memory, bytes read from files and received by MPI.
"""

from __future__ import annotations

import json
import os
import pickle
import resource
import sys
from pathlib import Path
from typing import Any

from lib.cli import recon3d
from lib.parallel.communicator import world


class CountingComm:
    """A communicator that counts the bytes that its rank receives."""

    def __init__(self, comm: Any) -> None:
        self._comm, self.received = comm, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._comm, name)

    def bcast(self, value: Any, root: int = 0) -> Any:
        """Count the pickle."""
        value = self._comm.bcast(value, root)
        self.received += len(pickle.dumps(value)) if self._comm.rank != root else 0
        return value

    def Allgatherv(self, mine: Any, whole: Any) -> None:  # noqa: N802 - mpi4py's name
        """Count what comes from the others."""
        self.received += whole[0].nbytes - mine.nbytes
        self._comm.Allgatherv(mine, whole)

    def Recv(self, array: Any, **where: int) -> None:  # noqa: N802
        """Count the array."""
        self.received += array.nbytes
        self._comm.Recv(array, **where)


if __name__ == "__main__":
    comm = CountingComm(world())
    code = recon3d([*sys.argv[2:]], comm)
    fields = dict(line.split(": ") for line in Path("/proc/self/io").read_text().splitlines())
    pss = [s for s in Path("/proc/self/smaps_rollup").read_text().splitlines() if s.startswith("Pss:")]
    facts = {
        "peak_rss": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "pss_at_end": int(pss[0].split()[1]) * 1024,
        "read": int(fields["rchar"]),
        "received": comm.received,
        "cpu_s": sum(os.times()[:2]),
    }
    Path(f"{sys.argv[1]}.{comm.rank}.json").write_text(json.dumps(facts))
    raise SystemExit(code)
